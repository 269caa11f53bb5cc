"""A consumer inside the house follows the log: statistics, suppression list, signs of life.

Its true cursor stands where its results stand (the main database), moved in their transaction. The
log keeps a copy, so that `events status` and pruning know how far it is.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from sendback.errors import Unavailable
from sendback.eventlog import EventLog, StoredEvent

_MAX_WAIT = 30.0


class Consumer(Protocol):
    """Takes batches in order; giving one twice changes nothing. Both: Unavailable."""

    def cursor(self) -> int:
        """The seq up to which events were taken."""

    def consume(self, batch: Sequence[StoredEvent]) -> object:
        """Take the batch, all of it or nothing."""


class Following:
    """One consumer and its place in the log."""

    def __init__(
        self,
        name: str,
        log: EventLog,
        consumer: Consumer,
        *,
        max_batch: int = 1000,
        monotonic: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.name = name
        self._log, self._consumer, self._max_batch = log, consumer, max_batch
        self._monotonic, self._say = monotonic, say
        self._cursor: int | None = None
        self._noted = -1
        self._noted_at = 0.0
        self._failures = 0
        self._not_before = 0.0

    def step(self) -> bool:
        """Give it what comes next; True when there was something. Never raises for its faults."""
        if self._monotonic() < self._not_before:
            return False
        try:
            return self._follow()
        except Unavailable as error:
            self._back_off(f"WARNING {self.name}: {error}")
        except Exception as error:  # noqa: BLE001 - its thread must not end; it tries again
            self._back_off(f"ERROR {self.name}: {type(error).__name__}: {error}")
        return False

    def wait(self) -> float:
        """Seconds until a step may have something to do although no new event came."""
        return min(30.0, max(0.0, self._not_before - self._monotonic()) or 1.0)

    def close(self) -> None:
        """Nothing is held."""

    def _follow(self) -> bool:
        last = self._log.last_seq()
        if self._cursor is None:
            self._cursor = self._consumer.cursor()
            if self._cursor > last:
                self._say(f"WARNING {self.name} is ahead of the log, which began anew")
                self._log.skip_to(self._cursor)
        batch = self._log.read(self._cursor, self._max_batch)
        if batch:
            self._consumer.consume(batch)
            self._cursor = batch[-1].seq
        self._failures = 0
        self._note()
        return bool(batch)

    def _note(self) -> None:
        assert self._cursor is not None
        if self._cursor != self._noted and self._monotonic() - self._noted_at > 2.0:
            self._log.set_cursor(self.name, self._cursor)
            self._noted, self._noted_at = self._cursor, self._monotonic()

    def _back_off(self, line: str) -> None:
        if self._failures == 0:
            self._say(line)
        self._failures += 1
        self._cursor = None  # what it really took, it says itself
        self._not_before = self._monotonic() + min(_MAX_WAIT, 2.0 ** min(self._failures, 5) / 2)
