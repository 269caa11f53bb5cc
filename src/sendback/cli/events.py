"""`sendback events`: what came back, as it is delivered; whether the node runs or not."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sendback.cli.context import Node, NodeGroup, pass_node
from sendback.cli.output import emit
from sendback.cli.times import TIME, rfc3339
from sendback.errors import NotFound

if TYPE_CHECKING:
    from sendback.eventlog import EventLog, StoredEvent

_COLUMNS = ("seq", "time", "type", "email", "listid", "sendid", "detail")
_PAGE = 1000
_POLL_SECONDS = 0.2


@click.group("events", cls=NodeGroup)
def events() -> None:
    """List, follow and count events."""


@events.command("list")
@click.option("--limit", type=click.IntRange(min=0), default=100, help="0 for all.  [100]")
@click.option("--since", type=TIME, help="Only what happened at that time or later.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only seq above this.")
@click.option("--type", "kind", help="Only of this type, as engine_click.")
@click.option("--email", help="Only of this address.")
@pass_node
def list_(
    node: Node, limit: int, since: int | None, after: int, kind: str | None, email: str | None
) -> None:
    """List events, oldest first, exactly as they are delivered."""
    from sendback.model.events import EVENT_TYPES

    if kind is not None and kind not in EVENT_TYPES:
        raise click.BadParameter(f"one of {', '.join(EVENT_TYPES)}", param_hint="--type")
    try:
        log = node.core.event_log()
    except NotFound:
        found: Iterator[StoredEvent] = iter(())  # a node that never ran has no events
    else:
        types = None if kind is None else (kind,)
        found = _read(log, after, limit, types=types, since_ms=since, email=email)
    if not node.json:
        emit(node, list(map(_shown, found)), columns=_COLUMNS)
        return
    sys.stdout.write("[")
    for number, event in enumerate(found):
        sys.stdout.write((",\n" if number else "") + event.body.decode())
    sys.stdout.write("]\n")


def _read(log: EventLog, after: int, limit: int, **filters: Any) -> Iterator[StoredEvent]:
    """Page by page, so that a big log needs no big memory."""
    left = limit or sys.maxsize
    while left:
        page = log.read(after, min(left, _PAGE), **filters)
        yield from page
        if len(page) < min(left, _PAGE):
            return
        left -= len(page)
        after = page[-1].seq


@events.command("tail")
@click.option("--follow", "-f", is_flag=True, help="Go on until interrupted.")
@click.option("--limit", type=click.IntRange(min=0), default=10, help="Last events first.  [10]")
@pass_node
def tail(node: Node, follow: bool, limit: int) -> None:
    """Show the last events; with --json one object a line."""
    log = _wait_for_log(node, follow=follow)
    if log is None:
        return
    after = max(0, log.last_seq() - limit)
    while True:
        for event in itertools.chain(_read(log, after, 0)):
            after = event.seq
            sys.stdout.write(event.body.decode() if node.json else _line(event))
            sys.stdout.write("\n")
        sys.stdout.flush()
        if not follow:
            return
        time.sleep(_POLL_SECONDS)


def _wait_for_log(node: Node, *, follow: bool) -> EventLog | None:
    while True:
        try:
            return node.core.event_log()
        except NotFound:
            if not follow:
                return None
        time.sleep(_POLL_SECONDS)


@events.command("status")
@pass_node
def status(node: Node) -> None:
    """Show for each destination and consumer what was tried, what waits and what is dead."""
    from sendback.bootstrap.readings import consumer_readings

    try:
        log = node.core.event_log()
    except NotFound:
        emit(node, [])
        return
    rows = [
        {
            "destination": one.name,
            "state": one.state,
            "first_attempts": one.first_attempts,
            "retries": one.retries,
            "delivered": one.delivered,
            "backlog": one.backlog,
            "parked": one.parked,
            "oldest_age_seconds": round(one.oldest_age_s),
            "dead_letters": one.dead_letters,
            "expired": one.expired,
            "failing_since": rfc3339(one.failing_since_ms) if one.failing_since_ms else "",
            "reason": one.reason,
        }
        for one in consumer_readings(log, node.core.catalog.destinations)
    ]
    emit(
        node,
        rows,
        columns=(
            "destination", "state", "first_attempts", "retries", "backlog", "oldest_age_seconds",
            "dead_letters", "expired", "failing_since",
        ),
    )  # fmt: skip


@events.command("reclassify")
@click.option("--since", type=TIME, default=0, help="Only what happened at that time or later.")
@click.option("--dry-run", is_flag=True, help="Only count what would change.")
@pass_node
def reclassify(node: Node, since: int, dry_run: bool) -> None:
    """Label clicks, opens and unsubscribes again by the rules of today.

    Changes the events that are kept here; a destination sees new labels after a replay.
    """
    from sendback.agents import classify
    from sendback.bootstrap.agent_rules import AgentRules
    from sendback.bootstrap.working import say
    from sendback.finishing.reclassify import reclassify as label_again

    log = node.core.event_log(readonly=False)
    rules = AgentRules(node.core.path / "control", say).current()
    done = label_again(log, lambda seen: classify(seen, rules), since_ms=since, is_dry=dry_run)
    emit(node, done)


def _shown(event: StoredEvent) -> dict[str, Any]:
    fields = msgspec.json.decode(event.body)
    return {
        "seq": event.seq,
        "time": rfc3339(event.time_ms),
        "type": event.type,
        "email": fields.get("email", ""),
        "listid": fields.get("listid", ""),
        "sendid": fields.get("sendid", ""),
        "detail": _detail(fields),
    }


def _detail(fields: dict[str, Any]) -> str:
    for name in ("click_url", "bounce_text", "feedback_type", "user_agent"):
        if fields.get(name):
            text = str(fields[name])
            return text if len(text) <= 80 else text[:79] + "…"
    return ""


def _line(event: StoredEvent) -> str:
    text = "  ".join(str(value) for value in _shown(event).values() if value != "")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
