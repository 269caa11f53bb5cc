"""Header fields: read those that steer us, compose the block that goes on top.

Nothing here changes a field that came with the message: fields are read as bytes and either kept
or cut out whole. Folding obeys RFC 5322 2.1.1: below 78 columns where a blank allows it.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sendback.errors import Malformed

#: Columns a folded line should not pass, and may not pass (RFC 5322 2.1.1).
FOLD: Final = 77
LIMIT: Final = 998
#: Prefixes of the fields that are instructions to us and leave the message.
CONTROL: Final = (b"x-greenarrow-", b"x-sendback-")

_NAME: Final = re.compile(r"[!-9;-~]+")
_NO_ENTRY: Final = re.compile(r"[<> \t\r\n,]")
_FIELDS: Final = re.compile(rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)*+")
_FIELD: Final = re.compile(rb"([!-9;-~]++)[ \t]*+:([^\n]*+\n(?:[ \t][^\n]*+\n)*+)")
FOLDING: Final = re.compile(rb"\r?\n(?=[ \t])")


class Field(NamedTuple):
    """One field of a header block: lower-case name, raw value, and where the whole of it stands."""

    name: bytes
    value: bytes
    start: int
    end: int


def block_end(message: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where the fields that begin at `start` end and where the body begins.

    None when there is no empty line before `end`.
    """
    first = message.find(b"\n", start, end)
    if first < 0:
        return None
    if message[start:first] in {b"", b"\r"}:
        return start, first + 1
    # The line end of the first line is most likely that of all: so the other search is short.
    crlf = message[first - 1] == 0x0D
    found = message.find(b"\n\r\n" if crlf else b"\n\n", first, end)
    other = message.find(b"\n\n" if crlf else b"\n\r\n", first, found + 2 if found >= 0 else end)
    if other >= 0 and (found < 0 or other < found):
        return other + 1, other + (2 if crlf else 3)
    return (found + 1, found + (3 if crlf else 2)) if found >= 0 else None


class Section(NamedTuple):
    """The header section of a message: read once for whoever looks at it."""

    stop: int
    """Where the fields end."""
    body: int
    """Where the body begins."""
    fields: list[Field]
    well_formed: int
    """Where the last well-formed field ends; `stop` when all are."""


_new = tuple.__new__  # a third of the time of calling the class


def section(message: bytes) -> Section | None:
    """The header section; None when its end can't be found."""
    block = block_end(message, 0, len(message))
    if block is None:
        return None
    return Section(*block, *fields(message, 0, block[0]))


def fields(message: bytes, start: int, end: int) -> tuple[list[Field], int]:
    """The fields between `start` and `end`, and where the last well-formed one ends."""
    match = _FIELDS.match(message, start, end)
    stop = match.end() if match else start
    return [
        _new(Field, (found[1].lower(), found[2], *found.span()))
        for found in _FIELD.finditer(message, start, stop)
    ], stop


def unfold(value: bytes) -> str:
    """A raw field value on one line, stripped; UTF-8 where it is, else Latin-1."""
    text = FOLDING.sub(b"", value).strip()
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def fold(name: str, value: str, eol: bytes = b"\r\n") -> bytes:
    """The whole field, folded at blanks so that lines stay below 78 columns where they can.

    A word longer than that goes on a line of its own. Raises Malformed for a name or value that
    would not stay one field, or a word over 998 octets.
    """
    if not _NAME.fullmatch(name) or any(char in value for char in "\r\n\0"):
        raise Malformed("a header field's name or value holds a line end", field=name)
    words = value.split()
    lines: list[str] = []
    line = f"{name}:"
    room = FOLD
    for word in words:
        size = len(word.encode())
        if size > LIMIT - 1:
            raise Malformed("a word of the field is longer than a line may be", field=name)
        fits = len(line.encode()) + 1 + size <= room
        # The first word stays on the name's line unless a line of its own would save the limit.
        if fits or (
            not lines
            and line == f"{name}:"
            and size + 1 > FOLD
            and len(line.encode()) + 1 + size <= LIMIT
        ):
            line += " " + word
        else:
            lines.append(line)
            line = " " + word
    lines.append(line)
    return eol.join(part.encode() for part in lines) + eol


def fold_token(name: str, token: str, eol: bytes = b"\r\n") -> bytes:
    """A field holding one long token, cut so that every line stays below 78 columns.

    White space inside it means nothing: read it back with `unfold_token`. So it survives whatever
    mail servers do to folded lines (facts: a peer's reader broke just there).
    """
    if not _NAME.fullmatch(name) or not token.isascii() or not token.isprintable() or " " in token:
        raise Malformed("a token field holds printable ASCII without blanks only", field=name)
    first = max(FOLD - len(name) - 2, 8)
    width = FOLD - 1
    chunks = [token[:first], *(token[at : at + width] for at in range(first, len(token), width))]
    return f"{name}: ".encode() + (eol + b" ").join(part.encode() for part in chunks) + eol


def unfold_token(value: str | bytes) -> str:
    """The token that `fold_token` wrote, all white space dropped."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return "".join(text.split())


def list_unsubscribe(
    url: str | None, *, mailto: str | None = None, one_click: bool = True
) -> list[tuple[str, str]]:
    """The pair List-Unsubscribe and List-Unsubscribe-Post (RFC 2369, RFC 8058) as (name, value).

    The second only with `one_click` and an https URL. The mail address comes first: who reads one
    entry only (Apple Mail) reads that. Nothing when neither is given.
    """
    entries = [f"<{entry}>" for entry in (mailto, url) if entry]
    if not entries:
        return []
    if any(_NO_ENTRY.search(entry, 1, len(entry) - 1) for entry in entries):
        raise Malformed(
            "an unsubscribe URL holds a blank, comma or bracket", field="List-Unsubscribe"
        )
    pair = [("List-Unsubscribe", ", ".join(entries))]
    if one_click and url and url[:8].lower() == "https://":
        pair.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    return pair


def block(
    pairs: Iterable[tuple[str, str]], eol: bytes = b"\r\n", *, tokens: Sequence[str] = ()
) -> bytes:
    """The fields as one block for the top of a message; those named in `tokens` by fold_token."""
    folded = {name.lower() for name in tokens}
    return b"".join(
        fold_token(name, value, eol) if name.lower() in folded else fold(name, value, eol)
        for name, value in pairs
    )


def names(top_block: bytes) -> set[str]:
    """The lower-case names of the fields in a block that `block` made."""
    found, _ = fields(top_block, 0, len(top_block))
    return {field.name.decode("ascii") for field in found}
