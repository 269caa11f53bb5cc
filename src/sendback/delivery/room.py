"""Use case: the event log and its cap, and nobody who is dead holds up the living.

Events that everybody has had go first. From 85 % on those go that only destinations without a sign
of life for longer than their window still want; this begins before the pressure refuses mail. What
anybody else wants is never taken for its size: the log then grows beyond its cap, so that one
receiver neither loses what it was promised nor delays the others. Only when the disk itself runs
short do the oldest events go that only silent ones want, and when that is not enough finishing
waits. The reasons stand in docs/adr/0021-delivery.md.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from sendback.eventlog import ConsumerState, EventLog

EXPIRE_FROM = 0.85
"""Of the cap; SMTP answers 452 from 0.9 on."""
_DOWN_TO = 0.8
_NO_LONGER_FULL = 0.95
"""Apart from the cap, or a size about it would be said every second."""
_LOOKS = 10
_HOUR_MS = 3_600_000


class Room:
    """Keeps one event log in bounds; `prune` is called by one thread, every second or so."""

    def __init__(
        self,
        log: EventLog,
        *,
        max_bytes: int,
        keep_days: float,
        disk_reserve_bytes: int = 1 << 30,
        free_bytes: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """`disk_reserve_bytes`: what a log above its cap leaves free of the disk; `free_bytes` says
        what is free now, by default of the disk that holds the log.
        """
        self._log, self._max_bytes, self._keep_ms = log, max_bytes, int(keep_days * 86_400_000)
        self._reserve, self._free = disk_reserve_bytes, free_bytes or log.retention.free_bytes
        self._clock, self._say = clock, say
        self._expiring: set[str] = set()
        self._aging: set[str] = set()
        self._is_blocked = self._is_told = False
        self._looks_full = 0

    @property
    def is_blocked(self) -> bool:
        """True when no new event may be finished: the log is full, and so is the disk."""
        return self._is_blocked

    def fullness(self) -> float:
        """How full the log is; 1.0 is the cap, and it may be more."""
        return self._log.retention.size() / self._max_bytes

    def prune(self, consumers: Sequence[str], windows: Mapping[str, float]) -> float:
        """Take away what may go, and say how full the log is then.

        `consumers`: those of the house; `windows`: each destination's retry window in hours.
        Unavailable when the log can't be written.
        """
        names = [*consumers, *windows]
        before = self._expired(windows)
        self._log.retention.prune(
            keep_ms=self._keep_ms,
            max_bytes=int(self._max_bytes * _DOWN_TO),
            consumers=names,
            chunks=100,
        )
        self._tell_aged(before, self._expired(windows))
        full = self.fullness()
        if full >= EXPIRE_FROM:
            dead = [name for name in windows if self._is_silent(name, windows[name])]
            self._expiring.intersection_update(dead)  # one line for each time that one dies
            self._expire(names, dead, int(self._max_bytes * _DOWN_TO), "longer than its window")
            full = self.fullness()
        if full >= 1.0 and (missing := self._reserve - self._free()) > 0:
            silent = [name for name in windows if self._is_silent(name, 0)]
            # Twice what is missing, so that the next events don't bring us back here.
            down_to = max(self._max_bytes * _DOWN_TO, full * self._max_bytes - 2 * missing)
            self._expire(names, silent, int(down_to), "some time, and the disk is nearly full")
            full = self.fullness()
        self._tell_if_full(full, names)
        return full

    def _expired(self, names: Iterable[str]) -> dict[str, int]:
        return {name: self._log.deliveries.state(name).expired for name in names}

    def _tell_aged(self, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """Age takes events whoever waits for them: one line for each time that it begins."""
        aging = {name for name in after if after[name] > before[name]}
        for name in sorted(aging - self._aging):
            self._say(
                f"ERROR destination {name}: its oldest events are older than retention_days and"
                f" expire, {after[name] - before[name]} now; `sendback events status` counts them"
            )
        self._aging = aging

    def _expire(self, names: Sequence[str], dead: Sequence[str], down_to: int, why: str) -> None:
        full = self.fullness()
        missed = self._log.retention.make_room(max_bytes=down_to, consumers=names, dead=dead)
        for name in sorted(missed.keys() - self._expiring):
            self._say(
                f"ERROR destination {name}: nothing was delivered for {why}, and the event log is"
                f" {full:.0%} full: its oldest events expire, {missed[name]} now;"
                " `sendback events status` counts them"
            )
        self._expiring |= missed.keys()

    def _is_silent(self, name: str, hours: float) -> bool:
        since_ms = silent_since_ms(self._log.deliveries.state(name))
        now_ms = int(self._clock() * 1000)
        return since_ms is not None and now_ms - since_ms > hours * _HOUR_MS

    def _tell_if_full(self, full: float, names: Sequence[str]) -> None:
        is_full = full >= (_NO_LONGER_FULL if self._looks_full else 1.0)
        free = self._free() if is_full else 0
        is_blocked = is_full and free < self._reserve * (1.1 if self._is_blocked else 1)
        if is_blocked != self._is_blocked:
            self._is_told = False
        self._is_blocked = is_blocked
        self._looks_full = self._looks_full + 1 if is_full else 0
        if not is_full:
            self._is_told = False
        elif not self._is_told and (holding := self._holding(names)):
            self._is_told = True
            self._tell(", ".join(holding), free)

    def _holding(self, names: Sequence[str]) -> list[str]:
        """Who is furthest behind: of those the silent ones, if any. Nobody for some looks while all
        are equally far: they have only just got what is new.
        """
        cursors = {name: self._log.cursor(name) for name in names}
        first = min(cursors.values(), default=0)
        holding = [name for name in names if cursors[name] == first]
        silent = [name for name in holding if self._is_silent(name, 0)]
        if not silent and len(holding) == len(names) and self._looks_full < _LOOKS:
            return []
        return silent or holding

    def _tell(self, holding: str, free: int) -> None:
        if self._is_blocked:
            self._say(
                f"ERROR the event log is full and {free >> 20:,} MiB of the disk are free: no"
                f" new event is finished until {holding} took some"
            )
        else:
            self._say(
                f"ERROR the event log is above its cap because of {holding}: it grows while"
                f" more than {self._reserve >> 20:,} MiB of the disk are free,"
                f" {free >> 20:,} now"
            )


def silent_since_ms(state: ConsumerState) -> int | None:
    """Since when a destination takes nothing: failing, paused or disabled; None: it lives."""
    if state.state != "active":
        return state.failing_since_ms or state.changed_ms
    return state.failing_since_ms
