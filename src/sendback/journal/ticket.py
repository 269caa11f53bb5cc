"""One append on its way through the group commit."""

import enum
from _thread import LockType

from sendback.errors import Unavailable


class Level(enum.Enum):
    """What `append` promises when it returns True."""

    DISK = "disk"
    """Synced: survives a power cut."""
    OS = "os"
    """Written: survives a killed process; synced within 50 ms."""


class Ticket:
    """The payloads of one append, and how far they are."""

    __slots__ = ("error", "gate", "is_synced", "leads", "payloads", "size")

    def __init__(self, payloads: list[bytes]) -> None:
        self.payloads = payloads
        self.size = sum(map(len, payloads))
        self.is_synced = False
        self.leads = False
        self.gate: LockType | None = None
        self.error: Unavailable | None = None
