"""Many questions, one look for all that came meanwhile, and every asker is called back.

The counterpart of `batching.Batcher` for those who hold no thread while they wait: a question is
put down in a microsecond, and one thread takes all that lie there. Knows nothing of what the
questions are.
"""

import contextlib
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Generic, TypeVar

import msgspec

from sendback.errors import SendbackError, Unavailable

Job = TypeVar("Job")
Result = TypeVar("Result")


class _Ticket(msgspec.Struct, Generic[Job, Result], gc=False):
    job: Job
    deadline: float
    then: Callable[[Result], None]
    fail: Callable[[Exception], None]


class Questions(Generic[Job, Result]):
    """Runs `run(jobs, deadline)`, which answers each job in order, in a thread of its own.

    Deadlines are of time.monotonic; a batch has that of its oldest job, so nobody hears later than
    at the own one. Behind an ill server that used up another's, some may hear sooner.
    """

    def __init__(
        self, run: Callable[[Sequence[Job], float], Sequence[Result]], *, max_batch: int = 256
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._tickets: SimpleQueue[_Ticket[Job, Result] | None] = SimpleQueue()
        self._mutex = Lock()
        self._thread: Thread | None = None

    def ask(
        self,
        job: Job,
        deadline: float,
        then: Callable[[Result], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """Returns at once. Later one of the two is called, in another thread; neither may block.

        `fail` gets what `run` raised, or what `then` did.
        """
        ticket = _Ticket(job, deadline, then, fail)
        with self._mutex:  # or `close` could end the thread before it comes to this one
            if self._thread is None:  # made here, not before: after a fork there would be none
                self._thread = Thread(target=self._answer_all, name="questions", daemon=True)
                self._thread.start()
            self._tickets.put(ticket)

    def close(self) -> None:
        """Who asked is still answered; the thread ends then. Asking anew starts another."""
        with self._mutex:
            if self._thread is not None:
                self._tickets.put(None)
            self._thread = None

    def _answer_all(self) -> None:
        tickets = self._tickets
        while (first := tickets.get()) is not None:
            batch = [first]
            with contextlib.suppress(Empty):
                while len(batch) < self._max_batch:
                    ticket = tickets.get_nowait()
                    if ticket is None:
                        self._answer(batch)
                        return
                    batch.append(ticket)
            self._answer(batch)

    def _answer(self, batch: Sequence[_Ticket[Job, Result]]) -> None:
        try:
            results = self._run([ticket.job for ticket in batch], batch[0].deadline)
        except SendbackError as error:
            self._fail(batch, error)
            return
        except Exception as fault:  # noqa: BLE001 - a fault of ours must not end the thread
            self._fail(batch, Unavailable(f"not asked: {type(fault).__name__}: {fault}"))
            return
        for ticket, result in zip(batch, results, strict=True):
            try:
                ticket.then(result)
            except Exception as error:  # noqa: BLE001 - one asker's fault is not the others'
                self._fail([ticket], error)

    def _fail(self, tickets: Sequence[_Ticket[Job, Result]], reason: Exception) -> None:
        for ticket in tickets:
            with contextlib.suppress(Exception):  # it shall not raise; the others wait behind it
                ticket.fail(reason)
