"""Quoted-printable (RFC 2045 6.7): splices that keep every encoded byte outside the gaps."""

import binascii
import re
from collections.abc import Sequence
from typing import Final

from sendback.rewriting.bodies import PLAIN, QP_COLUMNS, Span, Splice, between

#: What `binascii.a2b_qp` makes of an `=`, which is what mail readers do: soft breaks vanish, a
#: doubled or stray `=` is one byte.
_QP_TOKEN: Final = re.compile(rb"=(?:\n|\r[^\n]*+\n?+|=|[0-9A-Fa-f]{2}|)")
_QP_CUT: Final = b'href=3D"'
_QP_UNSAFE: Final = re.compile(rb"[^!-<>-~ ]")


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
        self._pieces = between(raw, spans)
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

    def join(
        self, values: Sequence[bytes | None], *, plain: bool = False
    ) -> tuple[bytes, Sequence[int]]:
        """As `Splice.join`; nothing is left, since its lines can always be broken."""
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
                if 0 < size - at < QP_COLUMNS - after:  # nearly always: one soft break will do
                    made.append(value[:at] + soft + value[at:])
                    column = size - at
                    continue
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
        return b"".join(pieces), ()


def _wrap_units(value: bytes, column: int, after: int, soft: bytes) -> tuple[bytes, int]:
    """`value` quoted, with soft breaks that never split an escape; and the last column."""
    value = _QP_UNSAFE.sub(lambda match: b"=%02X" % match[0][0], value)
    lines = []
    at, size = 0, len(value)
    while (end := at + max(0, QP_COLUMNS - 1 - column)) < size:
        if end > at and value[end - 1] == 0x3D:
            end -= 1
        elif end > at + 1 and value[end - 2] == 0x3D:
            end -= 2
        lines.append(value[at:end])
        at = end
        column = 0
    lines.append(value[at:])
    column += size - at
    if column + after > QP_COLUMNS:
        lines.append(b"")
        column = 0
    return soft.join(lines), column
