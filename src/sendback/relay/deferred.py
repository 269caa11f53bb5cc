"""Recipients that an upstream put off: kept durably, tried again for up to five days.

Only for messages with mixed answers: the client was told 250, so what is left is ours. One file a
recipient; its modification time is the last attempt, so the waiting time needs no other record.
What is due stands in memory, made from the directory at the start. A crash at any point repeats
nothing that could be noticed: a refusal is written down before it is reported, and a report takes
the place of what it is about in one rename.
"""

import asyncio
import heapq
import itertools
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from sendback.errors import Unavailable
from sendback.relay.base import Answer, Outgoing, Relay
from sendback.relay.outbox import sync_directory, write_durably

log = logging.getLogger("sendback.relay")
MAX_AGE = 5 * 86400.0
FIRST_WAIT, LONGEST_WAIT = 300.0, 4 * 3600.0
#: Attempts side by side, and the octets that their messages may take.
_AT_ONCE = 20
_BATCH_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"([0-9]{20})-[0-9]+\.msg\Z")


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One message to one recipient, waiting."""

    mail_from: str
    rcpt: str
    message: bytes
    utf8: bool
    client_mail_from: str
    """Whom to tell when it fails for good; "" for nobody."""
    kept_at: float
    """Seconds since the epoch."""
    is_notice: bool = False
    """A report of ours: its own failure is the end of it (RFC 5321 section 6.1)."""
    refused: Answer | None = None
    """It failed for good, so; what remains is to report it."""
    refused_at: float = 0.0

    @property
    def outgoing(self) -> Outgoing:
        """What to send."""
        return Outgoing(self.mail_from, self.rcpt, self.message, self.utf8)


class Deferred:
    """The directory and its loop; one process owns it."""

    def __init__(
        self,
        directory: Path,
        relay: Relay,
        *,
        on_refused: Callable[[Kept, str], Awaitable[Kept | None]],
        clock: Callable[[], float] = time.time,
        max_age: float = MAX_AGE,
    ) -> None:
        """`on_refused(kept, key)` reports a recipient that failed for good, and gives the notice
        that takes its place, if any. After a crash it is called again with equal arguments, and
        must do the same then. Unavailable: it is asked again later.
        """
        self._directory = directory
        self._relay = relay
        self._on_refused = on_refused
        self._clock = clock
        self._max_age = max_age
        self._decode = msgspec.msgpack.Decoder(Kept).decode
        self._micros = itertools.count(int(clock() * 1e6))
        self._wake = asyncio.Event()
        self._due: list[tuple[float, str, int]] | None = None
        """Heap of (when, file name, octets); None until the directory was read."""
        self._busy = 0

    async def put(self, items: Sequence[Kept]) -> None:
        """All of them are on disk; Unavailable, and none is, when that can't be."""
        try:
            due = await self._schedule()
            written = await asyncio.to_thread(self._write, items)
        except OSError as error:
            raise Unavailable(f"deferred mail can't be kept: {error.strerror}") from error
        for entry in written:
            heapq.heappush(due, entry)
        self._wake.set()

    async def run(self, stop: asyncio.Event, *, every: float = 30.0) -> None:
        """Try what is due, until `stop` is set."""
        while not stop.is_set():
            self._wake.clear()
            try:
                while not stop.is_set() and await self.step():
                    pass
            except OSError as error:
                log.warning("deferred.fault", extra={"error": str(error)})
            waiting = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self._wake.wait())]
            await asyncio.wait(waiting, timeout=every, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()

    async def step(self) -> bool:
        """Attempts at what is most overdue, side by side; True when there was something."""
        due, now, size = await self._schedule(), self._clock(), 0
        batch: list[tuple[float, str, int]] = []
        while due and due[0][0] <= now and len(batch) < _AT_ONCE and size < _BATCH_BYTES:
            batch.append(heapq.heappop(due))
            size += batch[-1][2]
        self._busy = len(batch)
        try:
            await asyncio.gather(*(self._attempt(due, name, size) for _, name, size in batch))
        finally:
            self._busy = 0
        return bool(batch)

    def backlog(self) -> int:
        """How many recipients wait, as far as the directory was read."""
        return len(self._due or ()) + self._busy

    # -- one recipient ------------------------------------------------------------------------

    async def _attempt(self, due: list[tuple[float, str, int]], name: str, size: int) -> None:
        """Send it, or report it; it is gone then, or waits again."""
        try:
            kept = await asyncio.to_thread(self._read, name)
            if kept is None:
                return
            left = await self._handled(kept, name)
        except Exception as error:  # one recipient's fault must not stop the others
            unexpected = not isinstance(error, OSError | Unavailable)
            log.warning("deferred.later", extra={"file": name}, exc_info=unexpected)
            heapq.heappush(due, (self._clock() + FIRST_WAIT, name, size))
            return
        if left is not None:
            now = self._clock()
            when = 0.0 if left.is_notice and left is not kept else now + _wait(now - left.kept_at)
            heapq.heappush(due, (when, name, size))

    async def _handled(self, kept: Kept, name: str) -> Kept | None:
        """What the file holds now; None when it is gone."""
        path = self._directory / name
        if kept.refused is None:
            answer = await self._relay.send(kept.outgoing)
            now = self._clock()
            if answer.is_deferred and now - kept.kept_at < self._max_age:
                await asyncio.to_thread(os.utime, path, (now, now))
                return kept
            if answer.is_accepted:
                await asyncio.to_thread(self._remove, path)
                return None
            kept = msgspec.structs.replace(kept, refused=answer, refused_at=now)
            await asyncio.to_thread(self._put_file, path, kept)
        notice = await self._on_refused(kept, path.stem)
        if notice is None:
            await asyncio.to_thread(self._remove, path)
        else:
            await asyncio.to_thread(self._put_file, path, notice)
        return notice

    # -- files; each waits for the disk, so in a thread -------------------------------------------

    async def _schedule(self) -> list[tuple[float, str, int]]:
        if self._due is None:
            found = await asyncio.to_thread(self._scan)
            if self._due is None:  # nobody was faster
                heapq.heapify(found)
                self._due = found
        return self._due

    def _scan(self) -> list[tuple[float, str, int]]:
        found: list[tuple[float, str, int]] = []
        if not self._directory.exists():
            return found
        for entry in os.scandir(self._directory):
            if match := _NAME.match(entry.name):
                state = entry.stat()
                age = state.st_mtime - int(match[1]) / 1e6
                found.append((state.st_mtime + _wait(age), entry.name, state.st_size))
            elif entry.name.endswith(".tmp"):  # a crash before its rename
                Path(entry.path).unlink(missing_ok=True)
        return found

    def _write(self, items: Sequence[Kept]) -> list[tuple[float, str, int]]:
        written: list[tuple[float, str, int]] = []
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            for item in items:
                name = f"{next(self._micros):020d}-{os.getpid()}.msg"
                due = 0.0 if item.is_notice else self._clock() + FIRST_WAIT
                written.append((due, name, len(item.message)))
                self._put_file(self._directory / name, item)
        except OSError:  # all or nothing
            for _, name, _ in written:
                (self._directory / name).unlink(missing_ok=True)
            raise
        return written

    def _put_file(self, path: Path, kept: Kept) -> None:
        write_durably(path.with_suffix(".tmp"), path, msgspec.msgpack.encode(kept))
        if kept.is_notice or kept.refused:
            os.utime(path, (0, 0))  # due at once, after a restart too

    def _read(self, name: str) -> Kept | None:
        """None when it is gone, or can't be read and is put aside."""
        path = self._directory / name
        try:
            return self._decode(path.read_bytes())
        except FileNotFoundError:  # an operator's hand
            return None
        except msgspec.DecodeError as error:
            log.warning("deferred.unreadable", extra={"file": name, "error": str(error)})
            path.rename(path.with_suffix(".bad"))
            return None

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        sync_directory(self._directory)


def _wait(age: float) -> float:
    """Half the age at the last attempt, as Postfix waits: longer every time."""
    return min(max(age / 2, FIRST_WAIT), LONGEST_WAIT)
