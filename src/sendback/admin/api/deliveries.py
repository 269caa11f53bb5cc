"""Deliveries: how destinations do, test, pause, replay, and what nobody could deliver."""

from flask import Response
from pydantic import Field

from sendback.admin.api.answers import answer, needed, page, place_of
from sendback.admin.api.models import (
    MAX_MS,
    MAX_SEQ,
    Items,
    JsonObject,
    Name,
    Nothing,
    Paged,
    Strict,
)
from sendback.admin.api.routes import Routes
from sendback.admin.api.services import Deliveries, Services
from sendback.database.kinds import KINDS
from sendback.errors import Malformed


class Newest(Strict):
    """The newest ones; `failed`: only those that did not deliver."""

    limit: int = Field(50, ge=1, le=1000)
    failed: bool = False


class Since(Strict):
    """From when on (milliseconds since the epoch), or after which seq; else all that is kept."""

    since: int | None = Field(None, ge=0, le=MAX_MS)
    after: int | None = Field(None, ge=0, le=MAX_SEQ)


class Letters(Paged):
    """Dead letters of one destination, or of all."""

    destination: str | None = Field(None, max_length=100)


class Ids(Strict):
    """Which dead letters."""

    ids: list[int] = Field(min_length=1, max_length=10_000)


def add_deliveries(routes: Routes, services: Services) -> None:
    """The endpoints."""
    tag = "Deliveries"

    def deliveries() -> Deliveries:
        return needed(services.deliveries, "delivery")

    def known(name: str) -> str:
        services.store.get(KINDS["destination"], name)
        return name

    @routes.add("get", "/deliveries", scope="read", tag=tag, gives=Items,
                summary="Every consumer of the event log and how far it is")  # fmt: skip
    def statuses(query: Nothing) -> Response:  # noqa: ARG001 - refuses unknown parameters
        return page(deliveries().statuses(), None)

    @routes.add("get", "/destinations/{name}/attempts", scope="read", tag=tag, gives=Items,
                summary="The newest attempts with their answers")  # fmt: skip
    def attempts(path: Name, query: Newest) -> Response:
        found = deliveries().attempts(known(path.name), query.limit, failed_only=query.failed)
        return page(found, None)

    @routes.add("post", "/destinations/{name}/test", scope="operate", tag=tag, gives=JsonObject,
                summary="Deliver one made-up event now")  # fmt: skip
    def test(path: Name) -> Response:
        return answer(deliveries().test(known(path.name)))

    @routes.add("post", "/destinations/{name}/pause", scope="operate", tag=tag, gives=JsonObject,
                summary="Keep its events until resumed")  # fmt: skip
    def pause(path: Name) -> Response:
        deliveries().set_state(known(path.name), "paused")
        return answer({"name": path.name, "state": "paused"})

    @routes.add("post", "/destinations/{name}/resume", scope="operate", tag=tag,
                gives=JsonObject, summary="Go on, also after it was disabled")  # fmt: skip
    def resume(path: Name) -> Response:
        deliveries().set_state(known(path.name), "active")
        return answer({"name": path.name, "state": "active"})

    @routes.add("post", "/destinations/{name}/replay", scope="operate", tag=tag,
                gives=JsonObject, summary="Deliver again from a time or seq on")  # fmt: skip
    def replay(path: Name, body: Since) -> Response:
        if body.since is not None and body.after is not None:
            raise Malformed("give either since or after", field="after")
        count = deliveries().replay(known(path.name), since_ms=body.since, after=body.after)
        return answer({"name": path.name, "events": count})

    @routes.add("get", "/dead-letters", scope="read", tag=tag, gives=Items,
                summary="Events nobody tries to deliver any more")  # fmt: skip
    def letters(query: Letters) -> Response:
        after = place_of(query.cursor, int) or 0
        found = deliveries().dead_letters(query.destination, min(after, MAX_SEQ), query.limit)
        return page(found, found[-1]["id"] if len(found) == query.limit else None)

    @routes.add("post", "/dead-letters/retry", scope="operate", tag=tag, gives=JsonObject,
                summary="Try these again now")  # fmt: skip
    def retry(body: Ids) -> Response:
        return answer({"retried": deliveries().retry(_ids(body))})

    @routes.add("post", "/dead-letters/drop", scope="operate", tag=tag, gives=JsonObject,
                summary="Delete these for good")  # fmt: skip
    def drop(body: Ids) -> Response:
        return answer({"dropped": deliveries().drop(_ids(body))})


def _ids(body: Ids) -> list[int]:
    return [one for one in dict.fromkeys(body.ids) if 0 < one <= MAX_SEQ]
