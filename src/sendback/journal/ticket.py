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

    __slots__ = ("deadline", "error", "fail", "gate", "is_synced", "leads", "payloads", "size",
                 "then")  # fmt: skip

    def __init__(self, payloads: list[bytes], size: int) -> None:
        self.payloads = payloads
        self.size = size
        self.is_synced = False
        self.leads = False
        self.gate: LockType | None = None
        self.error: Unavailable | None = None
        self.then: Then | None = None
        self.fail: Fail | None = None
        self.deadline = 0.0

    @property
    def waits(self) -> bool:
        """True when somebody wants to hear of the disk."""
        return self.gate is not None or self.then is not None
