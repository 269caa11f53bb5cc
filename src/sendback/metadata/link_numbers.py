"""Link rows that this process wrote to the external table lately: a campaign writes them once.

Kept by what the rows of one send share on one day, for a while: a table that was emptied or
restored meanwhile gets them again. Knows nothing of databases.
"""

import time
from collections.abc import Callable

from sendback.model import LinkFacts
from sendback.secret_constants import Key, Purpose

#: A row is trusted to stand there for so many seconds after it was written.
TRUSTED_SECONDS = 600.0
#: Rows remembered, over all sends; beyond it they are written again.
REMEMBERED = 20_000


class Group(dict[LinkFacts, tuple[Purpose, bytes]]):
    """Route and number of each written link of one send, and until when that is believed."""

    __slots__ = ("until",)

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until


class LinkNumbers:
    """Single dictionary steps are atomic, and a row written twice is one row: no lock."""

    def __init__(
        self,
        *,
        trusted_seconds: float = TRUSTED_SECONDS,
        remembered: int = REMEMBERED,
        uptime: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trusted_seconds = trusted_seconds
        self._remembered = remembered
        self._uptime = uptime
        self._groups: dict[tuple[Key, int, str, str], Group] = {}
        self._count = 0

    def group(self, key: Key, day: int, sendid: str, listid: str) -> Group:
        """What is known of links that share these; `add` to it what was written."""
        shared = (key, day, sendid, listid)
        found = self._groups.get(shared)
        if found is None or found.until < self._uptime():
            self._room()
            found = self._groups[shared] = Group(self._uptime() + self._trusted_seconds)
        return found

    def add(self, group: Group, link: LinkFacts, purpose: Purpose, number: bytes) -> None:
        """The row of this link stands in the table."""
        self._room()
        group[link] = (purpose, number)

    def _room(self) -> None:
        self._count += 1
        if self._count > self._remembered:
            for group in self._groups.copy().values():
                group.until = float("-inf")
            self._groups.clear()
            self._count = 0
