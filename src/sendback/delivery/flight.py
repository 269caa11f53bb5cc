"""Several batches on their way at once.

New ones start as long as all went well, so after a failure at most `parallel` - 1 batches behind it
may have arrived; they go again, with the same ids.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from sendback.eventlog import Attempt, StoredEvent
from sendback.sinks import Outcome, Result

Try = Callable[[Sequence[StoredEvent], list[Attempt]], Outcome]


class Sent(NamedTuple):
    """One batch that was sent, and what came back."""

    batch: list[StoredEvent]
    outcome: Outcome
    attempts: list[Attempt]


class Flight:
    """Keeps up to `parallel` batches in the air; called by one thread."""

    def __init__(self, name: str, parallel: int) -> None:
        self._parallel = parallel
        self._pool = ThreadPoolExecutor(parallel, f"deliver-{name}")

    def send(
        self, batches: Sequence[list[StoredEvent]], attempt: Try, may_start: Callable[[], bool]
    ) -> list[Sent]:
        """Send them from the first on; what was started, in that order.

        None is started after one that was not delivered, or once `may_start` says no.
        """
        waiting = deque(batches)
        flying: deque[tuple[list[StoredEvent], list[Attempt], Future[Outcome]]] = deque()
        sent: list[Sent] = []
        is_well = True
        while True:
            while waiting and is_well and len(flying) < self._parallel and may_start():
                batch, attempts = waiting.popleft(), list[Attempt]()
                flying.append((batch, attempts, self._pool.submit(attempt, batch, attempts)))
            if not flying:
                return sent
            batch, attempts, future = flying.popleft()
            sent.append(Sent(batch, future.result(), attempts))
            is_well = is_well and sent[-1].outcome.result is Result.DELIVERED

    def close(self) -> None:
        """Start nothing more; what is in the air is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
