"""An address is found as a whole, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendback.model.mention import Mention

ANN = Mention("Ann+x@mail.example.org")


@pytest.mark.parametrize(
    "text",
    [
        "ann+x@mail.example.org",
        "<ANN+X@Mail.Example.ORG>",
        "To: a@b, ann+x@mail.example.org.",
        "https://x/?email=ann%2Bx%40mail.example.org&y=1",
        "https://x/?u=%3Dann+x%40mail.example.org",
        '{"email":"ann+x@mail.example.org"}',
        "mailto:ann+x@mail.example.org?subject=x",
        b"\xff\xfe <ann+x@mail.example.org>",
        "rfc822;ann+x@mail.example.org",
    ],
)
def test_it_is_named(text):
    assert ANN.is_in(text)
    raw = text if isinstance(text, bytes) else text.encode()
    assert not ANN.is_in(ANN.redact(raw))


@pytest.mark.parametrize(
    "text",
    [
        "joann+x@mail.example.org",
        "jo.ann+x@mail.example.org",
        "ann+x@mail.example.org.uk",
        "ann+x@mail.example.organ",
        "ann+x@mail.example.org-net.example",
        "annx@mail.example.org",
        "ann+x@mailXexample.org",
    ],
)
def test_it_is_not_named(text):
    assert not ANN.is_in(text)
    assert ANN.redact(text.encode()) == text.encode()


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_what_does_not_name_it_stays_byte_for_byte(before, after):
    text = before + b" ann+x@mail.example.org " + after
    assert ANN.redact(text) == before + b" erased@invalid " + after
