"""`sendback suppression`: addresses not to mail."""

from __future__ import annotations

import csv
import itertools
import sys
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec

from sendback.cli.catalog import actor, usage_errors
from sendback.cli.context import EXIT_CHECK, Node, NodeGroup, pass_node
from sendback.cli.output import emit, print_json
from sendback.cli.progress import progress
from sendback.cli.times import rfc3339
from sendback.errors import Malformed

_COLUMNS = ("email", "listid", "reason", "time", "bounce_code")
_CHUNK = 5000
_listid = click.option("--listid", default="", help="Of this ListID only; else of every list.")


@click.group("suppression", cls=NodeGroup)
def suppression() -> None:
    """Addresses not to mail: bad ones, complaints, unsubscribes, and those entered by hand."""


@suppression.command("list")
@click.option("--limit", type=click.IntRange(min=0), default=100, help="0 for all.  [100]")
@click.option(
    "--reason",
    type=click.Choice(["bounce_bad_address", "scomp", "engine_unsub", "manual"]),
    help="Only for this reason.",
)
@click.option("--listid", help="Only of this ListID.")
@click.option("--domain", help="Only addresses of this domain.")
@pass_node
def list_(
    node: Node, limit: int, reason: str | None, listid: str | None, domain: str | None
) -> None:
    """List entries, the newest first."""
    filters = {"reason": reason, "listid": listid, "domain": domain}
    rows: list[dict[str, Any]] = []
    place: tuple[int, str, str] | None = None
    while not limit or len(rows) < limit:
        size = min(1000, limit - len(rows)) if limit else 1000
        page, place = node.core.suppression.page(limit=size, after=place, **filters)
        rows += map(_shown, page)
        if place is None:
            break
    emit(node, rows, columns=_COLUMNS)


@suppression.command("check")
@click.argument("address")
@click.pass_context
@pass_node
def check(node: Node, context: click.Context, address: str) -> None:
    """Show why ADDRESS is not mailed; exit 3 when it is suppressed, 0 when not."""
    found = node.core.suppression.check(address)
    if node.json:
        print_json(
            {"email": address, "suppressed": bool(found), "entries": [_shown(one) for one in found]}
        )
    elif found:
        emit(node, [_shown(one) for one in found], columns=_COLUMNS)
    if found:
        context.exit(EXIT_CHECK)


@suppression.command("add")
@click.argument("address")
@_listid
@pass_node
def add(node: Node, address: str, listid: str) -> None:
    """Suppress ADDRESS."""
    from sendback.database.suppression import Suppressed

    with usage_errors():
        node.core.suppression.add([Suppressed(email=address, listid=listid)], actor=actor())
    emit(node, {"email": address, "listid": listid, "reason": "manual"})


@suppression.command("remove")
@click.argument("address")
@click.option("--listid", help="Of this ListID only; else every entry of the address.")
@pass_node
def remove(node: Node, address: str, listid: str | None) -> None:
    """Take ADDRESS off the list."""
    removed = node.core.suppression.remove(address, listid, actor=actor())
    emit(node, {"email": address, "removed": removed})


@suppression.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True, dir_okay=False))
@_listid
@pass_node
def import_(node: Node, file: Path, listid: str) -> None:
    """Suppress every address of FILE (- for stdin): CSV with a header, or one address a line.

    The columns `email`, `listid` and `reason` count. In parts of 5,000, each whole; a line that
    can't be read stops the import, names itself, and what came before it stays.
    """
    with usage_errors():
        if str(file) == "-":
            done = _import(node, sys.stdin, listid, size=0)
        else:
            try:
                with file.open(encoding="utf-8-sig", newline="") as lines:
                    done = _import(node, lines, listid, size=file.stat().st_size)
            except OSError as error:
                raise Malformed(f"{file} can't be read: {error.strerror}") from None
    emit(node, {"imported": done})


@suppression.command("export")
@pass_node
def export(node: Node) -> None:
    """Print every entry as CSV (with --json: as an array), the newest first."""
    entries = node.core.suppression.export()
    if node.json:
        print_json([_shown(one) for one in entries])
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("email", "listid", "reason", "time", "sendid", "bounce_text"))
    for one in entries:
        time = rfc3339(one.time_ms)
        writer.writerow((one.email, one.listid, one.reason, time, one.sendid, one.bounce_text))


def _import(node: Node, lines: TextIO, listid: str, *, size: int) -> int:
    from sendback.database.address_csv import read_addresses
    from sendback.database.suppression import Suppressed

    entries = (
        Suppressed(email=one.email, listid=one.listid or listid, reason=one.reason or "manual")
        for one in read_addresses(lines)
    )
    done = 0
    with progress("importing", size) as advance:
        while part := list(itertools.islice(entries, _CHUNK)):
            done += node.core.suppression.add(part, actor=actor())
            advance(sum(len(one.email) + len(one.listid) + 2 for one in part))
    return done


def _shown(one: Any) -> dict[str, Any]:
    return {**msgspec.to_builtins(one), "time": rfc3339(one.time_ms)}
