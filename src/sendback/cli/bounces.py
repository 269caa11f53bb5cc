"""`sendback bounces`: read returned mail, and undo removals that a receiver's fault caused."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from sendback.cli.catalog import actor, usage_errors
from sendback.cli.context import EXIT_FAILED, Node, NodeGroup, fail, pass_node
from sendback.cli.output import emit, print_json
from sendback.cli.progress import progress
from sendback.cli.times import TIME, rfc3339

F = TypeVar("F", bound=Callable[..., Any])

_COLUMNS = ("email", "listid", "sendid", "time", "bounce_code", "bounce_text")
#: As the listener keeps of a message at most; a larger file is read up to here.
_MAX_BYTES = 1 << 20


@click.group("bounces", cls=NodeGroup)
def bounces() -> None:
    """Returned mail."""


@bounces.command("parse")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--jsonl", is_flag=True, help="One JSON object a line, one line a file.")
@click.option("--explain", is_flag=True, help="Say how each verdict was reached.")
@click.pass_context
@pass_node
def parse(
    node: Node, context: click.Context, files: tuple[Path, ...], jsonl: bool, explain: bool
) -> None:
    """Say what each message in FILES (or the one on stdin) is, and what became of whom. Offline.

    A file that can't be read gives {"file", "error"}, and exit 1 at the end.
    """
    rows = []
    failed = False
    for file in files or (None,):
        row = _parsed(file, explain=explain)
        failed |= "error" in row
        if jsonl:
            print_json(row)
        elif "error" in row and not node.json:
            fail(f"{row['file']}: {row['error']}", code="unreadable")
        else:
            rows.append(row)
    if not jsonl:
        _print_verdicts(node, rows, single=len(files) < 2)
    if failed:
        context.exit(EXIT_FAILED)


def _parsed(file: Path | None, *, explain: bool) -> dict[str, Any]:
    from sendback.reports import as_prediction, parse

    try:
        if file is None:
            raw = sys.stdin.buffer.read(_MAX_BYTES)
        else:
            with file.open("rb") as opened:
                raw = opened.read(_MAX_BYTES)
    except OSError as error:
        return {"file": str(file), "error": error.strerror or str(error)}
    report = parse(raw)
    row = {"file": str(file) if file else "-", **as_prediction(report)}
    if explain:
        row["explain"] = list(report.explain)
    return row


def _print_verdicts(node: Node, rows: list[dict[str, Any]], *, single: bool) -> None:
    if node.json:
        print_json(rows[0] if single and rows else rows)
    elif single and rows:
        explain = rows[0].pop("explain", ())
        emit(node, rows[0])
        for step in explain:
            click.echo(step)
    else:
        columns = ("file", "kind", "recipients", "status", "reason", "hard", "bad_address")
        emit(node, rows, columns=columns)


@bounces.group("recovery", cls=NodeGroup)
def recovery() -> None:
    """Undo removals: list who was removed for bouncing, filter, reactivate."""


def _filters(function: F) -> F:
    for option in (
        click.option("--source-csv", type=click.Path(path_type=Path, dir_okay=False),
                     help="Only addresses of this file, as `list --csv` prints it."),
        click.option("--bounce-regexp", help="Only where this matches the bounce's text."),
        click.option("--domain", help="Only addresses of this domain."),
        click.option("--end", type=TIME, help="Removed before this time; now when left out."),
        click.option("--start", type=TIME, required=True, help="Removed at or after this time."),
    ):  # fmt: skip
        function = option(function)
    return function


@recovery.command("list")
@_filters
@click.option("--csv", "as_csv", is_flag=True, help="CSV, to be filtered and given back.")
@pass_node
def list_(node: Node, /, as_csv: bool, **filters: Any) -> None:
    """List who was removed for bouncing."""
    rows = [_shown(one) for one in _removals(node, **filters)]
    if not as_csv or node.json:
        emit(node, rows, columns=_COLUMNS)
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([row[name] for name in _COLUMNS] for row in rows)


@recovery.command("reactivate")
@_filters
@click.option("--dry-run", is_flag=True, help="Say who it would be.")
@pass_node
def reactivate(node: Node, /, dry_run: bool, **filters: Any) -> None:
    """Take them off the suppression list and forget their bounces; print who they are."""
    from sendback.bounces import Recovery

    found = _removals(node, **filters)
    if not dry_run:
        with progress("reactivating", len(found)) as advance:
            at = 0

            def report(done: int, _total: int) -> None:
                nonlocal at
                advance(done - at)
                at = done

            Recovery(node.core.suppression).reactivate(found, actor=actor(), progress=report)
    emit(node, [_shown(one) for one in found], columns=_COLUMNS)


def _removals(
    node: Node,
    *,
    start: int,
    end: int | None,
    domain: str | None,
    bounce_regexp: str | None,
    source_csv: Path | None,
) -> Sequence[Any]:
    from sendback.bounces import Recovery
    from sendback.database.address_csv import read_addresses
    from sendback.errors import Malformed

    with usage_errors():
        only = None
        if source_csv is not None:
            try:
                with source_csv.open(encoding="utf-8-sig", newline="") as lines:
                    only = [(one.email, one.listid or None) for one in read_addresses(lines)]
            except OSError as error:
                raise Malformed(f"{source_csv} can't be read: {error.strerror}") from None
        return Recovery(node.core.suppression).list(
            start_ms=start,
            end_ms=end if end is not None else int(time.time() * 1000) + 1,
            domain=domain,
            bounce_regexp=bounce_regexp,
            only=only,
        )


def _shown(one: Any) -> dict[str, Any]:
    return {**msgspec.to_builtins(one), "time": rfc3339(one.time_ms)}
