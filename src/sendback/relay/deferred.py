"""Recipients that an upstream put off: kept durably, tried again for up to five days.

Only for messages with mixed answers: the client was told 250, so what is left is ours. One file a
recipient; its modification time is the last attempt, so the waiting time needs no other record.
"""

import asyncio
import contextlib
import logging
import os
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
        on_failed: Callable[[Kept, Answer], Awaitable[None]],
        clock: Callable[[], float] = time.time,
        max_age: float = MAX_AGE,
    ) -> None:
        """`on_failed` is told of a recipient that failed for good, before it is forgotten."""
        self._directory = directory
        self._relay = relay
        self._on_failed = on_failed
        self._clock = clock
        self._max_age = max_age
        self._decode = msgspec.msgpack.Decoder(Kept).decode
        self._next = int(clock() * 1e6)
        self._wake = asyncio.Event()

    def put(self, items: Sequence[Kept]) -> None:
        """All of them are on disk; Unavailable, and none is, when that can't be."""
        written: list[Path] = []
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for item in items:
                self._next += 1
                final = self._directory / f"{self._next:020d}-{os.getpid()}.msg"
                data = msgspec.msgpack.encode(item)
                written.append(final)
                write_durably(final.with_suffix(".tmp"), final, data)
                if item.is_notice:
                    os.utime(final, (0, 0))  # due at once
        except OSError as error:
            for path in written:
                path.unlink(missing_ok=True)
            raise Unavailable(f"deferred mail can't be kept: {error.strerror}") from error

    def wake(self) -> None:
        """Look at once for what is due."""
        self._wake.set()

    async def run(self, stop: asyncio.Event, *, every: float = 30.0) -> None:
        """Try what is due, until `stop` is set."""
        while not stop.is_set():
            try:
                while not stop.is_set() and await self.step():
                    pass
            except OSError as error:
                log.warning("deferred.fault", extra={"error": str(error)})
            waiting = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self._wake.wait())]
            await asyncio.wait(waiting, timeout=every, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            self._wake.clear()

    async def step(self) -> bool:
        """One attempt at what is most overdue; True when there was something."""
        path = await asyncio.to_thread(self._most_overdue)
        if path is None:
            return False
        try:
            kept = self._decode(await asyncio.to_thread(path.read_bytes))
        except (OSError, msgspec.DecodeError) as error:
            log.warning("deferred.unreadable", extra={"file": path.name, "error": str(error)})
            with contextlib.suppress(OSError):
                path.rename(path.with_suffix(".bad"))
            return True
        answer = await self._relay.send(kept.outgoing)
        if answer.is_deferred and self._clock() - kept.kept_at < self._max_age:
            os.utime(path, (self._clock(), self._clock()))
            return True
        if not answer.is_accepted:
            try:
                await self._on_failed(kept, answer)
            except Unavailable:
                os.utime(path, (self._clock(), self._clock()))  # told later, not never
                return True
        await asyncio.to_thread(self._remove, path)
        return True

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        sync_directory(self._directory)

    def _most_overdue(self) -> Path | None:
        now = self._clock()
        best: tuple[float, Path] | None = None
        try:
            entries = list(os.scandir(self._directory))
        except OSError:
            return None
        for entry in entries:
            if not entry.name.endswith(".msg"):
                continue
            try:
                last = entry.stat().st_mtime
            except OSError:
                continue
            due = last + self._wait(entry.name, last)
            if due <= now and (best is None or due < best[0]):
                best = (due, Path(entry.path))
        return best[1] if best else None

    def _wait(self, name: str, last: float) -> float:
        """Half the age at the last attempt, as Postfix waits: longer every time."""
        age = last - int(name[:20]) / 1e6
        return min(max(age / 2, FIRST_WAIT), LONGEST_WAIT)

    def backlog(self) -> int:
        """How many recipients wait."""
        try:
            return sum(path.suffix == ".msg" for path in self._directory.iterdir())
        except OSError:
            return 0
