"""How commands print: one JSON document with --json, a table on a terminal, tab-separated else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from sendback.cli.context import Node


def emit(node: Node, value: Any, *, columns: Sequence[str] | None = None, title: str = "") -> None:
    """Print `value`: a mapping as name and value, a sequence of mappings as a table.

    `columns` picks and orders the table's columns; JSON always holds everything.
    """
    if node.json:
        print_json(value)
    elif isinstance(value, Mapping):
        _print_table([{"name": k, "value": _text(v)} for k, v in value.items()], None, title)
    else:
        _print_table([_plain(row) for row in value], columns, title)


def line_of(cells: Sequence[str]) -> str:
    """One line of what is told step by step: aligned on a terminal, tab-separated else."""
    texts = [_text(cell) for cell in cells]
    if not sys.stdout.isatty():
        return "\t".join(texts)
    first, second, *rest = [*texts, ""]
    told = "\n".join(filter(None, ["  ".join(filter(None, rest[:2])), *rest[2:]]))
    return f"{first:<12} {second:<8} " + told.replace("\n", f"\n{'':22}")


def print_json(value: Any) -> None:
    """One JSON document on one line, with a newline."""
    sys.stdout.write(msgspec.json.encode(value).decode())
    sys.stdout.write("\n")


def _plain(row: Any) -> Mapping[str, Any]:
    built = msgspec.to_builtins(row)
    return built if isinstance(built, Mapping) else {"value": built}


def _print_table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None, title: str
) -> None:
    rows = list(rows)
    names = list(columns or (rows[0] if rows else ()))
    cells = [[_text(row.get(name)) for name in names] for row in rows]
    if not sys.stdout.isatty():
        for line in cells:
            print("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*names, title=title or None, title_justify="left", header_style="bold")
    for line in cells:
        table.add_row(*(cell.replace("[", "\\[") for cell in line))
    console = Console()
    console.print(table if rows else "nothing to show")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else None
    if text is None:
        text = (
            msgspec.json.encode(value).decode()
            if isinstance(value, (list, tuple, dict))
            else str(value)
        )
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
