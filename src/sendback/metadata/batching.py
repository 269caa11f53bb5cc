"""Many waiting threads, one write or read for all of them: leader and followers.

The first thread to come does its own job at once; those that come meanwhile wait, and when it is
done the first of them takes every waiting job as one batch. No thread of its own, no added delay
when idle. Knows nothing of what the jobs are.
"""

import collections
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sendback.errors import SendbackError, Unavailable

Job = TypeVar("Job")
Result = TypeVar("Result")


class _Ticket(Generic[Job, Result]):
    __slots__ = ("error", "is_done", "is_leader", "job", "result", "wake")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.result: Result | None = None
        self.error: SendbackError | None = None
        self.is_done = False
        self.is_leader = False
        self.wake = threading.Lock()
        self.wake.acquire()


class Batcher(Generic[Job, Result]):
    """Runs `run(jobs, deadline)`, which answers each job in order, at most `parallel` at a time.

    What `run` raises, every job of the batch raises. `deadline` is of time.monotonic, None for
    ever.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job], float | None], Sequence[Result]],
        *,
        parallel: int = 1,
        max_batch: int = 256,
    ) -> None:
        self._run = run
        self._idle = parallel
        self._max_batch = max_batch
        self._mutex = threading.Lock()
        self._waiting: collections.deque[_Ticket[Job, Result]] = collections.deque()

    def submit(self, job: Job, deadline: float | None = None) -> Result:
        """The job's result; Unavailable once `deadline` has passed (it may still be done)."""
        ticket: _Ticket[Job, Result] = _Ticket(job)
        with self._mutex:
            if self._idle and not self._waiting:
                self._idle -= 1
                ticket.is_leader = True
            else:
                self._waiting.append(ticket)
        if not ticket.is_leader:
            self._wait(ticket, deadline)
        if not ticket.is_done:
            self._lead(ticket, deadline)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[return-value]  # done without error

    def _wait(self, ticket: _Ticket[Job, Result], deadline: float | None) -> None:
        """Until the ticket is done or leads; Unavailable when time is up first."""
        timeout = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        if ticket.wake.acquire(timeout=timeout):
            return
        with self._mutex:
            if ticket.is_done:
                return
            if ticket.is_leader:  # chosen a moment too late: another one shall lead
                self._hand_over()
            elif ticket in self._waiting:
                self._waiting.remove(ticket)
        raise Unavailable("no answer in time")

    def _lead(self, ticket: _Ticket[Job, Result], deadline: float | None) -> None:
        batch = [ticket]
        with self._mutex:
            while self._waiting and len(batch) < self._max_batch:
                batch.append(self._waiting.popleft())
        try:
            results = self._run([member.job for member in batch], deadline)
            for member, result in zip(batch, results, strict=True):
                member.result = result
        except SendbackError as error:
            for member in batch:
                member.error = error
        except BaseException:
            for member in batch[1:]:
                member.error = Unavailable("the batch that this was part of failed")
            self._finish(batch)
            raise
        self._finish(batch)

    def _finish(self, batch: Sequence[_Ticket[Job, Result]]) -> None:
        """Results stand before anybody wakes; the next leader wakes before the followers."""
        with self._mutex:
            for member in batch:
                member.is_done = True
            self._hand_over()
        for member in batch[1:]:
            member.wake.release()

    def _hand_over(self) -> None:
        if self._waiting:
            successor = self._waiting.popleft()
            successor.is_leader = True
            successor.wake.release()
        else:
            self._idle += 1
