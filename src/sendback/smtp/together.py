"""Work that waits for a disk or a database, done for many coroutines in one call of a thread.

A thread for each message quarrels with the others about the interpreter and pays for being woken:
measured, that is half of what tagging costs (ADR 0041). So the messages that wait while a call is
under way go together in the next one. Knows nothing of what the work is.
"""

import asyncio
import collections
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Together(Generic[Job, Result]):
    """`work(jobs)` answers each job in order, an exception standing for what that job raises.

    At most `parallel` calls at a time, each of at most `most` jobs; `hurried` of them when calls
    take so long that a job has waited for `patience` seconds: a store that hangs shall cost nobody
    two deadlines. What `work` itself raises, every job of the call raises. A job that the threads
    did not come to before they were closed is cancelled. For one event loop.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Job]], Sequence[Result | Exception]],
        threads: Executor,
        *,
        parallel: int = 2,
        most: int = 32,
        hurried: int = 8,
        patience: float = 0.03,
    ) -> None:
        self._work = work
        self._threads = threads
        self._parallel = parallel
        self._most = most
        self._hurried = hurried
        self._patience = patience
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: collections.deque[tuple[Job, asyncio.Future[Result]]] = collections.deque()

    async def do(self, job: Job) -> Result:
        """The job's result. A caller that is cancelled does not stop it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((job, future))
        if len(self._waiting) == 1:
            # Not at once: what other connections bring in this turn of the loop goes along.
            loop.call_soon(self._start, loop)
        return await future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._running < self._parallel and self._waiting:
            self._call(loop)
        if self._waiting and self._timer is None:
            self._timer = loop.call_later(self._patience, self._hurry, loop)

    def _hurry(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiting and self._running < self._hurried:
            self._call(loop)
        self._start(loop)

    def _call(self, loop: asyncio.AbstractEventLoop) -> None:
        count = min(len(self._waiting), self._most)
        batch = [self._waiting.popleft() for _ in range(count)]
        try:
            call = loop.run_in_executor(self._threads, self._work, [job for job, _ in batch])
        except RuntimeError:  # the threads were closed
            for _, future in batch:
                future.cancel()
            return
        self._running += 1
        call.add_done_callback(partial(self._done, loop, [future for _, future in batch]))

    def _done(
        self,
        loop: asyncio.AbstractEventLoop,
        futures: Sequence["asyncio.Future[Result]"],
        call: "asyncio.Future[Sequence[Result | Exception]]",
    ) -> None:
        self._running -= 1
        self._start(loop)
        results: Sequence[Result | Exception]
        try:
            results = call.result()
        except asyncio.CancelledError:  # the threads were closed before they came to it
            for future in futures:
                future.cancel()
            return
        except Exception as error:  # noqa: BLE001  every one of the call is told
            results = [error] * len(futures)
        for future, result in zip(futures, results, strict=True):
            if future.done():  # cancelled
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
