"""Bounce addresses, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendback import verp
from sendback.errors import Malformed

TOKEN = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=1, max_size=56)


@given(st.sampled_from(["bounce@d.example", "b.o-u_n=ce@x.y", "r@d"]), TOKEN, st.booleans())
def test_split_is_the_inverse_of_build_in_any_case(mailbox, token, shouting):
    if len(token) > 63 - len(mailbox.partition("@")[0]):
        token = token[:50]
    address = verp.build(mailbox, token)

    assert verp.split(address.upper() if shouting else address) == (mailbox, token)
    assert len(address.rpartition("@")[0]) <= 64


@pytest.mark.parametrize(
    ("address", "parts"),
    [("bounce@d", ("bounce@d", "")), ("<Bounce+AbC@D>", ("bounce@d", "abc")), ("", ("", "")),
     ("bounce+@d", ("bounce@d", "")), ("bounce+a+b@d", ("bounce@d", "a+b")), ("nothing", ("", ""))],
)  # fmt: skip
def test_split_never_raises(address, parts):
    if address == "nothing":
        assert verp.split(address)[1] == ""
    else:
        assert verp.split(address) == parts


@pytest.mark.parametrize("mailbox", ["bounce", "@d", "a+b@d", "x" * 20 + "@d"])
def test_mailboxes_that_can_not_carry_a_token(mailbox):
    with pytest.raises(Malformed):
        verp.build(mailbox, "a" * 45)
