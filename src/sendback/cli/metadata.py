"""`sendback metadata`: the external Postgres of event tracking metadata, made, watched, pruned."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import click

from sendback.cli.context import (
    EXIT_CHECK,
    EXIT_FAILED,
    EXIT_USAGE,
    Node,
    NodeGroup,
    fail,
    pass_node,
)
from sendback.cli.output import emit, print_json
from sendback.errors import Malformed, Misconfigured, NotFound

if TYPE_CHECKING:
    from sendback.metadata.local import LocalStore


@click.group("metadata", cls=NodeGroup)
def metadata() -> None:
    """The external metadata database (seed 004), and this node's local metadata."""


@metadata.command("init")
@click.option("--print", "only_print", is_flag=True, help="Print the schema; connect nowhere.")
@click.option("--partitions", is_flag=True, help="One partition a day: pruning drops them. Run "
              "`init` daily then; it makes the next 14 days.")  # fmt: skip
@pass_node
def init(node: Node, only_print: bool, partitions: bool) -> None:
    """Make the table and its index, exactly as seed 004 prints them; harmless when they stand."""
    from sendback.metadata import external_table

    schema = external_table.PARTITIONED_SCHEMA if partitions else external_table.SCHEMA
    if only_print:
        if node.json:
            print_json({"schema": schema})
        else:
            click.echo(schema, nl=False)
        return
    made = external_table.initialise(_dsn(node), partitions=partitions)
    emit(node, {"made": made, "table": "ga_tracking_data"})


@metadata.command("status")
@click.pass_context
@pass_node
def status(node: Node, context: click.Context) -> None:
    """Show databases, this node's local file, and the caches of its running processes.

    Exit 1 when a configured database does not answer, 3 when its table or index is missing.
    """
    from sendback.metadata import external_table

    found: dict[str, Any] = {"databases": {}, "local": _local_counts(node), "processes": []}
    code = 0
    for role, dsn in _dsns(node).items():
        state = external_table.status(dsn)
        found["databases"][role] = state
        if not state.reachable:
            code = EXIT_FAILED
        elif not state.table or not state.prune_index:
            code = code or EXIT_CHECK
    found["processes"] = _processes(node)
    if node.json:
        print_json(found)
    else:
        for role, state in found["databases"].items():
            emit(node, {"database": role, **_plain(state)})
        emit(node, found["local"])
        emit(node, found["processes"])
    context.exit(code)


@metadata.command("prune")
@click.option("--older-than", required=True, metavar="AGE", help="Days or weeks: 90d, 12w.")
@click.option("--dry-run", is_flag=True, help="Count, delete nothing.")
@click.option(
    "--storage", type=click.Choice(["external", "local"]), default="external", show_default=True
)
@click.pass_context
@pass_node
def prune(node: Node, context: click.Context, older_than: str, dry_run: bool, storage: str) -> None:
    """Delete metadata of mail older than this: its links answer 404 from then on.

    Nothing is pruned by itself (seed 004). In short transactions: mail and clicks go on meanwhile,
    and killed half-way it just deleted less.
    """
    from sendback.metadata import external_table

    today = dt.datetime.fromtimestamp(time.time(), dt.UTC).date()
    try:
        before = external_table.before_age(older_than, today)
    except Malformed as error:
        fail(str(error), code="usage")
        context.exit(EXIT_USAGE)
    if storage == "external":
        emit(node, _plain(external_table.prune(_dsn(node), before, dry_run=dry_run)))
        return
    start = int(dt.datetime.combine(before, dt.time(), dt.UTC).timestamp())
    rows = _local(node).prune(start, dry_run=dry_run)
    emit(node, {"before": before.isoformat(), "rows": rows, "dry_run": dry_run})


def _dsn(node: Node) -> str:
    dsns = _dsns(node)
    if "primary" not in dsns:
        raise Misconfigured(
            "external_metadata_event_tracking_database is not set",
            hint="name a database connection there; `sendback database-connection add` makes one",
        )
    return dsns["primary"]


def _dsns(node: Node) -> dict[str, str]:
    from sendback.bootstrap.external import dsns

    return dsns(node.core)


def _local(node: Node) -> LocalStore:
    from sendback.metadata.local import LocalStore

    path = node.core.path / "metadata.sqlite"
    if not path.exists():
        raise NotFound(f"there is no local metadata: {path}")
    return LocalStore(path)


def _local_counts(node: Node) -> dict[str, int]:
    from sendback.metadata.local import LocalStore

    store = LocalStore(node.core.path / "metadata.sqlite", readonly=True)
    try:
        return store.counts()
    except NotFound:
        return {"messages": 0, "links": 0, "placements": 0, "oldest_day": 0}
    finally:
        store.close()


def _processes(node: Node) -> list[dict[str, Any]]:
    """Hit rates and connections, as the running processes last told."""
    from sendback.bootstrap.status import read_statuses

    rows = []
    for process in read_statuses(node.core.path / "control"):
        counters = process.get("counters", {})
        prefix = "metadata_external_"
        told = {k.removeprefix(prefix): v for k, v in counters.items() if k.startswith(prefix)}
        if not told:
            continue
        row: dict[str, Any] = {"part": process.get("part"), "pid": process.get("pid"), **told}
        for kind in ("link", "message"):
            asked = told.get(f"{kind}_row_hits", 0) + told.get(f"{kind}_row_misses", 0)
            row[f"{kind}_hit_rate"] = (
                round(told.get(f"{kind}_row_hits", 0) / asked, 4) if asked else None
            )
        rows.append(row)
    return rows


def _plain(value: Any) -> dict[str, Any]:
    import msgspec

    plain = msgspec.to_builtins(value)
    assert isinstance(plain, dict)
    return plain
