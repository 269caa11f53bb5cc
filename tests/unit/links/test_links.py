"""Tracking URLs, both ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendback import links
from sendback.errors import Malformed
from sendback.secret_constants import Purpose

TOKEN = st.text("ABCXYZabcxyz019-_", min_size=1, max_size=60)


@given(st.sampled_from(sorted(links.PATHS)), TOKEN)
def test_parse_is_the_inverse_of_build(purpose, token):
    url = links.build("https://links.example.com", purpose, token)

    assert links.parse(url) == (purpose, token.encode())
    assert links.parse(url + "&fbclid=1&x=2#top") == (purpose, token.encode())
    assert links.parse(url + "=") == (purpose, token.encode())


def test_the_forms():  # S4.13, S4.22
    base = "http://t.example:8080"

    assert links.build(base, Purpose.CLICK, "abc") == "http://t.example:8080/click?abc"
    assert links.build(base, Purpose.UNI, "abc") == "http://t.example:8080/uni/click?abc"
    assert links.build(base, Purpose.OPEN, "abc") == "http://t.example:8080/open?abc"
    assert links.build(base, Purpose.UNSUB, "abc") == "http://t.example:8080/unsub?abc"


@pytest.mark.parametrize(
    "url",
    ["", "click?abc", "https://d/click", "https://d/click?", "https://d/click?&a=b", "ftp://d/click?a",
     "https://d/clicks?a", "https:///click?a", "https://d/click/?a", "javascript:click?a"],
)  # fmt: skip
def test_what_is_no_tracking_url(url):
    with pytest.raises(Malformed):
        links.parse(url)


@pytest.mark.parametrize(
    ("query", "token"),
    [(b"abc", b"abc"), ("abc&x=1", b"abc"), (b"abc=", b"abc"), (b"abc==", b"abc="), (b"", b""),
     ("ab\u00e9", b"ab?"), (b"&abc", b""), (b"abc=&d", b"abc")],
)  # fmt: skip
def test_the_token_is_the_query_up_to_the_first_ampersand(query, token):
    assert links.token_of_query(query) == token
