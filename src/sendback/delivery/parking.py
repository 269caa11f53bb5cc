"""Parked events: each has tries of its own on the schedule of Standard Webhooks.

An event is parked when its receiver breaks on it and takes others, or when a dead letter is to be
tried again.
"""

from collections.abc import Callable

from sendback.eventlog import Attempt, EventLog, Parked, StoredEvent
from sendback.sinks import Outcome, Result

#: Seconds before each next try of a parked event (Standard Webhooks); the last one repeats.
SCHEDULE = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
_AT_ONCE = 10


class Parking:
    """The parked events of one destination."""

    def __init__(
        self,
        name: str,
        log: EventLog,
        *,
        window_ms: int,
        clock: Callable[[], float],
        uniform: Callable[[float, float], float],
        say: Callable[[str], None],
        heed: Callable[[Outcome], None],
    ) -> None:
        """`heed`: what an answer means for the destination, whichever event it was about."""
        self._name, self._log, self._state = name, log, log.deliveries
        self._window_ms, self._clock, self._uniform, self._say = window_ms, clock, uniform, say
        self._heed = heed

    def parked(self, event: StoredEvent, tries: int, outcome: Outcome) -> Parked:
        """What is noted of an event that is parked now."""
        now = int(self._clock() * 1000)
        wait = int(SCHEDULE[0] * self._uniform(0.8, 1.2) * 1000)
        return Parked(event.seq, tries, now + wait, now, reason_of(outcome))

    def try_due(self, attempt: Callable[[list[StoredEvent], list[Attempt]], Outcome]) -> bool:
        """Try those whose time has come, one by one; False when there was none."""
        due = self._state.due(self._name, _AT_ONCE)
        if not due:
            return False
        events = {event.seq: event for event in self._log.get([item.seq for item in due])}
        for item in due:
            event = events.get(item.seq)
            if event is None:
                self._state.note(self._name, unpark=[item.seq])
                continue
            attempts: list[Attempt] = []
            outcome = attempt([event], attempts)
            self._settle(item, outcome, attempts)
            self._heed(outcome)
            if outcome.result in (Result.GONE, Result.THROTTLED):
                break
        return True

    def _settle(self, item: Parked, outcome: Outcome, attempts: list[Attempt]) -> None:
        now = int(self._clock() * 1000)
        tries = item.tries + 1
        if outcome.result is Result.DELIVERED:
            self._state.note(
                self._name, attempts=attempts, is_retry=True, delivered=1, unpark=[item.seq]
            )
        elif outcome.result is Result.REFUSED or now - item.since_ms > self._window_ms:
            self._say(f"ERROR destination {self._name}: event {item.seq} became a dead letter")
            self._state.note(
                self._name,
                attempts=attempts,
                is_retry=True,
                unpark=[item.seq],
                bury=[(item.seq, tries, reason_of(outcome))],
            )
        else:
            wait = SCHEDULE[min(tries, len(SCHEDULE)) - 1] * self._uniform(0.8, 1.2)
            wait = max(wait, outcome.retry_after or 0.0)
            next_ms = min(now + int(wait * 1000), item.since_ms + self._window_ms + 1)
            again = Parked(item.seq, tries, next_ms, item.since_ms, reason_of(outcome))
            self._state.note(self._name, attempts=attempts, is_retry=True, park=[again])


def reason_of(outcome: Outcome) -> str:
    """Why, in a line, as it stands with parked events and dead letters."""
    status = f"{outcome.status} " if outcome.status else ""
    return f"{outcome.result.value}: {status}{outcome.answer}"[:1000]
