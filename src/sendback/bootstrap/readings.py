"""How far everybody is who takes events of this node: for `events status`, the API and metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sendback.eventlog import EventLog
    from sendback.model import Destination

#: Consumers inside the house, in the worker; every other one is a destination.
HOUSE = ("statistics", "suppression", "signs-of-life")


@dataclass(frozen=True, slots=True)
class ConsumerReading:
    """One consumer of the event log."""

    name: str
    state: str
    """active, paused, disabled; removed when no destination has this name any more."""
    backlog: int
    """Events up to the newest that it has yet to take or pass over, parked ones included."""
    oldest_age_s: float
    first_attempts: int
    retries: int
    delivered: int
    parked: int
    dead_letters: int
    expired: int
    """Events that went before it took them."""
    failing_since_ms: int | None
    """Since when it takes nothing; None while it does."""
    reason: str
    """Why it is paused or disabled."""


def consumer_readings(
    event_log: EventLog, destinations: Sequence[Destination]
) -> list[ConsumerReading]:
    """Who is configured and who ever read. Unavailable when the log can't be read.

    A destination that was removed is listed while something of it is left that was not delivered.
    """
    last, now_ms = event_log.last_seq(), time.time() * 1000
    configured = {destination.name for destination in destinations}
    known = {state.name for state in event_log.deliveries.states()}
    letters = event_log.deliveries.dead_counts()
    readings = []
    for name in sorted(known | configured | letters.keys() - {"finishing"}):
        state = event_log.deliveries.state(name)
        parked = event_log.deliveries.parked_count(name)
        is_removed = name not in configured and name not in HOUSE
        if is_removed and not letters.get(name) and not parked:
            continue
        waiting = event_log.deliveries.oldest_waiting_ms(name)
        readings.append(
            ConsumerReading(
                name=name,
                state="removed" if is_removed else state.state,
                backlog=0 if is_removed else last - state.seq + parked,
                oldest_age_s=max(0.0, now_ms - waiting) / 1000 if waiting else 0.0,
                first_attempts=state.first_attempts,
                retries=state.retries,
                delivered=state.delivered,
                parked=parked,
                dead_letters=letters.get(name, 0),
                expired=state.expired,
                failing_since_ms=state.failing_since_ms,
                reason=state.reason,
            )
        )
    return readings
