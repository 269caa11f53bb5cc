"""The compact record: exact both ways, and refusing what it does not know."""

import hashlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendback.errors import Malformed
from sendback.metadata import dictionary, record
from sendback.model import LinkFacts, LinkKind, MessageFacts, Privacy, TrackingData

NOW = 1_795_514_400
DAILY = MessageFacts(
    email="anna@example.org", listid="news", sendid="news20261124", mail_class="News", tagged_at=NOW
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
MESSAGES = st.builds(
    MessageFacts,
    email=TEXT,
    listid=TEXT,
    sendid=st.one_of(TEXT, st.just("news20261124")),
    click_tracking_id=TEXT,
    mail_class=st.one_of(TEXT, st.just("News"), st.just("news")),
    url_domain=TEXT,
    instance_id=TEXT,
    tagged_at=st.one_of(st.just(NOW), st.integers(0, (1 << 32) - 1)),
    privacy=st.sampled_from(Privacy),
    html_links=st.integers(0, 1 << 20),
    text_links=st.integers(0, 300),
)
LINKS = st.builds(
    LinkFacts,
    url=st.one_of(TEXT, TEXT.map("https://".__add__), TEXT.map("http://www.".__add__)),
    kind=st.sampled_from(LinkKind),
    link_id=TEXT,
    pos=st.integers(0, 1 << 40),
    universal=st.booleans(),
    html_or_text=st.sampled_from("ht"),
)


@settings(max_examples=200)
@given(MESSAGES, st.none() | LINKS)
def test_decode_is_the_inverse_of_encode(message, link):
    body = record.encode(message, link)

    assert record.decode(body) == TrackingData(message, link)
    if link is not None:
        assert record.decode_link(body)[0] == link


@settings(max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_malformed(body):
    """Signed by us or not, nothing but Malformed comes out, and never a guess."""
    try:
        data = record.decode(body)
    except Malformed:
        return
    assert record.decode(record.encode(data.message, data.link)) == data


def test_usual_values_take_no_room():
    assert len(record.encode(DAILY)) == 1 + 1 + 4 + 1 + 16 + 1 + 4 + 1
    assert len(record.encode_link(LinkFacts(url="https://www.example.com/"))) == 2 + 1 + 12


@pytest.mark.parametrize("cut", range(1, 40))
def test_every_cut_is_refused(cut):
    body = record.encode(DAILY, LinkFacts(url="https://example.com/x", pos=300, link_id="id"))
    with pytest.raises(Malformed, match="newer"):
        record.decode(body[:cut])


def test_what_a_newer_version_adds_is_refused_not_misread():
    body = record.encode(DAILY, LinkFacts(url="https://example.com/x"))

    for altered in (body + b"\0", bytes((body[0] | 0x80,)) + body[1:], bytes((7,)) + body[1:],
                    body[:1] + b"\x09" + body[2:], b"\xfe" + body[1:], b""):  # fmt: skip
        with pytest.raises(Malformed, match="newer"):
            record.decode(altered)


@pytest.mark.parametrize(
    ("html_links", "text_links", "end"),
    [(0, 0, b""), (20, 0, b"\x14"), (0, 3, b"\0\x03"), (200, 1, b"\xc8\x01\x01")],
)
def test_the_number_of_links_ends_a_record(html_links, text_links, end):
    counted = msgspec.structs.replace(DAILY, html_links=html_links, text_links=text_links)

    assert record.encode(counted) == record.encode(DAILY) + end
    assert record.decode(record.encode(counted)).message == counted


@pytest.mark.parametrize("end", [b"\0", b"\x05\0", b"\0\0", b"\x05\x05\x05", b"\x80", b"\x80\0"])
def test_a_number_of_links_has_one_spelling(end):
    with pytest.raises(Malformed, match="newer"):
        record.decode(record.encode(DAILY) + end)


@pytest.mark.parametrize(
    "message", [MessageFacts(email="a", tagged_at=-1), MessageFacts(email="a", tagged_at=1 << 32)]
)
def test_times_that_do_not_fit(message):
    with pytest.raises(Malformed, match="tagged_at"):
        record.encode(message)


def test_2038_is_not_the_end():
    late = MessageFacts(email="a@b.c", tagged_at=(1 << 32) - 1)
    assert record.decode(record.encode(late)).message == late


@given(st.integers(0, (1 << 63) - 1))
def test_numbers(number):
    encoded = record.encode_number(number)

    assert record.decode_number(encoded + b"rest", 0) == (number, len(encoded))
    assert len(encoded) == max(1, -(-number.bit_length() // 7))


def test_numbers_that_never_end():
    with pytest.raises(Malformed):
        record.decode_number(b"\xff" * 40, 0)


# -- deflate with the preset dictionary ------------------------------------------------------------


@settings(max_examples=200)
@given(st.binary(max_size=3000))
def test_inflate_is_the_inverse_of_deflate(body):
    assert dictionary.inflate(dictionary.deflate(body)) == body


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_what_does_not_inflate_is_malformed(junk):  # 7A 19
    try:
        dictionary.inflate(junk)
    except Malformed:
        pass
    else:
        assert len(dictionary.inflate(junk)) <= dictionary.MAX_INFLATED


def test_a_bomb_is_not_inflated():  # 7A 17
    bomb = dictionary.deflate(bytes(10_000_000))

    assert len(bomb) < 50_000
    with pytest.raises(Malformed, match="16 KB"):
        dictionary.inflate(bomb)
    with pytest.raises(Malformed):
        dictionary.inflate(dictionary.deflate(b"body") + b"more")


def test_the_dictionary_never_changes():
    """Links sealed with it live for years. A better one is a new token version."""
    assert hashlib.sha256(dictionary.DICTIONARY_1).hexdigest() == (
        "b577fce4b5305979790f1e848df576230f1915f0c5108be6a91e7b740ebd5c8d"
    )
