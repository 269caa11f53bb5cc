"""HTML as the WHATWG tokenizer reads it: tags, comments and raw text as patterns over bytes.

What both ways of reading a document share: `html` in one pass, `tree` where a tree decides.
Section numbers are those of the HTML standard, 13.2.5. Nothing here knows about mail or tracking.

Two traps of CPython's `re` shape the patterns: no capturing group may stand inside a possessive
repeat (3.11 raises SystemError), and a pattern that fails is tried again further right, so the
last alternative takes the rest of the document.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sendback.errors import Malformed

#: 13.2.5 knows five white space bytes; `\s` would add 0x0B.
_S: Final = rb"\t\n\f\r "
_END: Final = rb"[\t\n\f\r />]"
_VALUE: Final = rb"""(?:"[^"]*+"|'[^']*+'|[^\t\n\f\r >"'][^\t\n\f\r >]*+|(?=>))"""
#: One attribute. `name =` with a value that never ends must fail, not shrink to a bare name.
_ATTR: Final = (
    rb"[^\t\n\f\r />][^\t\n\f\r />=]*+[\t\n\f\r ]*+(?:=[\t\n\f\r ]*+" + _VALUE + rb"|(?!=))"
)
_ATTRS: Final = rb"(?:[\t\n\f\r /]++|" + _ATTR + rb")*+"
#: The rest of a tag written the usual way, behind the first letters of its name.
_PLAIN: Final = rb"""[A-Za-z0-9:-]*+(?:[\t\n\f\r ]++[A-Za-z:-]++="[^"]*+")*+[\t\n\f\r ]*+/?+>"""

RAW_TEXT: Final = (b"style", b"title", b"textarea", b"xmp", b"iframe", b"noembed", b"noframes")
#: Elements behind which the tree builder steers the tokenizer (13.2.6.4.16, .20, 13.2.6.5).
STEERING: Final = (b"svg", b"math", b"select", b"frameset", b"template")


def tag(name: bytes) -> bytes:
    """Pattern of a whole start tag of that name."""
    return rb"<(?i:" + name + rb")(?=" + _END + rb")" + _ATTRS + rb">"


def raw_text(name: bytes) -> bytes:
    """Pattern of what a raw text element holds, up to its end tag or the end of the document."""
    return rb"[^<]*+(?:<(?!/(?i:" + name + rb")" + _END + rb")[^<]*+)*+"


_NO_END: Final = rb"<(?!/(?i:script)" + _END + rb")"
#: Script data double escaped (13.2.5.27 to .31): from `<script` to `</script`, or before `-->`.
_TWICE: Final = (
    rb"<(?i:script)" + _END + rb"(?:[^<-]++|-(?!-)|--++(?!>)|" + _NO_END + rb")*+"
    rb"(?:</(?i:script)" + _END + rb")?+"
)
#: Script data up to the end tag that counts, with the escaped states (13.2.5.18 to .26).
SCRIPT_DATA: Final = (
    rb"(?:[^<]++|<!--(?:-*+>|(?:[^<-]++|-(?!-)|--++(?!>)"
    rb"|<(?!/?+(?i:script)" + _END + rb")|" + _TWICE + rb")*+(?:--++>)?+)"
    rb"|(?!<!--)" + _NO_END + rb")*+"
)

#: A comment to its end: `-->`, `--!>`, or at once `>` or `->` (13.2.5.43 to .52).
COMMENT: Final = rb"<!--(?:-?+>|[^-]*+(?:-(?!-!?+>)[^-]*+)*+--!?+>)"
BOGUS_COMMENT: Final = rb"<(?:!(?!--)|\?|/(?![A-Za-z]))[^>]*+>"
END_TAG: Final = rb"</[A-Za-z][^\t\n\f\r />]*+" + _ATTRS + rb">"
START_TAG: Final = rb"<[A-Za-z][^\t\n\f\r />]*+" + _ATTRS + rb">"

_HREF: Final = (
    rb"(?:[\t\n\f\r /]++|(?!(?i:href)[\t\n\f\r />=])" + _ATTR + rb")*+"
    rb"[hH][rR][eE][fF][\t\n\f\r ]*+=[\t\n\f\r ]*+"
    rb"""("[^"]*+"|'[^']*+'|[^\t\n\f\r >"'][^\t\n\f\r >]*+)""" + _ATTRS + rb">"
)


