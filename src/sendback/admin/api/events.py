"""Events as delivered: a page, a stream of lines, and following as server-sent events."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import msgspec
from flask import Response, request
from pydantic import Field
from werkzeug.exceptions import ServiceUnavailable

from sendback.admin.api.answers import needed, page, place_of
from sendback.admin.api.models import MAX_MS, MAX_SEQ, Items, Strict
from sendback.admin.api.routes import Routes
from sendback.admin.api.services import EventLog, Services
from sendback.database.consumer import StoredEvent

_CHUNK = 500
_POLL_SECONDS = 0.5
_HEARTBEAT_SECONDS = 15.0
#: Each follower holds a thread of the server.
MAX_FOLLOWERS = 8
#: A follower is let go after this long; its browser comes back with Last-Event-ID.
_FOLLOW_SECONDS = 600.0

Type = Literal[
    "engine_click", "engine_open", "engine_unsub", "bounce_all", "bounce_bad_address", "scomp"
]


class Filter(Strict):
    """Which events."""

    after: int = Field(0, ge=0, le=MAX_SEQ, description="Only with a greater seq.")
    since: int | None = Field(None, ge=0, le=MAX_MS, description="Only since then, ms.")
    type: list[Type] | None = Field(None, max_length=6, description="Only these types.")
    email: str | None = Field(None, max_length=320, description="Only of this address.")


class PagedFilter(Filter):
    """A page of these events."""

    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = Field(None, max_length=100)


def add_events(routes: Routes, services: Services) -> None:
    """The endpoints."""
    followers = threading.BoundedSemaphore(MAX_FOLLOWERS)

    @routes.add(
        "get", "/events", scope="read", tag="Events", summary="List events, oldest first",
        gives=Items,
    )  # fmt: skip
    def list_(query: PagedFilter) -> Response:
        log = needed(services.events, "the event log")
        after = max(query.after, place_of(query.cursor, int) or 0)
        found = _read(log, query, after, query.limit)
        more = found[-1].seq if len(found) == query.limit else None
        return page([msgspec.Raw(event.body) for event in found], more)

    @routes.add(
        "get", "/events/stream", scope="read", tag="Events",
        summary="Every event up to now as NDJSON, oldest first",
    )  # fmt: skip
    def stream(query: Filter) -> Response:
        log = needed(services.events, "the event log")
        last = log.last_seq()

        def lines() -> Iterator[bytes]:
            after = query.after
            while after < last:
                found = _read(log, query, after, _CHUNK)
                for event in found:
                    if event.seq <= last:
                        yield event.body + b"\n"
                if len(found) < _CHUNK:
                    return
                after = found[-1].seq

        return Response(lines(), content_type="application/x-ndjson")

    @routes.add(
        "get", "/events/follow", scope="read", tag="Events",
        summary="New events as they come, as server-sent events",
    )  # fmt: skip
    def follow(query: Filter) -> Response:
        log = needed(services.events, "the event log")
        if not followers.acquire(blocking=False):
            raise ServiceUnavailable(f"{MAX_FOLLOWERS} others follow already", retry_after=30)
        header = request.headers.get("Last-Event-ID", "")
        is_resumed = header.isascii() and header.isdecimal() and len(header) < 19
        after = int(header) if is_resumed else query.after or log.last_seq()
        stream = _follow(log, query, after, services.stopping)
        response = Response(stream, content_type="text/event-stream")
        response.call_on_close(followers.release)
        return response


def _follow(
    log: EventLog, query: Filter, after: int, stopping: Callable[[], bool]
) -> Iterator[bytes]:
    yield b": following\n\n"
    end = time.monotonic() + _FOLLOW_SECONDS
    spoken = time.monotonic()
    while time.monotonic() < end and not stopping():
        found = _read(log, query, after, _CHUNK)
        for event in found:
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (
                event.seq, event.type.encode(), event.body,
            )  # fmt: skip
        if found:
            after, spoken = found[-1].seq, time.monotonic()
            continue
        if time.monotonic() - spoken > _HEARTBEAT_SECONDS:
            yield b": still here\n\n"
            spoken = time.monotonic()
        time.sleep(_POLL_SECONDS)


def _read(log: EventLog, query: Filter, after: int, limit: int) -> Sequence[StoredEvent]:
    return log.read(after, limit, types=query.type, since_ms=query.since, email=query.email or None)
