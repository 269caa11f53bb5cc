"""`sendback recipient`: what is kept of one address, and its erasure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from sendback.cli.catalog import actor
from sendback.cli.context import Node, NodeGroup, pass_node
from sendback.cli.output import emit, print_json
from sendback.cli.times import rfc3339

if TYPE_CHECKING:
    from sendback.bootstrap import Core


@click.group("recipient", cls=NodeGroup)
def recipient() -> None:
    """Show or erase what is kept of a recipient."""


@recipient.command("show")
@click.argument("address")
@pass_node
def show(node: Node, address: str) -> None:
    """Show events, clicks, bounce counts and suppressions of ADDRESS."""
    from sendback.database.recipients import Recipients

    kept = Recipients(node.core.upgraded_database()).show(address)
    kept["events"] = _events(node.core, address)
    if node.json:
        print_json({"email": address, **kept})
        return
    emit(node, {name: len(rows) for name, rows in kept.items()}, title=address)
    for event in kept["events"]:
        click.echo(f"{rfc3339(event['event_time_ms'])}\t{event['event_type']}\t{event['sendid']}")


@recipient.command("erase")
@click.argument("address")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_node
def erase(node: Node, address: str, yes: bool) -> None:
    """Erase ADDRESS from events, statistics, bounce counts and metadata, local and external.

    Its suppressions stay, as hashes: the wish not to be mailed outlives the address. Counters stay
    too. Local and external links sent before can't be completed to events any more. Mail that waits
    in deferred/, outbox/ or unparsed/ isn't touched. An external database is scanned whole.
    """
    if not yes:
        click.confirm(f"Erase everything kept of {address}?", abort=True, err=True)
    from sendback.database.recipients import Recipients

    core = node.core
    erased = Recipients(core.upgraded_database()).erase(address, actor=actor())
    if (core.path / "events.sqlite").exists():
        log = core.event_log(readonly=False)
        try:
            erased["events"] = log.retention.erase(address)
        finally:
            log.close()
    metadata = core.metadata(writes=False)
    try:
        erased["metadata"] = metadata.erase(address)
    finally:
        metadata.close()
    emit(node, erased)


def _events(core: Core, address: str) -> list[Any]:
    if not (core.path / "events.sqlite").exists():
        return []
    log = core.event_log()
    try:
        found = log.read(0, 100_000, email=address)
    finally:
        log.close()
    return [msgspec.json.decode(event.body) for event in found]
