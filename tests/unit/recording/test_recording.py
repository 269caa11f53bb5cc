"""Recording: what is kept of a visit, what a Location is, how ids join the sender's query."""

import re
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendback.errors import Forged, NotFound, Unavailable
from sendback.journal import Journal, JournalReader, Level
from sendback.model import (
    CapturedMail,
    Catalog,
    LinkFacts,
    LinkKind,
    MessageFacts,
    TrackingData,
    Visit,
    VisitKind,
)
from sendback.recording import Recording, Visitor, destination_host, location_of, merge_query
from sendback.secret_constants import Purpose

LEVELS = {VisitKind.CLICK: Level.DISK, VisitKind.OPEN: Level.OS, VisitKind.UNSUB: Level.DISK}
VISITOR = Visitor("192.0.2.1", "agent", 8, "links.example.com")


class Metadata:
    """One link for every token but `bad`."""

    def __init__(self, url: str = "https://x.example/", kind: LinkKind = LinkKind.CLICK) -> None:
        self.facts = LinkFacts(url=url, kind=kind)
        self.gone: Exception | None = None
        """Why the message is not there."""

    def link(self, purpose: Purpose, token: bytes) -> LinkFacts:
        if token == b"bad":
            raise Forged("bad MAC")
        return self.facts

    find = link

    def verify(self, purpose: Purpose, token: bytes) -> None:
        self.link(purpose, token)

    def resolve(self, purpose: Purpose, token: bytes) -> TrackingData:
        if self.gone is not None:
            raise self.gone
        return TrackingData(MessageFacts(email="a@b.example", sendid="s", listid="l"), self.facts)


def test_a_visit_is_in_the_journal_before_the_answer(tmp_path):
    journal = Journal(tmp_path, name="web")
    recording = Recording(Metadata(), journal, LEVELS, Catalog, clock=lambda: 1_790_000_000.5)

    assert recording.click(Purpose.UNI, b"token", VISITOR) == "https://x.example/"
    recording.open(b"token", VISITOR)
    recording.unsubscribe(b"token", VISITOR, must_keep=True)
    journal.close()

    decode = msgspec.msgpack.Decoder(Visit | CapturedMail).decode
    visits = [decode(record.payload) for record in JournalReader(tmp_path).read()]
    assert [visit.kind for visit in visits] == [VisitKind.CLICK, VisitKind.OPEN, VisitKind.UNSUB]
    for visit in visits:
        assert (visit.token, visit.ip, visit.user_agent) == (b"token", "192.0.2.1", "agent")
        assert (visit.hints, visit.host, visit.time_ms) == (8, "links.example.com", 1790000000500)
    assert len({visit.record_id for visit in visits}) == 3
    assert {visit.record_id[6] >> 4 for visit in visits} == {7}


def test_nothing_is_kept_of_a_forged_token():
    recording = Recording(Metadata(), _NoJournal(), LEVELS, Catalog)

    for call in (
        lambda: recording.click(Purpose.CLICK, b"bad", VISITOR),
        lambda: recording.open(b"bad", VISITOR),
        lambda: recording.unsubscribe(b"bad", VISITOR, must_keep=True),
    ):
        with pytest.raises(Forged):
            call()


def test_without_a_visitor_nothing_is_kept():
    recording = Recording(Metadata(), _NoJournal(), LEVELS, Catalog)

    recording.click(Purpose.CLICK, b"token", None)
    recording.open(b"token", None)
    recording.unsubscribe(b"token", None, must_keep=True)


def test_only_who_asks_for_a_receipt_hears_of_a_full_disk():
    recording = Recording(Metadata(), _NoJournal(Unavailable("full")), LEVELS, Catalog)

    recording.click(Purpose.CLICK, b"token", VISITOR)
    recording.unsubscribe(b"token", VISITOR, must_keep=False)
    with pytest.raises(Unavailable):
        recording.unsubscribe(b"token", VISITOR, must_keep=True)
    assert recording.counters() == {"visits_late": 0, "visits_lost": 3}


@pytest.mark.parametrize("block", ["evil.example", "EVIL.example", "s"])
def test_a_block_by_host_or_send_is_not_found_and_not_kept(block):
    metadata = Metadata("https://user@EVIL.example.:8443\\@good.example/")
    recording = Recording(metadata, _NoJournal(), LEVELS, lambda: Catalog(blocks=(block,)))

    with pytest.raises(NotFound):
        recording.click(Purpose.CLICK, b"token", VISITOR)


@pytest.mark.parametrize("reason", [NotFound("pruned"), Unavailable("down")])
def test_a_message_that_is_not_known_is_of_no_blocked_send(reason):
    """A block of one host or send must not break the links of all whose message was pruned."""
    metadata = Metadata()
    metadata.gone = reason
    recording = Recording(
        metadata, _NoJournal(), LEVELS, lambda: Catalog(blocks=("s", "y.example"))
    )

    assert recording.click(Purpose.CLICK, b"token", None) == "https://x.example/"
    assert recording.unsubscribe(b"token", None, must_keep=False) == "https://x.example/"


