"""One append on its way through the group commit."""

import enum
from _thread import LockType
from collections.abc import Callable

from sendback.errors import Unavailable


class Level(enum.Enum):
    """What `append` promises when it returns True."""

    DISK = "disk"
    """Synced: survives a power cut."""
    OS = "os"
    """Written: survives a killed process; synced within 50 ms."""


Then = Callable[[], None]
Fail = Callable[[Unavailable | None], None]


class Ticket:
    """The payloads of one append, and how far they are.

    Who waits has a `gate` that opens, or a `then` that is called; level `os` has neither.
    """

    __slots__ = ("deadline", "error", "fail", "gate", "is_answered", "is_synced", "leads",
                 "payloads", "size", "then")  # fmt: skip

    def __init__(
        self,
        payloads: list[bytes],
        size: int,
        then: Then | None = None,
        fail: Fail | None = None,
        deadline: float = 0.0,
    ) -> None:
        self.payloads = payloads
        self.size = size
        self.then = then
        self.fail = fail
        self.deadline = deadline
        self.is_answered = then is None
        """Changed under the journal's mutex alone: so each is called back once."""
        self.is_synced = self.leads = False
        self.gate: LockType | None = None
        self.error: Unavailable | None = None

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
