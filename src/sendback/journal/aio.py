"""Appends for asyncio: what many coroutines append meanwhile goes in one commit of one thread."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from sendback.errors import Unavailable

_BATCH = 256
_Waiting = tuple[bytes, asyncio.Future[None]]


class AsyncAppends:
    """Bridges one event loop to `append`, which takes payloads and blocks until they are safe."""

    def __init__(self, append: Callable[[list[bytes]], object]) -> None:
        self._append = append
        self._queue: SimpleQueue[_Waiting] = SimpleQueue()
        self._pool = ThreadPoolExecutor(1, "journal-append")
        self._is_draining = False
        """Read and written in the loop's thread only."""

    async def append(self, payload: bytes) -> None:
        """The payload is safe, or Unavailable. Cancelling gives up the waiting, not the append."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put((payload, done))
        if not self._is_draining:
            self._is_draining = True
            self._pool.submit(self._drain, loop)
        await asyncio.shield(done)

    def close(self) -> None:
        """What was begun is done."""
        self._pool.shutdown(wait=True)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        while batch := self._take():
            error: Unavailable | None = None
            try:
                self._append([payload for payload, _ in batch])
            except Unavailable as refused:
                error = refused
            _call(loop, _settle, [done for _, done in batch], error)
        _call(loop, self._idle, loop)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        with contextlib.suppress(Empty):
            while len(batch) < _BATCH:
                batch.append(self._queue.get_nowait())
        return batch

    def _idle(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the loop: what came after the thread's last look gets a thread again."""
        self._is_draining = not self._queue.empty()
        if self._is_draining:
            self._pool.submit(self._drain, loop)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
        loop.call_soon_threadsafe(function, *args)


def _settle(waiting: list[asyncio.Future[None]], error: Unavailable | None) -> None:
    for done in waiting:
        if done.cancelled():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
            done.exception()  # a caller that was cancelled will not look: no warning for it
