"""Use case: the event log stays below its cap, and nobody who is dead holds up the living.

Events that everybody has had go first. When that is not enough, those go that only destinations
without a sign of life for longer than their window still want; this begins before the pressure
refuses mail. What a living destination, or the statistics, wants is never taken for its size: a log
full of that makes finishing wait.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from sendback.eventlog import ConsumerState, EventLog

EXPIRE_FROM = 0.85
"""Of the cap; SMTP answers 452 from 0.9 on."""
_DOWN_TO = 0.8
_HOUR_MS = 3_600_000


class Room:
    """Keeps one event log below `max_bytes`; called by one thread, every second or so."""

    def __init__(
        self,
        log: EventLog,
        *,
        max_bytes: int,
        keep_days: float,
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._log, self._max_bytes, self._keep_ms = log, max_bytes, int(keep_days * 86_400_000)
        self._clock, self._say = clock, say
        self._expiring: set[str] = set()
        self._is_full = False

    def fullness(self) -> float:
        """How full the log is; 1.0 is the cap."""
        return self._log.retention.size() / self._max_bytes

    def prune(self, consumers: Sequence[str], windows: Mapping[str, float]) -> float:
        """Take away what may go, and say how full the log is then.

        `consumers`: those of the house; `windows`: each destination's retry window in hours.
        Unavailable when the log can't be written.
        """
        names = [*consumers, *windows]
        self._log.retention.prune(
            keep_ms=self._keep_ms,
            max_bytes=int(self._max_bytes * _DOWN_TO),
            consumers=names,
            chunks=100,
        )
        full = self.fullness()
        if full >= EXPIRE_FROM:
            full = self._expire(names, windows, full)
        self._tell_if_full(full, names)
        return full

    def _expire(self, names: Sequence[str], windows: Mapping[str, float], full: float) -> float:
        dead = [name for name in windows if self._is_dead(name, windows[name])]
        self._expiring.intersection_update(dead)  # one line for each time that one dies
        missed = self._log.retention.make_room(
            max_bytes=int(self._max_bytes * _DOWN_TO), consumers=names, dead=dead
        )
        for name in sorted(missed.keys() - self._expiring):
            self._say(
                f"ERROR destination {name}: nothing was delivered for longer than its retry window,"
                f" and the event log is {full:.0%} full: its oldest events expire,"
                f" {missed[name]} now; `sendback events status` counts them"
            )
        self._expiring |= missed.keys()
        return self.fullness()

    def _is_dead(self, name: str, window_hours: float) -> bool:
        since_ms = silent_since_ms(self._log.deliveries.state(name))
        now_ms = int(self._clock() * 1000)
        return since_ms is not None and now_ms - since_ms > window_hours * _HOUR_MS

    def _tell_if_full(self, full: float, names: Sequence[str]) -> None:
        is_full = full >= 1.0
        if is_full and not self._is_full:
            first = min((self._log.cursor(name) for name in names), default=0)
            last = [name for name in names if self._log.cursor(name) == first]
            self._say(
                "ERROR the event log is full: no new event is finished until"
                f" {', '.join(last)} took some"
            )
        self._is_full = is_full


def silent_since_ms(state: ConsumerState) -> int | None:
    """Since when a destination takes nothing: failing, paused or disabled; None: it lives."""
    if state.state != "active":
        return state.failing_since_ms or state.changed_ms
    return state.failing_since_ms
