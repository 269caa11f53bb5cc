"""Rows remembered: bounded, without a lock, and for a while what is known not to exist.

Only for rows that never change. Two generations stand in for an exact order of use: what was used
since the last change of generations survives the next one.
"""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Row = TypeVar("Row")


class RowCache(Generic[Row]):
    """At most `size` rows. Single dictionary steps are atomic, so threads need no lock."""

    def __init__(
        self,
        size: int,
        *,
        unknown_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._half = max(size // 2, 1)
        self._young: dict[bytes, Row] = {}
        self._old: dict[bytes, Row] = {}
        self._unknown: dict[bytes, float] = {}
        self._unknown_seconds = unknown_seconds
        self._clock = clock
        self.hits = 0
        self.misses = 0

    def get(self, key: bytes) -> Row | None:
        """The row, or None."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                self.misses += 1
                return None
            self.put(key, found)
        self.hits += 1
        return found

    def put(self, key: bytes, row: Row) -> None:
        """Remember the row."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = row
        if self._unknown:
            self._unknown.pop(key, None)

    def is_unknown(self, key: bytes) -> bool:
        """True while it is fresh news that there is no such row."""
        until = self._unknown.get(key)
        return until is not None and until > self._clock()

    def put_unknown(self, key: bytes) -> None:
        """There is no such row; believed for some seconds."""
        if len(self._unknown) >= self._half:
            self._unknown = {}
        self._unknown[key] = self._clock() + self._unknown_seconds

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
