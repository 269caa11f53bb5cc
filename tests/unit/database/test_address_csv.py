"""Lists of addresses, with and without a header."""

import pytest

from sendback.database.address_csv import Address, read_addresses
from sendback.errors import Malformed


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a@x.example", "", " b@x.example , News"], [("a@x.example",), ("b@x.example", "News")]),
        (["\ufefflistid,x,email", "l,1,a@x.example"], [("a@x.example", "l")]),
        (["Email", "a@x.example"], [("a@x.example",)]),
        (["email,reason", "a@x.example,scomp"], [("a@x.example", "", "scomp")]),
        (['"a,b"@x.example', 'c@x.example,"l"'], [("a,b@x.example",), ("c@x.example", "l")]),
        ([], []),
    ],
)
def test_what_is_read(lines, expected):
    assert list(read_addresses(lines)) == [Address(*one) for one in expected]


@pytest.mark.parametrize(
    "lines", [["a@x.example", "oops"], ["email,listid", ",l"], ["a@x.example," + "x" * 70_000]]
)
def test_what_is_no_list_names_its_line(lines):
    with pytest.raises(Malformed, match="line"):
        list(read_addresses(lines))
