"""7bit, 8bit and binary: text and raw bytes are the same, and lines must stay within 998 octets."""

from collections.abc import Sequence
from typing import NamedTuple

from sendback.rewriting.bodies import MAX_LINE, Span, Splice, between, fill


class Identity:
    """A body whose text is its raw bytes."""

    __slots__ = ("_eol", "text")

    def __init__(self, raw: bytes, eol: bytes) -> None:
        self.text = raw
        self._eol = eol

    def splice(self, spans: Sequence[Span], blanks: Sequence[int]) -> Splice:
        """As `Body.splice`."""
        return _IdentitySplice(self.text, spans, blanks, self._eol)


class _Line(NamedTuple):
    """A line that holds gaps and is short enough to be kept so."""

    first: int
    behind: int  # one past the last gap
    room: int  # octets that it may grow by
    start: int
    end: int


_new = tuple.__new__  # a third of the time of calling the class


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
        self._pieces = between(text, spans)
        self._lines: list[_Line] = []
        first = room = line_start = 0
        line_end = -1
        self._room = MAX_LINE * 2  # values of up to so many octets always find their place
        for index, (start, end) in enumerate(spans):
            if start <= line_end:
                self._lines[-1] = _new(_Line, (first, index + 1, room, line_start, line_end))
                if room // (index + 1 - first) < self._room:
                    self._room = room // (index + 1 - first)
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
            first = index
            self._lines.append(_new(_Line, (index, index + 1, room, line_start, line_end)))
            if room < self._room:
                self._room = room

    def join(
        self,
        values: Sequence[bytes | None],
        *,
        plain: bool = False,  # noqa: ARG002
    ) -> tuple[bytes, Sequence[int]]:
        """As `Splice.join`."""
        pieces, left = self._filled(values)
        return b"".join(pieces), left

    def _filled(self, values: Sequence[bytes | None]) -> tuple[list[bytes], Sequence[int]]:
        """All pieces, and the gaps that keep what was there."""
        pieces = self._pieces.copy()
        fill(pieces, values, self._text, self._spans)
        if max(map(len, pieces[1::2]), default=0) <= self._room:
            return pieces, ()
        left: list[int] = []
        for line in self._lines:
            grown = -line.room
            for index in range(line.first, line.behind):
                start, end = self._spans[index]
                grown += len(pieces[2 * index + 1]) - end + start
            if grown > 0:
                left += self._break_line(pieces, line)
        return pieces, left

    def _break_line(self, pieces: list[bytes], line: _Line) -> list[int]:
        """Puts line ends in place of blanks so that the line stays within 998 octets.

        Gaps whose text fits in no line keep what was there; which they are is the answer.
        """
        text, spans = self._text, self._spans
        stretches: list[tuple[int, list[int]]] = [(line.start, [])]  # from a blank to the next
        at = line.start
        for index in range(line.first, line.behind):
            blank = self._blanks[index]
            if blank >= at and text[blank] == 0x20:
                stretches.append((blank + 1, []))
            stretches[-1][1].append(index)
            at = spans[index][1]
        stops = [begin - 1 for begin, _ in stretches[1:]]
        stops.append(line.end - (text[line.end - 1 : line.end] == b"\r"))
        left = []
        column = -1
        for (begin, gaps), stop in zip(stretches, stops, strict=True):
            grown = {gap: len(pieces[2 * gap + 1]) - spans[gap][1] + spans[gap][0] for gap in gaps}
            while stop - begin + sum(grown.values()) > MAX_LINE:
                widest = max(grown, key=grown.__getitem__)
                pieces[2 * widest + 1] = text[slice(*spans[widest])]
                grown[widest] = 0
                left.append(widest)
            size = stop - begin + sum(grown.values())
            if column + 1 + size > MAX_LINE:
                before = pieces[2 * gaps[0]]
                blank = len(before) - (spans[gaps[0]][0] - begin) - 1
                pieces[2 * gaps[0]] = before[:blank] + self._eol + before[blank + 1 :]
                column = -1
            column += 1 + size
        return left
