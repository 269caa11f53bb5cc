"""`sendback stats`: what became of the mail, from the main database."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from sendback.cli.context import Node, NodeGroup, pass_node
from sendback.cli.output import emit

if TYPE_CHECKING:
    from sendback.database.figures import Figures

_csv = click.option("--csv", "as_csv", is_flag=True, help="CSV with a header row.")
_listid = click.option("--listid", help="Only this ListID.")
_SENDS = (
    "sendid",
    "listid",
    "opens_unique_human",
    "opens_machine",
    "clicks_unique_human",
    "clicks_human",
    "clicks_machine",
    "unsubs",
    "bounces_hard",
    "bounces_soft",
    "complaints",
)
_LINKS = ("url", "link_id", "clicks_unique_human", "clicks_human", "clicks_machine", "unsubs")


@click.group("stats", cls=NodeGroup)
def stats() -> None:
    """Statistics of sends and links. Numbers are totals unless their name says unique."""


@stats.command("sends")
@click.option("--limit", type=click.IntRange(min=0), default=100, help="0 for all.  [100]")
@click.option("--search", default="", help="Part of a SendID or ListID.")
@_csv
@pass_node
def sends(node: Node, limit: int, search: str, as_csv: bool) -> None:
    """List sends, the one with the newest event first."""
    _print(node, _figures(node).sends(limit=limit, search=search), _SENDS, as_csv)


@stats.command("send")
@click.argument("sendid")
@_listid
@_csv
@pass_node
def send(node: Node, sendid: str, listid: str | None, as_csv: bool) -> None:
    """Show everything counted for one send."""
    figures = _figures(node)
    totals = figures.send(sendid, listid)
    if as_csv or not node.json:
        _print(node, totals, None, as_csv)
        return
    emit(
        node,
        {
            "sendid": sendid.lower(),
            "totals": totals,
            "hours": figures.hours(sendid),
            "bounces": figures.bounces(sendid, listid),
            "domains": figures.domains(sendid, listid),
        },
    )


@stats.command("links")
@click.argument("sendid")
@_listid
@_csv
@pass_node
def links(node: Node, sendid: str, listid: str | None, as_csv: bool) -> None:
    """List the links of a send, the most clicked first, those nobody clicked too."""
    _print(node, _figures(node).links(sendid, listid), _LINKS, as_csv)


def _figures(node: Node) -> Figures:
    from sendback.database.figures import Figures

    return Figures(node.core.upgraded_database())


def _print(
    node: Node, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None, as_csv: bool
) -> None:
    if as_csv and not node.json:
        if rows:
            writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    elif not node.json and columns is None and len(rows) == 1:
        emit(node, rows[0])
    else:
        emit(node, rows, columns=columns)


def _cell(value: Any) -> Any:
    """A text that begins like a formula is quoted: a spreadsheet shows it, and runs nothing."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value
