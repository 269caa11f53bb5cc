"""Waiting for things to come, by asking again: bounded, and never for longer than needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sendback.checks.event_sources import Event, EventSource
from sendback.errors import SendbackError

T = TypeVar("T")
_POLL_SECONDS = 0.1


def until(act: Callable[[], T | None], seconds: float) -> T | None:
    """What `act` gives, as soon as it is something; None when the time is up."""
    deadline = time.monotonic() + seconds
    while (found := act()) is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return found


class Watch:
    """The events of one address, from wherever they come; each is kept once."""

    def __init__(self, sources: Sequence[EventSource], email: str) -> None:
        self._sources = sources
        self._email = email
        self._events: dict[str, Event] = {}

    @property
    def events(self) -> list[Event]:
        """What was seen so far."""
        return list(self._events.values())

    def wait(self, kind: str, seconds: float, *, click_url: str = "") -> Event | None:
        """The event of that type (and with that URL), once there is one; None when time is up."""
        return until(lambda: self._look(kind, click_url), seconds)

    def _look(self, kind: str, click_url: str) -> Event | None:
        for source in self._sources:
            try:
                for event in source.events(self._email):
                    self._events.setdefault(str(event.get("event_unique_id")), event)
            except SendbackError:
                continue  # it could be read before: perhaps it can again
        for event in self.events:
            if event.get("event_type") == kind and click_url in ("", event.get("click_url")):
                return event
        return None
