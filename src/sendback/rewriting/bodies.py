"""What all content-transfer-encodings share: a decoded part, and a part with gaps.

Each body knows its decoded `text` and turns spans of it into a `Splice`, which takes the new texts
of those spans, for any number of recipients, and gives the part's raw bytes. What stands outside
the spans is copied, never decoded and encoded again.
"""

from collections.abc import Sequence
from typing import Final, Protocol

#: RFC 5321 4.5.3.1.6, RFC 5322 2.1.1: octets in a line without its CRLF.
MAX_LINE: Final = 998
#: RFC 2045 6.7 (5): columns of a quoted-printable line, the `=` of a soft break included.
QP_COLUMNS: Final = 76

#: What needs no escape in quoted-printable nor in any kind of attribute value.
PLAIN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#@!$()*+,;%[]"

Span = tuple[int, int]


class Splice(Protocol):
    """A part with gaps. Pure: may be joined any number of times."""

    def join(
        self, values: Sequence[bytes | None], *, plain: bool = False
    ) -> tuple[bytes, Sequence[int]]:
        """The raw part with each gap filled; None puts back what was there.

        And the gaps that were left as they were because no line could hold their value. `plain`
        promises that no value holds a byte outside `PLAIN`, but for those that are markup.
        """
        ...


class Body(Protocol):
    """A decoded part."""

    text: bytes

    def splice(self, spans: Sequence[Span], blanks: Sequence[int]) -> Splice:
        """Gaps at these sorted, disjoint spans of `text`.

        `blanks[i]` is the place of a blank before span i that may become a line end when a line
        would grow over 998 octets, or -1.
        """
        ...


def fill(
    pieces: list[bytes], values: Sequence[bytes | None], text: bytes, spans: Sequence[Span]
) -> None:
    """Puts the values into the odd places of `pieces`; for None what the text has there."""
    if None in values:
        values = [
            text[start:end] if value is None else value
            for value, (start, end) in zip(values, spans, strict=True)
        ]
    pieces[1::2] = values  # type: ignore[assignment]


def between(text: bytes, spans: Sequence[Span]) -> list[bytes]:
    """What stands between the spans, at even places; odd ones wait for the values."""
    pieces: list[bytes] = []
    at = 0
    for start, end in spans:
        pieces += (text[at:start], b"")
        at = end
    pieces.append(text[at:])
    return pieces
