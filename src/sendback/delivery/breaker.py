"""When a receiver fails more often than not: facts/reliability.md H3.

A receiver that is down is left alone by its failures in a row. This is for the one that answers
now and then: each success would end its outage, and the next failure begin one at full speed.
"""

from collections import deque
from collections.abc import Callable

_SECONDS = 60.0
#: Fewer tries say nothing of a receiver.
_AT_LEAST = 10
_KEPT = 1000


class Breaker:
    """The tries of the last minute; any thread may note one."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._tries: deque[tuple[float, bool]] = deque(maxlen=_KEPT)
        self._was_open = False

    def note(self, was_taken: bool) -> None:
        """One try ended now."""
        self._tries.append((self._monotonic(), was_taken))

    def is_open(self) -> bool:
        """True when more than half of the tries of the last 60 s failed, ten or more to begin with.

        Once open it slows the tries down, so then fewer of them are enough to stay.
        """
        since = self._monotonic() - _SECONDS
        recent = [was_taken for at, was_taken in list(self._tries) if at > since]
        is_known = self._was_open or len(recent) >= _AT_LEAST
        self._was_open = is_known and sum(recent) * 2 < len(recent)
        return self._was_open
