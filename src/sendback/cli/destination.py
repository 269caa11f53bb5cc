"""`sendback destination`: where events are delivered.

The catalog commands come from `catalog.py`; what concerns running deliveries is added here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from sendback.cli.catalog import destination
from sendback.cli.context import EXIT_FAILED, Node, pass_node
from sendback.cli.output import emit
from sendback.cli.times import TIME, rfc3339
from sendback.errors import NotFound

if TYPE_CHECKING:
    from sendback.eventlog import EventLog
    from sendback.model import Destination

__all__ = ["destination"]

_name = click.argument("name")


def _find(node: Node, name: str) -> Destination:
    for found in node.core.catalog.destinations:
        if found.name == name:
            return found
    raise NotFound(f"no destination is called {name!r}")


def _log_for(node: Node, name: str) -> EventLog:
    _find(node, name)
    return node.core.event_log(readonly=False)


@destination.command("test")
@_name
@click.pass_context
@pass_node
def test(node: Node, context: click.Context, name: str) -> None:
    """Send one made-up event to NAME now and show the answer; exit 1 when it was not taken."""
    from sendback.bootstrap.working import delivery_of
    from sendback.delivery import made_up_event

    found = _find(node, name)
    log = node.core.event_log(readonly=False)
    is_from_file = found in node.settings.file_catalog.destinations
    delivery = delivery_of(found, log, node.core.path, is_from_file=is_from_file)
    began = time.monotonic()
    try:
        outcome = delivery.test(made_up_event(node.settings.server_id, time.time()))
    finally:
        delivery.close()
    emit(
        node,
        {
            "destination": name,
            "result": outcome.result.value,
            "status": outcome.status,
            "milliseconds": round((time.monotonic() - began) * 1000),
            "answer": outcome.answer,
        },
    )
    if outcome.result.value != "delivered":
        context.exit(EXIT_FAILED)


@destination.command("pause")
@_name
@pass_node
def pause(node: Node, name: str) -> None:
    """Deliver nothing to NAME until it is resumed; events wait."""
    _log_for(node, name).deliveries.set_state(name, "paused", "paused by an operator")
    emit(node, {"destination": name, "state": "paused"})


@destination.command("resume")
@_name
@pass_node
def resume(node: Node, name: str) -> None:
    """Deliver to NAME again, after a pause or after its receiver answered 410."""
    _log_for(node, name).deliveries.set_state(name, "active")
    emit(node, {"destination": name, "state": "active"})


@destination.command("replay")
@_name
@click.option("--since", type=TIME, help="From what happened then on.")
@click.option("--after", type=click.IntRange(min=0), help="From what has a seq above this on.")
@pass_node
def replay(node: Node, name: str, since: int | None, after: int | None) -> None:
    """Deliver to NAME again what is still kept, with the same event ids.

    From a time or a seq on; without either, everything.
    """
    if since is not None and after is not None:
        raise click.UsageError("give either --since or --after")
    before, seq = _log_for(node, name).replay(name, since_ms=since, after=after)
    emit(node, {"destination": name, "from_seq": seq + 1, "up_to_seq": before})


@destination.command("attempts")
@_name
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, help="Newest first.  [20]")
@click.option("--failed", is_flag=True, help="Only those that did not deliver.")
@pass_node
def attempts(node: Node, name: str, limit: int, failed: bool) -> None:
    """Show the last attempts to deliver to NAME: result, status, duration, head of the answer."""
    _find(node, name)
    rows = [
        {
            "time": rfc3339(one.at_ms),
            "first_seq": one.first_seq,
            "last_seq": one.last_seq,
            "events": one.events,
            "result": one.outcome,
            "status": one.status,
            "milliseconds": one.duration_ms,
            "answer": one.answer,
        }
        for one in node.core.event_log().deliveries.attempts(name, limit, failed_only=failed)
    ]
    emit(node, rows)
