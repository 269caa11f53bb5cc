"""Suppressions, link rules, and the audit log."""

from typing import Literal

from flask import Response, g
from pydantic import Field

from sendback.admin.api.answers import answer, nothing, page, place_of
from sendback.admin.api.models import ADDRESS, MAX_MS, Items, JsonObject, Nothing, Paged, Strict
from sendback.admin.api.routes import Routes
from sendback.admin.api.services import Services
from sendback.database import audit
from sendback.database.suppression import Suppressed, Suppression

Reason = Literal["bounce_bad_address", "scomp", "engine_unsub", "manual"]


class Suppressions(Paged):
    """Which entries."""

    reason: Reason | None = None
    listid: str | None = Field(None, max_length=100)
    domain: str | None = Field(None, max_length=255)


class Entry(Strict):
    """An address not to mail."""

    email: str = Field(max_length=320, pattern=ADDRESS)
    listid: str = Field("", max_length=100, description="'' for every list.")
    reason: Reason = "manual"
    time_ms: int = Field(0, ge=0, le=MAX_MS, description="0 for now.")


class Entries(Strict):
    """Addresses not to mail."""

    entries: list[Entry] = Field(min_length=1, max_length=10_000)


class Email(Strict):
    """An address."""

    email: str = Field(min_length=3, max_length=320)


class OfList(Strict):
    """Of one ListID, or every entry."""

    listid: str | None = Field(None, max_length=100)


class Override(Strict):
    """Send links elsewhere."""

    key: str = Field(max_length=8192, pattern=r"\S", description="Destination URL, or link id.")
    url: str = Field(
        max_length=8192, pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?([/?#][!-~]*)?$"
    )


class Block(Strict):
    """Switch links off."""

    key: str = Field(
        max_length=400, pattern=r"^[!-~]+$", description="Destination host, or SendID."
    )


class Rule(Strict):
    """A rule to take away."""

    rule: Literal["override", "block"]
    key: str = Field(min_length=1, max_length=8192)


class Audit(Paged):
    """Which entries."""

    kind: str | None = Field(None, max_length=32)
    name: str | None = Field(None, max_length=8192)


def add_lists(routes: Routes, services: Services) -> None:
    """The endpoints."""
    suppression = Suppression(services.database, services.server_id)
    store = services.store

    @routes.add("get", "/suppressions", scope="read", tag="Suppression", gives=Items,
                summary="List entries, the newest first")  # fmt: skip
    def list_(query: Suppressions) -> Response:
        found, place = suppression.page(
            limit=query.limit,
            after=place_of(query.cursor, tuple[int, str, str]),
            reason=query.reason,
            listid=query.listid,
            domain=query.domain,
        )
        return page(found, place)

    @routes.add("post", "/suppressions", scope="operate", tag="Suppression", gives=JsonObject,
                summary="Suppress addresses", idempotent=True)  # fmt: skip
    def add(body: Entries) -> Response:
        entries = [Suppressed(**entry.model_dump()) for entry in body.entries]
        return answer({"added": suppression.add(entries, actor=g.principal.name)})

    @routes.add("get", "/suppressions/{email}", scope="read", tag="Suppression",
                gives=JsonObject, summary="Say why an address is not mailed")  # fmt: skip
    def check(path: Email) -> Response:
        found = suppression.check(path.email)
        return answer({"email": path.email, "suppressed": bool(found), "entries": found})

    @routes.add("delete", "/suppressions/{email}", scope="operate", tag="Suppression",
                status=204, summary="Mail this address again")  # fmt: skip
    def remove(path: Email, query: OfList) -> Response:
        suppression.remove(path.email, query.listid, actor=g.principal.name)
        return nothing()

    @routes.add("get", "/link-rules", scope="read", tag="Links", gives=JsonObject,
                summary="Overrides and blocks")  # fmt: skip
    def rules(query: Nothing) -> Response:  # noqa: ARG001 - refuses unknown parameters
        catalog = store.load()
        return answer({"overrides": catalog.overrides, "blocks": catalog.blocks})

    @routes.add("post", "/link-rules/override", scope="operate", tag="Links",
                gives=JsonObject, summary="Mend a wrong link after sending")  # fmt: skip
    def override(body: Override) -> Response:
        store.override(body.key, body.url, actor=g.principal.name)
        return answer({"override": body.key, "url": body.url})

    @routes.add("post", "/link-rules/block", scope="operate", tag="Links",
                gives=JsonObject, summary="Answer 404 for links of a host or a send")  # fmt: skip
    def block(body: Block) -> Response:
        store.block(body.key, actor=g.principal.name)
        return answer({"block": body.key})

    @routes.add("post", "/link-rules/lift", scope="operate", tag="Links",
                gives=JsonObject, summary="Take an override or a block away")  # fmt: skip
    def lift(body: Rule) -> Response:
        store.lift(body.rule, body.key, actor=g.principal.name)
        return answer({"removed": body.rule, "key": body.key})

    @routes.add("get", "/audit", scope="admin", tag="Access", gives=Items,
                summary="Who changed what, the newest first")  # fmt: skip
    def audit_log(query: Audit) -> Response:
        found = audit.entries(
            services.database,
            before_id=place_of(query.cursor, int),
            limit=query.limit,
            kind=query.kind,
            name=query.name,
        )
        return page(found, found[-1].id if len(found) == query.limit else None)
