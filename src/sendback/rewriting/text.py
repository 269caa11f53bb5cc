"""Finds URLs in the decoded bytes of a text part: where each begins and ends.

White space of any kind, `<`, `>`, `"` and controls end a URL; sentence punctuation and brackets
that were not opened inside it stand outside. Linear: each byte is looked at a few times.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

UNSUBSCRIBE_TAG: Final = b"##unsubscribetag##"

_REST: Final = re.compile(rb"[^\x00-\x20<>\"\x7f]++")
#: White space beyond ASCII, and what takes no room but parts words.
BLANK: Final = re.compile("[\x85\xa0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff]")
_SCHEME_BYTES: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+.-"
)
_TRAILING: Final = frozenset(b".,;:!?'*_~|")
_CLOSING: Final = {0x29: 0x28, 0x5D: 0x5B, 0x7D: 0x7B}
#: format=flowed with DelSp: the blank before the line end is no part of the text (RFC 3676 4.1).
_FLOWED: Final = re.compile(rb" \r?\n(?![ \t>]|-- )([^\x00-\x20<>\"\x7f]++)")


class Found(NamedTuple):
    """One URL: its place with the unsubscribe tag, and the URL itself."""

    start: int
    end: int
    url: bytes
    unsubscribe: bool


def scan(
    text: bytes, *, quoted: bool, delsp: bool, stop: Callable[[int, int], int] | None = None
) -> Iterator[Found]:
    """The URLs of `text` in order; those in lines that begin with `>` only when `quoted`.

    `stop` is asked about places that hold more than ASCII: where a blank of the charset ends them.
    """

    def upto(start: int, end: int) -> int:
        return end if stop is None or text[start:end].isascii() else stop(start, end)

    at = 0
    while (colon := text.find(b"://", at)) >= 0:
        scheme = text[max(colon - 5, at) : colon].lower()
        at = colon + 3
        if scheme[-4:] != b"http" and scheme != b"https":
            continue
        start = colon - (5 if scheme == b"https" else 4)
        tagged = text[max(start - len(UNSUBSCRIBE_TAG), 0) : start] == UNSUBSCRIBE_TAG
        if not tagged and start and text[start - 1] in _SCHEME_BYTES:
            continue
        rest = _REST.match(text, at)
        if rest is None:
            continue
        # With DelSp the URL may go on over lines: pieces as (bytes, where they end).
        end = upto(start, rest.end())
        pieces = [(text[start:end], end)]
        while delsp and (more := _FLOWED.match(text, pieces[-1][1])) is not None:
            end = upto(more.start(1), more.end())
            pieces.append((text[more.start(1) : end], end))
        at = pieces[-1][1]
        kept = trimmed(b"".join(piece for piece, _ in pieces))
        beyond = sum(len(piece) for piece, _ in pieces) - len(kept)
        while beyond and beyond >= len(pieces[-1][0]) and len(pieces) > 1:
            beyond -= len(pieces.pop()[0])  # lines of punctuation only are not the URL's
        if kept[-3:] == b"://" or (not quoted and _in_quoted_line(text, start)):
            continue
        yield Found(start - len(UNSUBSCRIBE_TAG) * tagged, pieces[-1][1] - beyond, kept, tagged)


def trimmed(url: bytes) -> bytes:
    """`url` without trailing punctuation and unbalanced closing brackets."""
    opened = {close: url.count(close) - url.count(left) for close, left in _CLOSING.items()}
    end = len(url)
    while end:
        last = url[end - 1]
        if last in _TRAILING:
            end -= 1
        elif last in _CLOSING and opened[last] > 0:
            opened[last] -= 1
            end -= 1
        else:
            break
    return url[:end]


def _in_quoted_line(text: bytes, at: int) -> bool:
    # A line longer than 998 is no quotation that anybody reads; the bound keeps this linear.
    newline = text.rfind(b"\n", max(0, at - 1000), at)
    return (newline >= 0 or at <= 1000) and text[newline + 1 : newline + 2] == b">"