def _document(links: bytes, *, plain: bytes) -> "re.Pattern[bytes]":
    """The pattern that goes from one tag of interest to the next.

    `links` names the elements whose href counts; `plain` is a class of first letters with which
    no watched element begins. Most tags take the short way, which decides by the first letters
    and knows only `name="value"`; whatever it does not match, the exact alternatives do.
    """
    steering = b"|".join(STEERING)
    watched = b"|".join((links, b"opentag|script|plaintext", *RAW_TEXT, steering))
    short = (
        rb"<(?:/(?:[ac-zAC-Z]|[bB](?![oO]))[A-Za-z0-9:]*+>"
        rb"|(?:"
        + plain
        + rb"|[bitspBITSP](?![ceiftvloCEIFTVLO])|[fF][oO]|[mM][eE])"
        + _PLAIN
        + rb")"
    )
    exact = (
        rb"<(?![A-Za-z/!?])"
        rb"|(?!<(?i:"
        + watched
        + rb")"
        + _END
        + rb")"
        + START_TAG
        + rb"|(?!</(?i:body)"
        + _END
        + rb")"
        + END_TAG
        + rb"|(?!<!--\[[iI][fF])"
        + COMMENT
        + rb"|"
        + BOGUS_COMMENT
        + rb"|"
        + tag(b"script")
        + SCRIPT_DATA
        + rb"(?=<)|"
        + b"|".join(tag(name) + raw_text(name) + rb"(?=<)" for name in RAW_TEXT)
    )
    return re.compile(
        rb"(?:(?:[^<]*+" + short + rb")++|[^<]*+(?:" + exact + rb"))*+[^<]*+"
        rb"(?:(<(?i:" + links + rb")(?=[\t\n\f\r /])" + _HREF + rb")"  # 1, the value in 2
        rb"|" + tag(links) + rb"|(</(?i:body)(?=" + _END + rb")" + _ATTRS + rb">)"  # 3
        rb"|(" + tag(b"opentag") + rb")"  # 4
        rb"|(" + COMMENT + rb")"  # 5, a conditional one
        rb"|(" + tag(steering) + rb")"  # 6
        rb"|([\s\S]++)"  # 7, plaintext, or a tag, comment or raw text that never ends
        rb"|\Z)"
    )


TOKEN: Final = _document(b"a|area", plain=rb"[cdeghjklqruvwyzCDEGHJKLQRUVWYZ]")
_SHAPES: Final = rb"v:(?:rect|roundrect|oval|shape|image|group|line|polyline|curve|arc)"
_OUTLOOK: Final = _document(rb"a|area|" + _SHAPES, plain=rb"[cdeghjklqruwyzCDEGHJKLQRUWYZ]")
QUOTES: Final = frozenset(b"\"'")


#: One start tag with an href: where the tag begins, where the raw value of its first href begins
#: and ends, where the tag ends. A bare tuple: there are many.
Anchor = tuple[int, int, int, int]


class TooMany(Malformed):
    """The document holds more links than the caller wants to hear of."""


@dataclass(slots=True)
class Found:
    """What a document holds for us, in document order."""

    anchors: list[Anchor] = field(default_factory=list)
    body_end: int = -1  # where the first real </body> begins
    opentag: tuple[int, int] | None = None
    closed: bool = True  # false: ends inside a tag, comment or raw text; nothing can be appended


def conditional(document: bytes, start: int, end: int) -> Iterator[Anchor]:
    """The links that Outlook sees inside one conditional comment."""
    condition = document.find(b"]>", start, end)
    if condition < 0 or b"href" not in document[condition:end].lower():
        return
    for match in _OUTLOOK.finditer(document, condition + 2, end):
        if match.lastindex == 1:
            tag_start, tag_end = match.span(1)
            value_start, value_end = match.span(2)
            quoted = document[value_start] in QUOTES
            yield tag_start, value_start + quoted, value_end - quoted, tag_end


class Attribute(NamedTuple):
    """One attribute of a tag: lower-case name, raw value (None without `=`), and its place."""

    name: bytes
    value: bytes | None
    start: int
    value_start: int


_TAG_NAME: Final = re.compile(rb"</?[^\t\n\f\r />]++")
#: One attribute: name in 1; a value in 2, 3 or 4 by its quotes.
ATTRIBUTE: Final = re.compile(
    rb"[\t\n\f\r /]*+([^\t\n\f\r />][^\t\n\f\r />=]*+)[\t\n\f\r ]*+"
    rb"""(?:=[\t\n\f\r ]*+(?:"([^"]*+)"|'([^']*+)'|([^\t\n\f\r >"'][^\t\n\f\r >]*+)|(?=>))|(?!=))"""
)


def attributes(document: bytes, start: int, end: int) -> dict[bytes, Attribute]:
    """The attributes of the tag at [start, end); of two with one name the first counts."""
    found: dict[bytes, Attribute] = {}
    name_end = _TAG_NAME.match(document, start)
    assert name_end is not None
    at = name_end.end()
    while (match := ATTRIBUTE.match(document, at, end)) is not None:
        name = match[1].lower()
        value = match[match.lastindex or 1] if match.lastindex != 1 else None
        if match.lastindex == 1 and document[match.end() - 1 : match.end()] == b"=":
            value = b""
        place = match.start(match.lastindex or 1)
        found.setdefault(name, Attribute(name, value, match.start(1), place))
        at = match.end()
    return found
