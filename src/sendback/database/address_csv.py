"""Addresses in a CSV file, as `suppression export` and `bounces recovery list` print them."""

import csv
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sendback.errors import Malformed

MAX_LINE = 64 * 1024


class Address(NamedTuple):
    """One line; "" for what it does not say."""

    email: str
    listid: str = ""
    reason: str = ""


def read_addresses(lines: Iterable[str]) -> Iterator[Address]:
    """The addresses of these lines, one after another; Malformed names the line.

    With a header row the columns `email`, `listid` and `reason` count, else the first is the
    address and the second the ListID: a plain list of addresses is fine.
    """
    columns = {"email": 0, "listid": 1}
    for number, row in enumerate(_rows(lines), start=1):
        cells = [cell.strip() for cell in row]
        if number == 1 and cells:
            cells[0] = cells[0].lstrip("\ufeff")
            names = [cell.lower() for cell in cells]
            if "email" in names:
                columns = {name: names.index(name) for name in Address._fields if name in names}
                continue
        if not any(cells):
            continue
        values = {name: cells[at] for name, at in columns.items() if at < len(cells)}
        if "@" not in values.get("email", ""):
            raise Malformed(f"line {number}: no address", field="email")
        yield Address(**values)


def _rows(lines: Iterable[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(_bounded(lines))
    except (csv.Error, UnicodeError) as error:
        raise Malformed(f"not a CSV file in UTF-8: {error}") from None


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if len(line) > MAX_LINE:
            raise Malformed("a line is over 64 KB: not a list of addresses")
        yield line
