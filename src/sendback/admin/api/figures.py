"""Statistics, and the state of the node."""

from flask import Response
from pydantic import Field

from sendback.admin.api.answers import answer, needed, page, place_of
from sendback.admin.api.models import MAX_MS, Items, JsonObject, Nothing, Paged, Strict
from sendback.admin.api.routes import Routes
from sendback.admin.api.services import Services
from sendback.database.figures import Figures

_HOUR_MS = 3_600_000


class Sends(Paged):
    """Which sends."""

    search: str = Field("", max_length=100, description="Part of a SendID or ListID.")
    since: int | None = Field(None, ge=0, le=MAX_MS, description="With an event since then, ms.")
    until: int | None = Field(None, ge=0, le=MAX_MS, description="Begun before then, ms.")


class SendId(Strict):
    """A send."""

    sendid: str = Field(min_length=1, max_length=400)


class OfList(Strict):
    """Of one ListID, or of all."""

    listid: str | None = Field(None, max_length=100)


class Hours(Strict):
    """A span of time."""

    sendid: str | None = Field(None, max_length=400)
    since: int = Field(0, ge=0, le=MAX_MS)
    until: int = Field(MAX_MS, ge=0, le=MAX_MS)


def add_figures(routes: Routes, services: Services) -> None:
    """The endpoints."""
    figures = Figures(services.database)

    @routes.add("get", "/statistics/sends", scope="read", tag="Statistics", gives=Items,
                summary="List sends, the one with the newest event first")  # fmt: skip
    def sends(query: Sends) -> Response:
        rows = figures.sends(
            limit=query.limit,
            after=place_of(query.cursor, tuple[int, str, str]),
            search=query.search,
            since_ms=query.since,
            until_ms=query.until,
        )
        last = rows[-1] if len(rows) == query.limit else None
        place = None if last is None else (last["last_ms"], last["sendid"], last["listid"])
        return page(rows, place)

    @routes.add("get", "/statistics/sends/{sendid}", scope="read", tag="Statistics",
                gives=JsonObject, summary="Everything counted for one send")  # fmt: skip
    def send(path: SendId, query: OfList) -> Response:
        listid = query.listid
        return answer(
            {
                "sendid": path.sendid.lower(),
                "totals": figures.send(path.sendid, listid),
                "links": figures.links(path.sendid, listid),
                "hours": figures.hours(path.sendid),
                "bounces": figures.bounces(path.sendid, listid),
                "domains": figures.domains(path.sendid, listid),
            }
        )

    @routes.add("get", "/statistics/sends/{sendid}/links", scope="read", tag="Statistics",
                gives=Items, summary="The links of a send, those nobody clicked too")  # fmt: skip
    def links(path: SendId, query: OfList) -> Response:
        return page(figures.links(path.sendid, query.listid), None)

    @routes.add("get", "/statistics/hours", scope="read", tag="Statistics", gives=Items,
                summary="Counts by hour since the epoch")  # fmt: skip
    def hours(query: Hours) -> Response:
        rows = figures.hours(
            query.sendid,
            since_hour=query.since // _HOUR_MS,
            until_hour=min(query.until // _HOUR_MS + 1, 2**31 - 1),
        )
        return page(rows, None)

    @routes.add("get", "/status", scope="read", tag="Node", gives=JsonObject,
                summary="Processes, problems, backlog")  # fmt: skip
    def status(query: Nothing) -> Response:  # noqa: ARG001 - refuses unknown parameters
        return answer(services.status())

    @routes.add("get", "/checks", scope="read", tag="Node", gives=Items,
                summary="Check databases, event log, keys and clocks of peers, now")  # fmt: skip
    def checks(query: Nothing) -> Response:  # noqa: ARG001 - refuses unknown parameters
        return page(needed(services.checks, "checking")(), None)
