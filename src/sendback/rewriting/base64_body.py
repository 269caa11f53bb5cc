"""Base64 (RFC 2045 6.8): its bytes can't stay, so the text is encoded anew in lines as wide."""

import binascii
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from sendback.errors import Malformed
from sendback.rewriting.bodies import MAX_LINE, QP_COLUMNS, Span, Splice, between, fill

#: A JSON string of base64 is what msgspec decodes strictly, at a third of the cost of binascii.
_unpack: Final = msgspec.json.Decoder(bytes).decode


class Base64:
    """Base64 (RFC 2045 6.8), decoded strictly: whoever reads leniently might read otherwise."""

    __slots__ = ("_eol", "_tail", "_width", "text")

    def __init__(self, raw: bytes, eol: bytes) -> None:
        body = raw.rstrip(b"\r\n\t ")
        packed = body.translate(None, b"\r\n\t ")
        pad = len(packed) - len(packed.rstrip(b"="))
        try:
            if b"\\" in packed:  # the decoder below would take it for an escape
                raise Malformed("broken base64", field="body")
            self.text = _unpack(b'"%b"' % packed)
        except msgspec.DecodeError as error:
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
        self._pieces = between(text, spans)

    def join(
        self,
        values: Sequence[bytes | None],
        *,
        plain: bool = False,  # noqa: ARG002
    ) -> tuple[bytes, Sequence[int]]:
        """As `Splice.join`; nothing is left, since its lines can always be broken."""
        pieces = self._pieces.copy()
        fill(pieces, values, self._text, self._spans)
        packed = binascii.b2a_base64(b"".join(pieces), newline=False)
        return _lines(packed, self._width, self._eol) + self._tail, ()


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
