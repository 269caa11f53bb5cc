"""One append on its way through the group commit."""

import enum
from _thread import LockType
from collections.abc import Callable, Sequence

import msgspec

from sendback.errors import Unavailable


class Level(enum.Enum):
    """What `append` promises when it returns True."""

    DISK = "disk"
    """Synced: survives a power cut."""
    OS = "os"
    """Written: survives a killed process; synced within 50 ms."""


Then = Callable[[], None]
Fail = Callable[[Unavailable | None], None]


class Ticket(msgspec.Struct, eq=False):
    """The payloads of one append, and how far they are.

    Who waits has a `gate` that opens, or a `then` that is called; level `os` has neither.
    """

    payloads: list[bytes]
    size: int
    then: Then | None = None
    fail: Fail | None = None
    deadline: float = 0.0
    is_answered: bool = True
    """False while a `then` is to be called. Changed under the journal's mutex alone: so each is
    called back once."""
    is_synced: bool = False
    leads: bool = False
    gate: LockType | None = None
    error: Unavailable | None = None

    @property
    def waits(self) -> bool:
        """True when somebody wants to hear of the disk."""
        return self.gate is not None or not self.is_answered

    def answer(self, *, is_late: bool = False) -> None:
        """Call back; what that raises comes through."""
        assert self.then is not None
        assert self.fail is not None
        if is_late or self.error is not None:
            self.fail(self.error)
        self.then()


def give_error(tickets: Sequence[Ticket], reason: str, log: Callable[[str], None]) -> None:
    """These are not safe, and whoever waits for them is to hear why."""
    log(f"ERROR journal: {reason}; {sum(len(t.payloads) for t in tickets)} records are not safe")
    error = Unavailable(reason)
    for ticket in tickets:
        ticket.error = error
