"""The port of everything that takes events, and of the formats that a webhook can speak.

A sink knows how to hand one batch over and how to read the answer; when to try again, what to
give up and in which order is the business of `sendback.delivery`.
"""

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class StoredEvent(Protocol):
    """An event of the log, as `sendback.eventlog` gives it."""

    @property
    def seq(self) -> int:
        """Its place in the log of its node."""

    @property
    def type(self) -> str:
        """The wire name."""

    @property
    def time_ms(self) -> int:
        """When it happened."""

    @property
    def event_id(self) -> str:
        """The UUIDv7."""

    @property
    def body(self) -> bytes:
        """The JSON object as delivered."""


class Result(enum.Enum):
    """What became of a batch; the values are stored with each attempt."""

    DELIVERED = "delivered"
    """The receiver has it, all of it."""
    REFUSED = "refused"
    """The receiver understood and will never take it: something in it is wrong for it."""
    FAILED = "failed"
    """Not this time: no answer, a fault of the receiver, a wrong address or key."""
    THROTTLED = "throttled"
    """The receiver asks for less (429, 502, 503, 504)."""
    GONE = "gone"
    """The receiver wants nothing any more (410): the destination is disabled."""


class Outcome(NamedTuple):
    """The answer to one batch."""

    result: Result
    status: int | None = None
    """HTTP status, where there is one."""
    answer: str = ""
    """The head of the answer, or the error, for people."""
    retry_after: float | None = None
    """Seconds the receiver asked us to wait."""
    is_fault: bool = False
    """The receiver, or our own code, broke: perhaps on what is in one of the events."""


class Sink(Protocol):
    """Takes batches. Called by one thread at a time unless `max_parallel` says more."""

    @property
    def max_batch(self) -> int:
        """Most events that one `deliver` can take; 0 for no limit of its own."""

    @property
    def max_parallel(self) -> int:
        """How many threads may be in `deliver` at once; one that does not say it takes one."""

    def deliver(self, batch: Sequence[StoredEvent]) -> Outcome:
        """Hand over the batch, at least once; never raises for what the receiver does.

        All or nothing in what it reports: DELIVERED means that every event is safe there.
        Giving the same batch again must be harmless, but may be seen (same event ids).
        """

    def close(self) -> None:
        """Let go of connections and files."""


class Format(Protocol):
    """How a webhook writes events and knows success. Entry points: group `sendback.formats`."""

    @property
    def content_type(self) -> str:
        """Of the request body."""

    @property
    def max_batch(self) -> int:
        """1 when each event is a request of its own; 0 for no limit."""

    def encode(self, batch: Sequence[StoredEvent]) -> bytes:
        """The request body."""

    def is_success(self, status: int, body: bytes) -> bool:
        """True when this answer means that the receiver has the events."""
