"""Content-transfer-encodings: decode a part, then splice into its raw bytes.

Each body knows its decoded `text` and turns spans of it into a `Splice`, which takes the new texts
of those spans, for any number of recipients, and gives the part's raw bytes. What stands outside
the spans is copied, never decoded and encoded again; only base64 is encoded anew, since its bytes
can't stay (line width and line ends are kept).
"""

import binascii
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Protocol

from sendback.errors import Malformed

#: RFC 5321 4.5.3.1.6, RFC 5322 2.1.1: octets in a line without its CRLF.
MAX_LINE: Final = 998
#: RFC 2045 6.7 (5): columns of a quoted-printable line, the `=` of a soft break included.
QP_COLUMNS: Final = 76

#: What needs no escape in quoted-printable nor in any kind of attribute value.
PLAIN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#@!$()*+,;%[]"

Span = tuple[int, int]


class Splice(Protocol):
    """A part with gaps. Pure: may be joined any number of times."""

    def join(self, values: Sequence[bytes | None], *, plain: bool = False) -> bytes:
        """The raw part with each gap filled; None puts back what was there.

        `plain` promises that no value holds a byte outside `PLAIN`, but for those that are markup.
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


def decode(raw: bytes, encoding: bytes, eol: bytes) -> Body:
    """The part's body. Raises Malformed when the encoding is unknown or the bytes don't obey it."""
    if encoding in {b"", b"7bit", b"8bit", b"binary"}:
        return Identity(raw, eol)
    if encoding == b"quoted-printable":
        return QuotedPrintable(raw, eol)
    if encoding == b"base64":
        return Base64(raw, eol)
    raise Malformed("unknown content-transfer-encoding", field="Content-Transfer-Encoding")


class Identity:
    """7bit, 8bit and binary: the text is the raw bytes."""

    __slots__ = ("_eol", "text")

    def __init__(self, raw: bytes, eol: bytes) -> None:
        self.text = raw
        self._eol = eol

    def splice(self, spans: Sequence[Span], blanks: Sequence[int]) -> Splice:
        """As `Body.splice`."""
        return _IdentitySplice(self.text, spans, blanks, self._eol)


class _IdentitySplice:
    """Joins by copying; lines that were within 998 octets stay so."""

    __slots__ = ("_blanks", "_eol", "_lines", "_pieces", "_room", "_spans", "_text")

    def __init__(
        self, text: bytes, spans: Sequence[Span], blanks: Sequence[int], eol: bytes
    ) -> None:
        self._text = text
        self._spans = spans
        self._blanks = blanks
        self._eol = eol
        self._pieces = _between(text, spans)
        # Lines that hold gaps and are short enough to be kept so: first gap, one past the last,
        # octets they may grow by, start and end.
        self._lines: list[tuple[int, int, int, int, int]] = []
        line_end = -1
        # Values up to this length keep every line within the limit.
        self._room = MAX_LINE * 2
        for index, (start, end) in enumerate(spans):
            if start <= line_end:
                first, _, room, line_start, _ = self._lines[-1]
                self._lines[-1] = (first, index + 1, room, line_start, line_end)
                self._room = min(self._room, room // (index + 1 - first))
                continue
            line_start = text.rfind(b"\n", max(0, start - MAX_LINE - 1), start) + 1
            if line_start == 0 and start > MAX_LINE:
                continue
            found = text.find(b"\n", end, line_start + MAX_LINE + 2)
            if found < 0 and line_start + MAX_LINE + 2 < len(text):
                continue
            line_end = found if found >= 0 else len(text)
            room = MAX_LINE - (line_end - line_start - (text[line_end - 1 : line_end] == b"\r"))
            if room < 0:
                line_end = -1
                continue
            self._lines.append((index, index + 1, room, line_start, line_end))
            if room < self._room:
                self._room = room

    def join(self, values: Sequence[bytes | None], *, plain: bool = False) -> bytes:  # noqa: ARG002
        pieces = self._pieces.copy()
        _fill(pieces, values, self._text, self._spans)
        if max(map(len, pieces[1::2]), default=0) <= self._room:
            return b"".join(pieces)
        for first, last, room, line_start, line_end in self._lines:
            grown = -room
            for index in range(first, last):
                start, end = self._spans[index]
                grown += len(pieces[2 * index + 1]) - end + start
            if grown > 0:
                self._break_line(pieces, first, last, line_start, line_end)
        return b"".join(pieces)

    def _break_line(
        self, pieces: list[bytes], first: int, last: int, line_start: int, line_end: int
    ) -> None:
        """Puts line ends in place of blanks so that the line stays within 998 octets.

        Gaps whose text fits in no line keep what was there.
        """
        text, spans = self._text, self._spans
        stretches: list[tuple[int, list[int]]] = [(line_start, [])]  # from a blank to the next
        at = line_start
        for index in range(first, last):
            if self._blanks[index] >= at:
                stretches.append((self._blanks[index] + 1, []))
            stretches[-1][1].append(index)
            at = spans[index][1]
        stops = [begin - 1 for begin, _ in stretches[1:]]
        stops.append(line_end - (text[line_end - 1 : line_end] == b"\r"))
        column = -1
        for (begin, gaps), stop in zip(stretches, stops, strict=True):
            grown = {gap: len(pieces[2 * gap + 1]) - spans[gap][1] + spans[gap][0] for gap in gaps}
            while stop - begin + sum(grown.values()) > MAX_LINE:
                widest = max(grown, key=grown.__getitem__)
                pieces[2 * widest + 1] = text[slice(*spans[widest])]
                grown[widest] = 0
            size = stop - begin + sum(grown.values())
            if column + 1 + size > MAX_LINE:
                left = pieces[2 * gaps[0]]
                blank = len(left) - (spans[gaps[0]][0] - begin) - 1
                pieces[2 * gaps[0]] = left[:blank] + self._eol + left[blank + 1 :]
                column = -1
            column += 1 + size


#: What `binascii.a2b_qp` makes of an `=`, which is what mail readers do: soft breaks vanish, a
#: doubled or stray `=` is one byte.
_QP_TOKEN: Final = re.compile(rb"=(?:\n|\r[^\n]*+\n?+|=|[0-9A-Fa-f]{2}|)")
_QP_CUT: Final = b'href=3D"'
_QP_UNSAFE: Final = re.compile(rb"[^!-<>-~ ]")
_QP_UNIT: Final = re.compile(rb"=..|[^=]", re.DOTALL)


class QuotedPrintable:
    """Quoted-printable (RFC 2045 6.7). Every input decodes; offsets are found again exactly."""

    __slots__ = ("_anchors", "_eol", "_raw", "text")

    def __init__(self, raw: bytes, eol: bytes) -> None:
        self._raw = raw
        self._eol = eol
        # Decoded piece by piece, cut where links tend to begin: so the places of most gaps are
        # known for nothing. A cut behind a `"` never splits an escape; only `=\r` without its LF
        # swallows what follows, up to the next LF.
        *pieces, last = raw.split(_QP_CUT)
        texts: list[bytes] = []
        self._anchors: dict[int, int] = {}
        here = there = 0
        for piece in pieces:
            if piece.find(b"\r", piece.rfind(b"\n") + 1) >= 0:
                self._anchors.clear()
                self.text = binascii.a2b_qp(raw)
                return
            text = binascii.a2b_qp(piece + _QP_CUT)
            texts.append(text)
            there += len(text)
            here += len(piece) + len(_QP_CUT)
            self._anchors[there] = here
        texts.append(binascii.a2b_qp(last))
        self.text = b"".join(texts)

    def splice(self, spans: Sequence[Span], blanks: Sequence[int]) -> Splice:  # noqa: ARG002
        """As `Body.splice`; lines are kept short without blanks."""
        raw, anchors = self._raw, self._anchors
        cuts = iter(anchors.items())
        cut = next(cuts, None)
        here = there = 0  # a place in the raw part, and the same in the text
        found: list[Span] = []
        for start, end in spans:
            known = anchors.get(start)
            if known is None:
                while cut is not None and cut[0] <= start:
                    if cut[0] > there:
                        there, here = cut
                    cut = next(cuts, None)
                known = here = self._onwards(here, there, start)
            # Mostly a `"` follows; when what stands before it decodes to the right length, it is
            # the right one. (A `=` at the very end would be read otherwise with what follows.)
            here = raw.find(b'"', known)
            if (
                here < 0
                or len(binascii.a2b_qp(raw[known:here])) != end - start
                or raw[here - 1] == 0x3D
            ):
                here = self._onwards(known, start, end)
            there = end
            found.append((known, here))
        return _QuotedSplice(raw, found, self._eol)

    def _onwards(self, here: int, there: int, wanted: int) -> int:
        """Where the byte at `wanted` of the text begins in the raw part, from a known place on.

        That is right behind the byte before, so a soft break belongs to what follows it.
        """
        if there == wanted:
            return here
        raw = self._raw
        if wanted == len(self.text) and raw[-1:] != b"=":
            return len(raw)
        for token in _QP_TOKEN.finditer(raw, here):
            begin, behind = token.span()
            if there + begin - here >= wanted:
                break
            there += begin - here
            here = behind
            # A soft break, or an `=` that ends the part, is nothing; all else one byte.
            if raw[begin + 1 : begin + 2] not in {b"\n", b"\r", b""}:
                there += 1
                if there == wanted:
                    return here
        return here + wanted - there


class _QuotedSplice:
    """Joins quoted-printable; lines within 76 columns stay so, by soft breaks inside the gaps."""

    __slots__ = ("_eol", "_gaps", "_pieces", "_raw", "_spans")

    def __init__(self, raw: bytes, spans: Sequence[Span], eol: bytes) -> None:
        self._raw = raw
        self._spans = spans
        self._eol = b"=" + eol
        self._pieces = _between(raw, spans)
        # For each gap: columns before it (from the gap before when that is on the same line, then
        # negative minus one) and what must still fit behind it.
        self._gaps: list[tuple[int, int]] = []
        find, rfind = raw.find, raw.rfind
        previous = 0
        stops = [start for start, _ in spans[1:]]
        stops.append(len(raw))
        for (start, end), stop in zip(spans, stops, strict=False):
            newline = rfind(b"\n", previous, start)
            if newline >= 0:
                before = start - newline - 1
            else:
                before = previous - start - 1 if self._gaps else start
            newline = find(b"\n", end, stop)
            if newline >= 0:
                after = newline - end - (raw[newline - 1] == 0x0D and newline > end)
            else:
                after = stop - end + 1
            self._gaps.append((before, after))
            previous = end

    def join(self, values: Sequence[bytes | None], *, plain: bool = False) -> bytes:
        made: list[bytes] = []
        soft = self._eol
        column = 0
        for value, (before, after), (start, end) in zip(
            values, self._gaps, self._spans, strict=True
        ):
            column = before if before >= 0 else column - 1 - before
            if value is None:
                made.append(self._raw[start:end])
                column += end - start
                continue
            size = len(value)
            if (not plain or value[:1] == b"<") and value.translate(None, PLAIN):
                wrapped, column = _wrap_units(value, column, after, soft)
                made.append(wrapped)
            elif column + size + after <= QP_COLUMNS:
                made.append(value)
                column += size
            else:
                at = QP_COLUMNS - 1 - column if column < QP_COLUMNS else 0
                lines = [value[:at]]
                while at < size:
                    lines.append(value[at : at + QP_COLUMNS - 1])
                    at += QP_COLUMNS - 1
                column = len(lines[-1]) + (column if len(lines) == 1 else 0)
                if column + after > QP_COLUMNS:
                    lines.append(b"")
                    column = 0
                made.append(soft.join(lines))
        pieces = self._pieces.copy()
        pieces[1::2] = made
        return b"".join(pieces)


def _wrap_units(value: bytes, column: int, after: int, soft: bytes) -> tuple[bytes, int]:
    """`value` quoted, with soft breaks that never split an escape; and the last column."""
    value = _QP_UNSAFE.sub(lambda match: b"=%02X" % match[0][0], value)
    out = []
    for unit in _QP_UNIT.findall(value):
        if column + len(unit) > QP_COLUMNS - 1:
            out.append(soft)
            column = 0
        out.append(unit)
        column += len(unit)
    if column + after > QP_COLUMNS:
        out.append(soft)
        column = 0
    return b"".join(out), column


class Base64:
    """Base64 (RFC 2045 6.8), decoded strictly: whoever reads leniently might read otherwise."""

    __slots__ = ("_eol", "_tail", "_width", "text")

    def __init__(self, raw: bytes, eol: bytes) -> None:
        body = raw.rstrip(b"\r\n\t ")
        packed = body.translate(None, b"\r\n\t ")
        pad = len(packed) - len(packed.rstrip(b"="))
        try:
            self.text = binascii.a2b_base64(packed)
        except binascii.Error as error:
            raise Malformed("broken base64", field="body") from error
        if len(packed) % 4 or pad > 2 or len(self.text) != len(packed) // 4 * 3 - pad:
            raise Malformed("broken base64", field="body")
        newline = body.find(b"\n")
        first = body if newline < 0 else body[:newline].rstrip(b"\r\t ")
        self._width = len(first) if newline >= 0 else max(QP_COLUMNS, len(first))
        if not self._width:
            self._width = QP_COLUMNS
        self._eol = b"\r\n" if newline > 0 and body[newline - 1] == 0x0D else eol
        if newline > 0 and body[newline - 1] != 0x0D:
            self._eol = b"\n"
        self._tail = raw[len(body) :]

    def splice(self, spans: Sequence[Span], blanks: Sequence[int]) -> Splice:  # noqa: ARG002
        """As `Body.splice`; lines are kept short without blanks."""
        return _Base64Splice(self.text, spans, self._width, self._eol, self._tail)


class _Base64Splice:
    """Encodes the spliced text again, in lines of the width that the part had."""

    __slots__ = ("_eol", "_pieces", "_spans", "_tail", "_text", "_width")

    def __init__(
        self, text: bytes, spans: Sequence[Span], width: int, eol: bytes, tail: bytes
    ) -> None:
        self._text = text
        self._spans = spans
        self._width = min(width, MAX_LINE // 4 * 4)
        self._eol = eol
        self._tail = tail
        self._pieces = _between(text, spans)

    def join(self, values: Sequence[bytes | None], *, plain: bool = False) -> bytes:  # noqa: ARG002
        pieces = self._pieces.copy()
        _fill(pieces, values, self._text, self._spans)
        packed = binascii.b2a_base64(b"".join(pieces), newline=False)
        return _lines(packed, self._width, self._eol) + self._tail


def _lines(packed: bytes, width: int, eol: bytes) -> bytes:
    # One C call for 64 lines instead of a slice for each.
    block = _rows(width)
    whole = len(packed) // block.size * block.size
    rows = [row for rows in block.iter_unpack(memoryview(packed)[:whole]) for row in rows]
    rows += [packed[at : at + width] for at in range(whole, len(packed), width)]
    return eol.join(rows)


@lru_cache(64)
def _rows(width: int) -> struct.Struct:
    return struct.Struct(f"{width}s" * 64)


def _fill(
    pieces: list[bytes], values: Sequence[bytes | None], text: bytes, spans: Sequence[Span]
) -> None:
    if None in values:
        values = [
            text[start:end] if value is None else value
            for value, (start, end) in zip(values, spans, strict=True)
        ]
    pieces[1::2] = values  # type: ignore[assignment]


def _between(text: bytes, spans: Sequence[Span]) -> list[bytes]:
    """What stands between the spans, at even places; odd ones wait for the values."""
    pieces: list[bytes] = []
    at = 0
    for start, end in spans:
        pieces += (text[at:start], b"")
        at = end
    pieces.append(text[at:])
    return pieces
