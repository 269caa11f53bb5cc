"""Soft breaks in what is put into quoted-printable: as late as they can be, never in an escape."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from sendback.rewriting.quoted_printable import _wrap_units

SOFT = b"=\r\n"
MARKUP = st.one_of(
    st.binary(max_size=400),
    st.text('<img src="=?&"> abc/', max_size=400).map(str.encode),
    st.text("a=", min_size=60, max_size=170).map(str.encode),
)


def unit_by_unit(value: bytes, column: int, after: int) -> tuple[bytes, int]:
    """What must come out, the slow way."""
    quoted = re.sub(rb"[^!-<>-~ ]", lambda match: b"=%02X" % match[0][0], value)
    out = []
    for unit in re.findall(rb"=..|[^=]", quoted, re.DOTALL):
        if column + len(unit) > 75:
            out.append(SOFT)
            column = 0
        out.append(unit)
        column += len(unit)
    if column + after > 76:
        out.append(SOFT)
        column = 0
    return b"".join(out), column


@settings(max_examples=500)
@given(MARKUP, st.integers(0, 90), st.integers(0, 90))
def test_markup_is_cut_between_units(value, column, after):
    assert _wrap_units(value, column, after, SOFT) == unit_by_unit(value, column, after)
