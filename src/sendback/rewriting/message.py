"""Walks the MIME structure of a raw message: header fields, then the leaves we may look into.

Byte ranges only; nothing is decoded here. Signed, encrypted and report subtrees, attached messages
and attachments are never entered (their reason is kept). RFC 2045, 2046, 2231, 5322.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from sendback.errors import Malformed
from sendback.rewriting import headers

MAX_DEPTH: Final = 20
MAX_PARTS: Final = 20_000


@dataclass(frozen=True, slots=True)
class ContentType:
    """A parsed Content-Type: lower-case type, parameters by lower-case name."""

    type: str = "text/plain"
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Leaf:
    """One part without parts: where its body stands and how to read it."""

    start: int
    end: int
    content: ContentType
    encoding: bytes
    attached: bool


@dataclass(slots=True)
class Tree:
    """What the walk found: leaves in order, and subtrees not entered with the reason."""

    leaves: list[Leaf] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)  # (reason, type or explanation)


_PARAMETER: Final = re.compile(
    r""";[ \t\r\n]*+([^ \t\r\n=;"]++)[ \t\r\n]*+=[ \t\r\n]*+(?:"((?:[^"\\]|\\.)*+)"|([^;]*+))"""
    r"""|;|[^;"]++|"(?:[^"\\]|\\.)*+"?+""",
    re.DOTALL,
)
_TYPE: Final = re.compile(r"[ \t\r\n]*+([^ \t\r\n;/]++/[^ \t\r\n;]++)")
_COMMENT: Final = re.compile(r'("(?:[^"\\]|\\.)*+")|\((?:[^()\\]|\\.)*+\)', re.DOTALL)
_EXTENDED: Final = re.compile(r"([^*]+)\*(\d{1,3})?(\*)?$")
_PERCENT: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_FILENAME: Final = re.compile(rb";[ \t\r\n]*(?:file)?name[*0-9]*[ \t]*=", re.IGNORECASE)


@lru_cache(512)
def content_type(value: bytes) -> ContentType:
    """The parsed field. A value that is no type at all reads as text/plain (RFC 2045 5.2)."""
    text = headers.FOLDING.sub(b"", value).decode("latin-1")
    for _ in range(3 if "(" in text else 0):
        text = _COMMENT.sub(lambda match: match[1] or " ", text)
    match = _TYPE.match(text)
    if match is None:
        return ContentType()
    parameters: dict[str, str] = {}
    sections: dict[str, dict[int, str]] = {}
    for found in _PARAMETER.finditer(text, match.end()):
        if found[1] is None:
            continue
        name = found[1].lower()
        given = found[3].strip() if found[2] is None else re.sub(r"\\(.)", r"\1", found[2])
        extended = _EXTENDED.match(name)
        if extended is None:
            parameters.setdefault(name, given)
            continue
        # RFC 2231: name*=charset'language'text, name*0=..., name*1*=...
        if extended[3] or extended[2] is None:
            if not extended[2] or extended[2] == "0":
                given = given.split("'", 2)[-1]
            given = _PERCENT.sub(lambda code: chr(int(code[1], 16)), given)
        sections.setdefault(extended[1], {}).setdefault(int(extended[2] or 0), given)
    for name, pieces in sections.items():
        parameters.setdefault(name, "".join(pieces[number] for number in sorted(pieces)))
    return ContentType(match[1].lower(), parameters)


def walk(message: bytes, top: list[headers.Field], start: int) -> Tree:
    """The leaves of the message whose fields are `top` and whose body begins at `start`.

    A subtree that can't be told (no boundary, nested deeper than 20) is left alone with its reason.
    Raises Malformed for more than 20,000 parts.
    """
    tree = Tree()
    _part(message, top, start, len(message), tree, 0)
    return tree


def _part(
    message: bytes, fields: list[headers.Field], start: int, end: int, tree: Tree, depth: int
) -> None:
    content, encoding, attached = _described(fields)
    main = content.type.partition("/")[0]
    reason = _never_entered(content)
    if reason:
        tree.closed.append((reason, content.type))
    elif main != "multipart":
        if len(tree.leaves) >= MAX_PARTS:
            raise Malformed("more than 20,000 parts", field="Content-Type")
        tree.leaves.append(Leaf(start, end, content, encoding, attached))
    elif depth >= MAX_DEPTH:
        tree.closed.append(("broken-mime", "parts nested deeper than 20"))
    elif not (boundary := content.parameters.get("boundary", "").rstrip()):
        tree.closed.append(("broken-mime", "a multipart without a boundary"))
    else:
        _parts(message, boundary.encode("latin-1", "replace"), start, end, tree, depth + 1)


def _parts(message: bytes, boundary: bytes, start: int, end: int, tree: Tree, depth: int) -> None:
    """The parts between delimiter lines; a missing close delimiter ends with the range."""
    delimiter = b"--" + boundary
    at = start
    begun = -1
    while (found := message.find(delimiter, at, end)) >= 0:
        at = found + len(delimiter)
        if found != start and message[found - 1] != 0x0A:
            continue
        line_end = message.find(b"\n", at, min(end, at + 1000))
        rest = message[at : line_end if line_end >= 0 else min(end, at + 1000)]
        closing = rest[:2] == b"--"
        if (rest[2:] if closing else rest).strip(b" \t\r"):
            continue  # one boundary may be the beginning of another
        if begun >= 0:
            stop = found
            if stop > begun:
                stop -= 2 if message[stop - 2 : stop] == b"\r\n" and stop - 2 >= begun else 1
            _entity(message, begun, stop, tree, depth)
        if closing:
            return
        at = begun = line_end + 1 if line_end >= 0 else end
    if begun < 0:
        tree.closed.append(("broken-mime", "the boundary stands nowhere in its multipart"))
        return
    _entity(message, begun, end, tree, depth)


def _entity(message: bytes, start: int, end: int, tree: Tree, depth: int) -> None:
    block = headers.block_end(message, start, end)
    if block is None:
        # Fields only and no body, or no fields at all: nothing of ours either way.
        tree.closed.append(("empty", ""))
        return
    stop, body = block
    fields, well_formed = headers.fields(message, start, stop)
    if well_formed != stop:
        tree.closed.append(
            ("broken-mime", "a part whose header block holds a line that is no field")
        )
        return
    _part(message, fields, min(body, end), end, tree, depth)


def _described(fields: list[headers.Field]) -> tuple[ContentType, bytes, bool]:
    """Content-Type, encoding and whether it is an attachment; of duplicates the first counts."""
    content = None
    encoding = None
    disposition = None
    for field_ in fields:
        if field_.name == b"content-type":
            content = content if content is not None else field_.value
        elif field_.name == b"content-transfer-encoding":
            encoding = encoding if encoding is not None else field_.value
        elif field_.name == b"content-disposition":
            disposition = disposition if disposition is not None else field_.value
    parsed = content_type(content) if content is not None else ContentType()
    attached = "name" in parsed.parameters
    if disposition is not None:
        shown = disposition.lstrip()[:6].lower() == b"inline" or not disposition.strip()
        attached = attached or not shown or _FILENAME.search(disposition) is not None
    return parsed, _bare(encoding), attached


def _bare(value: bytes | None) -> bytes:
    if value is None:
        return b""
    value = value.strip().lower()
    if b"(" in value:
        value = re.sub(rb"\([^()]*\)", b"", value).strip()
    return value


def _never_entered(content: ContentType) -> str:
    """Why a part of this type is not looked into, or nothing."""
    kind = content.type
    if kind == "multipart/signed":
        return "signed"
    if kind == "multipart/encrypted":
        return "encrypted"
    if kind == "multipart/report":
        return "report"
    if kind in {"application/pkcs7-mime", "application/x-pkcs7-mime"}:
        signed = content.parameters.get("smime-type", "").lower() == "signed-data"
        return "signed" if signed else "encrypted"
    return "message" if kind.startswith("message/") else ""
