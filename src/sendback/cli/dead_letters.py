"""`sendback dead-letters`: events refused for good, and records beyond repair."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sendback.cli.context import Node, NodeGroup, pass_node
from sendback.cli.output import emit
from sendback.cli.times import rfc3339
from sendback.errors import NotFound

if TYPE_CHECKING:
    from sendback.eventlog import DeadLetter, EventLog

_COLUMNS = ("id", "destination", "seq", "event_type", "time", "tries", "reason")
_CHUNK = 1000
_destination = click.option("--destination", help="Only of this one; `finishing` for records.")
_ids = click.argument("ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))
_all = click.option("--all", "is_all", is_flag=True, help="All of them instead of named ones.")


@click.group("dead-letters", cls=NodeGroup)
def dead_letters() -> None:
    """Events a destination refused for good."""


@dead_letters.command("list")
@_destination
@click.option("--limit", type=click.IntRange(min=0), default=100, help="0 for all.  [100]")
@pass_node
def list_(node: Node, destination: str | None, limit: int) -> None:
    """List dead letters, oldest first; with --json the events too."""
    try:
        log = node.core.event_log()
    except NotFound:
        emit(node, [], columns=_COLUMNS)
        return
    found = _letters(log, destination, limit)
    emit(node, [_shown(letter) for letter in found], columns=_COLUMNS)


@dead_letters.command("retry")
@_ids
@_all
@_destination
@pass_node
def retry(node: Node, ids: tuple[int, ...], is_all: bool, destination: str | None) -> None:
    """Try the named ones again, now."""
    log = node.core.event_log(readonly=False)
    letters = _chosen(log, ids, destination, is_all=is_all)
    known = {"finishing", *(found.name for found in node.core.catalog.destinations)}
    for name in sorted({letter.consumer for letter in letters} - known):
        raise NotFound(f"no destination is called {name!r} any more: nobody would try")
    emit(node, {"retried": log.deliveries.retry_dead_letters(letters)})


@dead_letters.command("drop")
@_ids
@_all
@_destination
@pass_node
def drop(node: Node, ids: tuple[int, ...], is_all: bool, destination: str | None) -> None:
    """Delete the named ones for good."""
    log = node.core.event_log(readonly=False)
    letters = _chosen(log, ids, destination, is_all=is_all)
    emit(node, {"dropped": log.deliveries.drop_dead_letters(letter.id for letter in letters)})


def _chosen(
    log: EventLog, ids: Sequence[int], destination: str | None, *, is_all: bool
) -> list[DeadLetter]:
    if bool(ids) == is_all:
        raise click.UsageError("name the ids, or give --all")
    letters = _letters(log, destination, 0)
    if is_all:
        return letters
    chosen = [letter for letter in letters if letter.id in set(ids)]
    missing = set(ids) - {letter.id for letter in chosen}
    if missing:
        raise NotFound(f"no such dead letter: {', '.join(map(str, sorted(missing)))}")
    return chosen


def _letters(log: EventLog, destination: str | None, limit: int) -> list[DeadLetter]:
    found: list[DeadLetter] = []
    after = 0
    while page := log.deliveries.dead_letters(
        destination, after=after, limit=min(_CHUNK, limit - len(found)) if limit else _CHUNK
    ):
        found += page
        after = page[-1].id
        if limit and len(found) >= limit:
            break
    return found


def _shown(letter: DeadLetter) -> dict[str, Any]:
    row = {
        "id": letter.id,
        "destination": letter.consumer,
        "seq": letter.seq,
        "event_type": letter.type,
        "time": rfc3339(letter.at_ms),
        "tries": letter.tries,
        "reason": letter.reason,
    }
    if letter.consumer == "finishing":
        return {**row, "record_b64": base64.b64encode(letter.body).decode()}
    return {**row, "event": msgspec.json.decode(letter.body)}
