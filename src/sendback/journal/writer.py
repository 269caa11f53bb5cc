"""The writing side: appends of many threads, one group commit for all that wait.

Leader and followers: the first thread that waits for the disk writes and syncs for everybody;
who comes meanwhile waits in a queue, and the first of these leads next. Queue swap and append
stand under one mutex: swapping without it loses records that were acknowledged (facts/hotpath.md
section 7). The leader syncs itself, because a hand-over costs 20 us; once a sync took longer than
`slow` the one sync thread does it, so that every waiter can give up in time.
"""

import contextlib
import time
from _thread import allocate_lock
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from sendback.errors import Unavailable
from sendback.journal.aio import AsyncAppends
from sendback.journal.disk import Disk
from sendback.journal.files import FILES, FileOps
from sendback.journal.segment import Segment
from sendback.journal.ticket import Level, Ticket

_QUIET_SECONDS = 1.0


class Journal:
    """The journal of one process; every method may be called from any thread.

    Make it after a fork, never before. `log` gets one line for each fault. A stall that
    begins under load stops one thread, its leader; nobody else waits longer than `timeout`.
    """

    def __init__(
        self,
        directory: Path,
        name: str = "web",
        *,
        files: FileOps = FILES,
        clock: Callable[[], float] = time.time,
        log: Callable[[str], None] = lambda _line: None,
        segment_bytes: int = 16 * 1024 * 1024,
        segment_seconds: float = 60.0,
        reserve_bytes: int = 1024 * 1024,
        max_unsynced_bytes: int = 64 * 1024 * 1024,
        slow: float = 0.05,
        os_interval: float = 0.05,
    ) -> None:
        self._log = log = _never_raising(log)
        self._disk = Disk(
            Path(directory),
            name,
            files=files,
            clock=clock,
            log=log,
            segment_bytes=segment_bytes,
            segment_seconds=segment_seconds,
            reserve_bytes=reserve_bytes,
        )
        self._max_unsynced, self._slow, self._os_interval = max_unsynced_bytes, slow, os_interval
        self._mutex = allocate_lock()
        """Guards queue, unsynced, syncing; never held over a system call."""
        self._io = allocate_lock()
        """Guards the disk; held over writes, never over a sync of a sound disk."""
        self._queue: list[Ticket] = []
        self._unsynced: list[Ticket] = []
        self._unsynced_bytes = 0
        self._syncing = False
        self._sync_began = 0.0
        self._synced_at = float("-inf")
        self._is_slow = False
        self._closed = False
        self._jobs: SimpleQueue[bool | None] = SimpleQueue()
        self._sync_asked = False
        self._sync_thread: Thread | None = None
        self._async: AsyncAppends | None = None
        self._counts = dict.fromkeys(
            ("records", "bytes", "syncs", "slow_syncs", "failed_syncs", "unconfirmed", "refused"), 0
        )

    # -- what callers see ------------------------------------------------------------------

    def append(
        self, payload: bytes, *, level: Level = Level.DISK, timeout: float | None = None
    ) -> bool:
        """True: the record stands as `level` promises. Unavailable: it can't be written at all.

        False, only with a `timeout` in seconds: not on the disk in time, though written where
        that was possible; it will be synced as soon as the disk obeys. While `degraded`, that
        answer comes at once.
        """
        if level is Level.OS and not self._queue and self._write_alone(payload):
            return True
        return self._append([payload], level, timeout)

    async def append_async(self, payload: bytes) -> None:
        """The record is on the disk. Unavailable when not, or when the disk is nearly full.

        Cancelling gives up the waiting, not the append.
        """
        if self.full:
            self._disk.look_for_room()
            if self.full:
                self._count("refused")
                raise Unavailable("the disk of the journal is full")
        if self._async is None:
            self._async = AsyncAppends(lambda payloads: self._append(payloads, Level.DISK, None))
        await self._async.append(payload)

    @property
    def degraded(self) -> bool:
        """True while syncs are slow or failing: web answers at level `os` then."""
        if self._is_slow:
            return True
        return self._syncing and 0.0 < self._sync_began < time.monotonic() - self._slow

    @property
    def full(self) -> bool:
        """True from the first write that found no room until there is some again."""
        return self._disk.is_full

    def counters(self) -> dict[str, int]:
        """Totals since the start, by name.

        records, bytes, syncs, slow_syncs, failed_syncs, unconfirmed (answered without the
        disk's word), refused.
        """
        return dict(self._counts)

    def close(self) -> None:
        """Everything appended is synced (or its fault was logged); later appends: Unavailable."""
        if self._async is not None:
            self._async.close()
        with self._mutex:
            self._closed = True
        while self._syncing:  # somebody still leads; no append can follow any more
            time.sleep(0.001)
        if self._sync_thread is not None:
            self._jobs.put(None)
            self._sync_thread.join()
        self._take_the_lead_and_sync()
        with self._io:
            self._disk.close()

    # -- one append ------------------------------------------------------------------------

    def _append(self, payloads: list[bytes], level: Level, timeout: float | None) -> bool:
        ticket = Ticket(payloads)
        confirmed = True
        if level is Level.DISK and timeout is not None and self.degraded:
            level, confirmed = Level.OS, False
        # After a quiet second nobody knows how the disk is: then the sync thread goes first, so
        # that a stall holds no web answer. Under load the hand-over would cost too much.
        trusts = timeout is None or time.monotonic() - self._synced_at < _QUIET_SECONDS
        with self._mutex:
            if self._closed:
                raise Unavailable("the journal is closed")
            if self._unsynced_bytes > self._max_unsynced:
                self._counts["refused"] += 1
                raise Unavailable("the disk of the journal does not answer")
            self._queue.append(ticket)
            self._unsynced_bytes += ticket.size
            follows = level is Level.DISK and (self._syncing or self._is_slow or not trusts)
            if follows:
                ticket.gate = allocate_lock()
                ticket.gate.acquire()
            leads = level is Level.DISK and not self._syncing
            if leads:
                self._syncing = True
        if level is Level.OS:
            confirmed = self._write_through(timeout) and confirmed
        elif follows:
            if leads:
                self._give_to_thread(is_leading=True)
            confirmed = self._follow(ticket, timeout)
        else:
            self._lead()
        if ticket.error is not None:
            self._count("refused")
            raise ticket.error
        if not confirmed:
            self._count("unconfirmed")
        return confirmed

    def _write_alone(self, payload: bytes) -> bool:
        """Level `os` while nobody else is at the file: no queue, and half the cost of `_append`.

        False: nothing was done. Written and noted as unsynced under `_io`, so that a sync, a
        rescue and `close` see both or neither.
        """
        if not self._io.acquire(blocking=False):
            return False
        try:
            if self._closed or self._unsynced_bytes > self._max_unsynced:
                return False
            self._disk.write((payload,))
            ticket = Ticket([payload])
            with self._mutex:
                self._counts["records"] += 1
                self._counts["bytes"] += ticket.size
                self._unsynced_bytes += ticket.size
                self._unsynced.append(ticket)
        except OSError:
            return False  # `_append` tries once more and knows what to say
        finally:
            self._io.release()
        if not self._sync_asked:  # asked: the thread looks at what is unsynced only after this
            self._give_to_thread()
        return True

    def _count(self, name: str) -> None:
        with self._mutex:
            self._counts[name] += 1

    def _write_through(self, timeout: float | None) -> bool:
        """Level `os`: whoever holds the file writes the whole queue, so mostly nothing is left."""
        if not self._io.acquire(timeout=-1 if timeout is None else timeout):
            self._give_to_thread()
            return False
        try:
            self._write_queue()
        finally:
            self._io.release()
        self._give_to_thread()
        return True

    def _follow(self, ticket: Ticket, timeout: float | None) -> bool:
        gate = ticket.gate
        assert gate is not None
        if gate.acquire(timeout=-1 if timeout is None else timeout):
            if ticket.leads:
                self._lead()
            return True
        with self._mutex:
            ticket.gate = None
            leads, done = ticket.leads, ticket.is_synced or ticket.error is not None
        if leads:  # the lead came in the moment we gave up waiting: pass it on
            self._give_to_thread(is_leading=True)
        if done:
            return True
        self._write_through(0.0)
        return False

    # -- leading ---------------------------------------------------------------------------

    def _lead(self) -> None:
        """Write and sync for everybody who waits; called by who set or was given `_syncing`."""
        with self._io:
            self._write_queue()
        with self._mutex:
            covered, self._unsynced = self._unsynced, []
        if covered:
            self._sync(covered)
        with self._mutex:
            self._unsynced_bytes -= sum(t.size for t in covered)
            successor = None
            if not self._is_slow:
                successor = next((t for t in chain(self._unsynced, self._queue) if t.gate), None)
            waits = bool(self._unsynced or self._queue)
            if successor is not None:
                successor.leads = True
            elif not (self._is_slow and waits):
                self._syncing = False
            hands_over = self._syncing and successor is None
            gates = [ticket.gate for ticket in covered if ticket.gate is not None]
            if successor is not None and successor.gate is not None:
                gates.insert(0, successor.gate)  # the next leader wakes before the others
            for ticket in covered:
                ticket.is_synced = ticket.error is None
        for gate in gates:
            gate.release()
        if hands_over:
            self._give_to_thread(is_leading=True)
        elif waits:
            self._give_to_thread()
        self._disk.look_for_room()

    def _take_the_lead_and_sync(self) -> None:
        with self._mutex:
            if self._syncing:
                return
            self._syncing = True
        self._lead()

    # -- the sync thread -------------------------------------------------------------------

    def _give_to_thread(self, *, is_leading: bool = False) -> None:
        """Ask for a sync within `os_interval`, or hand the lead over to the thread at once."""
        with self._mutex:
            if not is_leading and (self._sync_asked or self._closed):
                return
            self._sync_asked = True
            if self._sync_thread is None:
                self._sync_thread = Thread(
                    target=self._run_sync_thread, name="journal-sync", daemon=True
                )
                self._sync_thread.start()
        self._jobs.put(is_leading)

    def _run_sync_thread(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not job:
                with contextlib.suppress(Empty):
                    job = self._jobs.get(timeout=self._os_interval)
            self._sync_asked = False
            if job:
                self._lead()
            elif self._unsynced or self._queue:
                if self._syncing:
                    self._give_to_thread()
                else:
                    self._take_the_lead_and_sync()
            if job is None:
                return

    # -- the disk --------------------------------------------------------------------------

    def _write_queue(self) -> None:
        """Under `_io`: what waits stands in the file, or its owners have their error."""
        with self._mutex:
            batch, self._queue = self._queue, []
        if not batch:
            return
        try:
            self._disk.write([payload for ticket in batch for payload in ticket.payloads])
        except OSError as error:
            self._log(f"ERROR journal: {error}; {len(batch)} appends refused")
            reason = Unavailable(f"the journal can't be written: {error.strerror or error}")
            with self._mutex:
                for ticket in batch:
                    ticket.error = reason
                    self._unsynced_bytes -= ticket.size
                    ticket.size = 0
                self._unsynced += [ticket for ticket in batch if ticket.gate is not None]
            return
        with self._mutex:
            self._counts["records"] += sum(len(ticket.payloads) for ticket in batch)
            self._counts["bytes"] += sum(ticket.size for ticket in batch)
            self._unsynced += batch

    def _sync(self, covered: list[Ticket]) -> None:
        """`covered` is on the disk, or carries its error."""
        with self._io:
            segments, filled = self._disk.take_unsynced()
        self._sync_began = began = time.monotonic()
        is_safe = True
        try:
            for segment in segments:
                segment.sync()
        except OSError as error:
            is_safe = self._rescue(covered, segments, error)
        self._synced_at = time.monotonic()
        took = self._synced_at - began
        self._sync_began = 0.0
        for segment in filled:
            segment.close()
        self._counts["syncs"] += 1
        if took > self._slow:
            self._counts["slow_syncs"] += 1
            if not self._is_slow:
                self._log(f"WARNING journal: a sync took {took:.3f} s; web answers at level os")
        self._is_slow = took > self._slow or not is_safe

    def _rescue(self, covered: list[Ticket], segments: list[Segment], error: OSError) -> bool:
        """Write again, elsewhere, what the failed sync should have covered and what came since.

        `covered` grows by the latter. False when that fails too.
        """
        self._counts["failed_syncs"] += 1
        self._log(f"ERROR journal: sync failed ({error}); writing again into a new segment")
        with self._io:
            with self._mutex:
                covered += self._unsynced
                self._unsynced = []
            sound = [ticket for ticket in covered if ticket.error is None]
            payloads = [payload for ticket in sound for payload in ticket.payloads]
            try:
                self._disk.start_again(segments, payloads, f"sync failed: {error}")
            except OSError as again:
                self._log(f"ERROR journal: {again}; {len(payloads)} records are not safe")
                reason = Unavailable(f"the journal can't be synced: {again.strerror or again}")
                for ticket in sound:
                    ticket.error = reason
                return False
        return True


def _never_raising(log: Callable[[str], None]) -> Callable[[str], None]:
    """A log whose pipe is closed or whose disk is full must not stop the journal."""

    def write(line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            log(line)

    return write