@pytest.mark.parametrize(
    ("sendid", "blocks", "answer"),
    [
        ("s", ("other",), "https://x.example/"),
        ("s", ("s",), "links of this send are blocked"),
        ("s", ("x.example",), "links to this host are blocked"),
        (None, ("s",), "https://x.example/"),
    ],
)
def test_a_click_that_was_asked_for_is_blocked_by_what_came_with_it(sendid, blocks, answer):
    class Asked(Metadata):
        def find(self, purpose: Purpose, token: bytes):
            return self

        def resolve(self, purpose: Purpose, token: bytes) -> TrackingData:
            raise AssertionError("asked again, in the thread of all who wait")

        def start(self, then, fail, *, with_message=False) -> None:
            assert with_message
            message = MessageFacts(email="a@b.example", sendid=sendid) if sendid else None
            try:
                then(self.facts, message)
            except NotFound as error:
                fail(error)

    heard: list[object] = []
    recording = Recording(Asked(), _NoJournal(), LEVELS, lambda: Catalog(blocks=blocks))

    recording.click_then(Purpose.CLICK, b"token", None, heard.append, heard.append)

    assert [str(one) for one in heard] == [answer]


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://x.example/a?b=c&d=%41%zz+e#f", None),
        ("HTTPS://X.example/", None),
        ("http://x.example/\"<>\\^`{|}'()[]", None),
        ("https://x.example/a b", "https://x.example/a%20b"),
        ("https://x.example/ä?ö=ü#€", "https://x.example/%C3%A4?%C3%B6=%C3%BC#%E2%82%AC"),
        ("https://bücher.example/", "https://b%C3%BCcher.example/"),
        ("https://x.example/\x00\t\r\n\x1b\x7f\x80", "https://x.example/%00%09%0D%0A%1B%7F%C2%80"),
        ("https://x.example/\ud800", "https://x.example/%3F"),
    ],
)
def test_a_location_changes_nothing_it_need_not(url, location):  # R20, R49
    assert location_of(url) == (location or url)


@pytest.mark.parametrize(
    "url",
    ["", "javascript:alert(1)", "data:text/html,x", "//evil.example", "https:/x", "https:x.example",
     "ftp://x.example", " https://x.example", "https\n://x", "mailto:a@b", "httpsx://a", "/click"],
)  # fmt: skip
def test_no_other_scheme_is_a_destination(url):  # W1, A20
    with pytest.raises(Forged):
        location_of(url)


@given(st.text())
def test_a_location_is_printable_ascii_and_keeps_every_octet(tail):  # W7
    location = location_of("https://x.example/" + tail)

    assert re.fullmatch(r"[\x21-\x7e]+", location)
    expected = re.sub(r"[\ud800-\udfff]", "?", tail).encode()
    encoded = location.removeprefix("https://x.example/")
    assert unquote_to_bytes(encoded.replace("%", "%25") if "%" not in encoded else encoded) == (
        unquote_to_bytes(expected)
    )


PAIRS = [("email", "a+b@c.example"), ("sendid", "s 1"), ("listid", "")]
OURS = "email=a%2Bb%40c.example&sendid=s%201&listid="


@pytest.mark.parametrize(
    ("url", "merged"),
    [
        ("https://x.example", f"https://x.example?{OURS}"),
        ("https://x.example/", f"https://x.example/?{OURS}"),
        ("https://x.example/?", f"https://x.example/?{OURS}"),
        ("https://x.example/?a=b", f"https://x.example/?a=b&{OURS}"),
        ("https://x.example/?a=b&", f"https://x.example/?a=b&{OURS}"),
        ("https://x.example/#f?g", f"https://x.example/?{OURS}#f?g"),
        ("https://x.example/?a=b#f", f"https://x.example/?a=b&{OURS}#f"),
        ("https://x.example/?a=?#", f"https://x.example/?a=?&{OURS}#"),
        (
            "https://x.example/?email=own&LISTID=x",
            "https://x.example/?email=own&LISTID=x&sendid=s%201&listid=",
        ),
        ("https://x.example/?email&sendid=&listid=l", None),
    ],
)
def test_ids_join_the_senders_query_before_the_fragment(url, merged):  # R23
    assert merge_query(url, PAIRS) == (merged or url)


@given(st.text(alphabet="ab?&#=/%", max_size=30), st.text(max_size=20), st.text(max_size=20))
def test_what_the_sender_wrote_stays_and_ours_comes_back(tail, email, sendid):
    url = "https://x.example/" + tail.replace("email", "")
    email, sendid = (text.encode(errors="ignore").decode() for text in (email, sendid))

    merged = merge_query(url, [("email", email), ("sendid", sendid)])

    before, hash_mark, fragment = url.partition("#")
    assert merged.startswith(before)
    assert merged.endswith(hash_mark + fragment)
    query = parse_qsl(urlsplit(merged).query, keep_blank_values=True)
    assert query[-2:] == [("email", email), ("sendid", sendid)]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://A.example:443/x", "a.example"),
        ("https://a.example.?x@y", "a.example"),
        ("https://u:p@a.example#x", "a.example"),
        ("https://a.example\\@b.example", "a.example"),
        ("https:///a.example/", "a.example"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://[::1]:80/", "[::1]:80"),
        ("https://" + "ü" * 80, "ü" * 80),
        ("mailto:x", ""),
    ],
)
def test_the_host_that_a_browser_would_ask(url, host):
    assert destination_host(url) == host


class _NoJournal:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or AssertionError("nothing was to be kept")

    def append(self, payload: bytes, *, level: Level, timeout: float | None = None) -> bool:
        raise self.error


def test_the_deadlines_add_up_to_270_ms():
    """Issue 5: no answer later than that; what is over 260 is left to the machine."""
    from sendback.journal import later
    from sendback.recording import JOURNAL_TIMEOUT_S

    assert JOURNAL_TIMEOUT_S + later._TICK_S <= 0.26
