"""The writing side: appends of many threads, one group commit for all that wait.

Leader and followers: the first thread that waits for the disk writes and syncs for everybody;
who comes meanwhile waits in a queue, and the first of these leads next. The leader syncs itself,
because a hand-over costs 20 us; once a sync took longer than `slow`, and for those who are called
back, the one sync thread does it. Queue swap and append stand under one mutex: swapping without
it loses records that were acknowledged (facts/hotpath.md section 7).
"""

import time
from _thread import allocate_lock
from collections.abc import Callable
from pathlib import Path

from sendback.errors import Unavailable
from sendback.journal.aio import AsyncAppends
from sendback.journal.disk import Disk, never_raising
from sendback.journal.files import FILES, FileOps
from sendback.journal.later import Later, answer_all, append_and_answer, claim
from sendback.journal.segment import Segment
from sendback.journal.sync_thread import SyncThread
from sendback.journal.ticket import Fail, Level, Then, Ticket, give_error

_QUIET_SECONDS = 1.0
_SICK_PATIENCE_S = 0.01
"""Longer than any write of others takes, while the disk takes them."""
_OS = Level.OS


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
        self._log = log = never_raising(log)
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
        self._max_unsynced, self._slow = max_unsynced_bytes, slow
        self._mutex = allocate_lock()
        """Guards queue, unsynced, syncing; never held over a system call."""
        self._io = allocate_lock()
        """Guards the disk; held over writes, never over a sync of a sound disk."""
        self._queue: list[Ticket] = []
        self._unsynced: list[Ticket] = []
        self._loose: Ticket | None = None
        """The one of `_unsynced` that holds all that was written alone at level `os`."""
        self._unsynced_bytes = 0
        self._syncing = False
        self._sync_began = 0.0
        self._synced_at = float("-inf")
        self._is_slow = self._closed = False
        self._thread = SyncThread(self._lead, self._look, os_interval)
        self._async: AsyncAppends | None = None
        self._later = Later(self._give_up)
        self._records = self._bytes = 0
        self._counts = dict.fromkeys(
            ("syncs", "slow_syncs", "failed_syncs", "unconfirmed", "refused"), 0
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
        if level is _OS and not self._queue and self._write_alone(payload):
            return True
        return self._append([payload], level, timeout)

    def append_then(self, payload: bytes, then: Then, fail: Fail, *, timeout: float) -> None:
        """As `append` at level `disk`, but waits for nobody: `then()` is called, once.

        That is when the record is on the disk, in whatever thread saw to it. `fail(None)` comes
        before it when there is no such word within `timeout` seconds, `fail(Unavailable)` when
        the record can't be written. Neither may block.
        """
        if not self.degraded:
            deadline = time.monotonic() + timeout
            ticket = Ticket([payload], len(payload), then, fail, deadline, is_answered=False)
            with self._mutex:
                takes = not self._closed and self._unsynced_bytes <= self._max_unsynced
                if takes:
                    self._queue.append(ticket)
                    self._unsynced_bytes += ticket.size
                    self._later.add(ticket)
                    leads = not self._syncing
                    self._syncing = True
            if takes:
                if leads:
                    self._thread.lead()
                return
        append_and_answer(self.append, payload, then, fail, timeout)

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
        """Totals since the start, by name; `unconfirmed`: answered without the disk's word."""
        return {"records": self._records, "bytes": self._bytes, **self._counts}

    def close(self) -> None:
        """Everything appended is synced (or its fault was logged); later appends: Unavailable."""
        if self._async is not None:
            self._async.close()
        with self._mutex:
            self._closed = True
        while self._syncing:  # somebody still leads; no append can follow any more
            time.sleep(0.001)
        self._thread.close()
        self._look()
        self._later.close()
        with self._io:
            self._disk.close()

    # -- one append ------------------------------------------------------------------------

    def _append(self, payloads: list[bytes], level: Level, timeout: float | None) -> bool:
        ticket = Ticket(payloads, sum(map(len, payloads)))
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
            if timeout is not None and self.degraded:
                # Whoever holds the file of a sick disk may hold it long, and threads are few.
                timeout = min(timeout, _SICK_PATIENCE_S)
            confirmed = self._write_through(timeout) and confirmed
        elif follows:
            if leads:
                self._thread.lead()
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
            size = len(payload)
            with self._mutex:
                loose = self._loose
                if loose is None:
                    loose = self._loose = Ticket([], 0)
                    self._unsynced.append(loose)
                loose.payloads.append(payload)
                loose.size += size
                self._unsynced_bytes += size
                self._records += 1
                self._bytes += size
        except OSError:
            return False  # `_append` tries once more and knows what to say
        finally:
            self._io.release()
        if not self._thread.is_asked:  # asked: the thread looks at what is unsynced only after this
            self._thread.ask()
        return True

    def _count(self, name: str) -> None:
        with self._mutex:
            self._counts[name] += 1

    def _write_through(self, timeout: float | None) -> bool:
        """Level `os`: whoever holds the file writes the whole queue, so mostly nothing is left."""
        if not self._io.acquire(timeout=-1 if timeout is None else timeout):
            self._thread.ask()
            return False
        try:
            self._write_queue()
        finally:
            self._io.release()
        self._thread.ask()
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
            self._thread.lead()
        if done:
            return True
        self._write_through(0.0)
        return False

    def _give_up(self, late: list[Ticket]) -> None:
        """Answer those who waited long enough; what still stands in the queue is written first."""
        self._write_through(0.0)
        with self._mutex:
            claimed = claim(late)
        answer_all(claimed, self._count, self._log, is_late=True)

    # -- leading ---------------------------------------------------------------------------

    def _lead(self) -> None:
        """Write and sync for everybody who waits; called by who set or was given `_syncing`."""
        with self._io:
            self._write_queue()
        with self._mutex:
            covered, self._unsynced, self._loose = self._unsynced, [], None
        if covered:
            self._sync(covered)
        with self._mutex:
            self._unsynced_bytes -= sum([ticket.size for ticket in covered])
            left = self._unsynced + self._queue
            successor = None if self._is_slow else next((t for t in left if t.gate), None)
            if successor is not None:
                successor.leads = True
            elif not (self._is_slow and left) and all(t.is_answered for t in left):
                self._syncing = False
            hands_over = self._syncing and successor is None
            gates = [ticket.gate for ticket in covered if ticket.gate is not None]
            if successor is not None and successor.gate is not None:
                gates.insert(0, successor.gate)  # the next leader wakes before the others
            for ticket in covered:
                ticket.is_synced = ticket.error is None
            claimed = claim(covered)
        for gate in gates:
            gate.release()
        if hands_over:
            self._thread.lead()
        elif left:
            self._thread.ask()
        answer_all(claimed, self._count, self._log)
        self._disk.look_for_room()

    def _look(self) -> None:
        """Sync what waits for no leader, unless somebody leads: then look again later."""
        with self._mutex:
            if not self._unsynced and not self._queue:
                return
            is_led, self._syncing = self._syncing, True
        if is_led:
            self._thread.ask()
        else:
            self._lead()

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
                self._unsynced += [ticket for ticket in batch if ticket.waits]
            return
        with self._mutex:
            self._records += sum([len(ticket.payloads) for ticket in batch])
            self._bytes += sum([ticket.size for ticket in batch])
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
                self._unsynced, self._loose = [], None
            sound = [ticket for ticket in covered if ticket.error is None]
            payloads = [payload for ticket in sound for payload in ticket.payloads]
            try:
                segment = self._disk.start_again(segments, payloads, f"sync failed: {error}")
            except OSError as again:
                give_error(sound, f"the journal can't be synced: {again}", self._log)
                return False
        try:
            segment.sync()
        except OSError as again:
            with self._io:
                with self._mutex:  # what came meanwhile went into the same segment
                    came = [ticket for ticket in self._unsynced if ticket.error is None]
                    covered += self._unsynced
                    self._unsynced, self._loose = [], None
                self._disk.close()
            give_error(sound + came, f"the journal can't be synced: {again}", self._log)
            return False
        return True
