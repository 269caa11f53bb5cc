"""What every storage of event tracking metadata promises: one suite, run on each back-end.

Tagging and answering happen in different processes, so each test has a `sender` and a `reader`.
"""

import base64
import contextlib
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.postgres import Postgres
from sendback import tokens
from sendback.errors import Forged, Malformed, NotFound, SendbackError
from sendback.metadata import Metadata
from sendback.metadata.external import ExternalStore
from sendback.metadata.external_table import SCHEMA
from sendback.metadata.local import LocalStore
from sendback.model import LinkFacts, LinkKind, MessageFacts, Privacy, Storage, TrackingData
from sendback.secret_constants import Keyring, Purpose

RING = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64)))
NOW = 1_795_514_400
MESSAGE = MessageFacts(
    email="Anna.Kowalska@example.org",
    listid="newsletter",
    sendid="newsletter20261124",
    click_tracking_id="42",
    mail_class="Newsletter",
    url_domain="links.example.com",
    instance_id="spring",
    tagged_at=NOW,
    privacy=Privacy.TRUNCATE_IP,
)
LINKS = (
    LinkFacts(url="https://www.example.com/a?utm_source=x&id=1#top", pos=1),
    LinkFacts(url="http://example.com/", pos=2, link_id="foot ä", html_or_text="t"),
    LinkFacts(url="https://example.com/app", pos=3, universal=True),
    LinkFacts(url="https://example.com/u?l=1", kind=LinkKind.UNSUB_BODY_REDIRECT, pos=4),
    LinkFacts(url="https://example.com/u?l=1", kind=LinkKind.UNSUB_BODY_CONFIRM, pos=5),
    LinkFacts(url="https://example.com/trap", kind=LinkKind.HONEYPOT),
)
MESSAGE_PURPOSES = {
    "open_token": Purpose.OPEN,
    "mailto_token": Purpose.MAILTO,
    "feedback_id": Purpose.FEEDBACK,
}


@dataclass
class Fleet:
    storage: Storage
    sender: Metadata
    reader: Metadata
    log: list[str] = field(default_factory=list)

    def issue(self, *links: LinkFacts, message: MessageFacts = MESSAGE):
        issued = self.sender.issue(self.storage, message, links)
        assert issued.storage is self.storage, self.log
        return issued

    def link_token(self, link: LinkFacts, message: MessageFacts = MESSAGE) -> tuple[Purpose, bytes]:
        ((purpose, token),) = self.issue(link, message=message).link_tokens
        return purpose, token.encode()


@pytest.fixture(
    params=[
        "stateless", "plain", "local", pytest.param("external", marks=pytest.mark.postgres),
    ]
)  # fmt: skip
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    log: list[str] = []
    stores: list[dict[str, object]] = [{}, {}]
    storage = Storage.STATELESS
    if request.param == "plain":
        stores = [{"compress": False}, {}]
    elif request.param == "local":
        storage = Storage.LOCAL
        path = tmp_path / "metadata.sqlite"
        stores = [{"local": LocalStore(path)}, {"local": LocalStore(path, readonly=True)}]
    elif request.param == "external":
        storage = Storage.EXTERNAL
        server: Postgres = request.getfixturevalue("postgres_server")
        dsn = server.new_database()
        server.execute(SCHEMA, dsn.partition("dbname=")[2].split()[0])
        stores = [
            {"external": ExternalStore(dsn, send_deadline=10, click_deadline=10)} for _ in range(2)
        ]
    sender, reader = (Metadata(RING, clock=lambda: NOW, log=log.append, **s) for s in stores)
    yield Fleet(storage, sender, reader, log)
    sender.close()
    reader.close()


def test_a_link_leads_where_it_led(fleet):  # S4.5, S4.10, S4.12
    issued = fleet.issue(*LINKS)

    for link, (purpose, token) in zip(LINKS, issued.link_tokens, strict=True):
        assert fleet.reader.link(purpose, token.encode()) == link
        assert fleet.reader.resolve(purpose, token.encode()) == TrackingData(MESSAGE, link)
        fleet.reader.verify(purpose, token.encode())
    assert [purpose for purpose, _ in issued.link_tokens] == [
        Purpose.CLICK, Purpose.CLICK, Purpose.UNI, Purpose.UNSUB, Purpose.UNSUB, Purpose.CLICK,
    ]  # fmt: skip


def test_the_message_s_own_tokens(fleet):  # S4.12
    issued = fleet.issue(*LINKS)

    for name, purpose in MESSAGE_PURPOSES.items():
        token = getattr(issued, name).encode()
        assert fleet.reader.resolve(purpose, token) == TrackingData(MESSAGE, None)
    header = fleet.reader.resolve(Purpose.UNSUB, issued.unsub_token.encode())
    assert header.message == MESSAGE
    assert header.link == LinkFacts(url="", kind=LinkKind.UNSUB_HEADER)
    assert fleet.reader.link(Purpose.UNSUB, issued.unsub_token.encode()) == header.link


def test_how_many_links_a_message_has(fleet):
    """Each storage knows it, by the message or by the rows of its send; for its own part only."""
    text = [LinkFacts(url=f"https://example.com/t/{n}", pos=n, html_or_text="t") for n in (5, 6, 7)]
    html = [LinkFacts(url=f"https://example.com/h/{n}", pos=n) for n in (1, 2, 3, 4)]
    trap = LinkFacts(url="https://links.example.com/robots.txt", kind=LinkKind.HONEYPOT)
    counted = msgspec.structs.replace(MESSAGE, html_links=4, text_links=3)
    issued = fleet.issue(*html, *text, trap, message=counted)

    for link, (purpose, token) in zip([*html, *text, trap], issued.link_tokens, strict=True):
        data = fleet.reader.resolve(purpose, token.encode())
        assert data.link == link
        assert data.message.email == MESSAGE.email
        expected = 3 if link.html_or_text == "t" else 4
        assert fleet.reader.links_in_message(token.encode(), data) == expected
    opened = fleet.reader.resolve(Purpose.OPEN, issued.open_token.encode())
    assert opened == TrackingData(MESSAGE, None), "an open needs no count, and pays for none"
    assert fleet.reader.links_in_message(issued.open_token.encode(), opened) is None
    if fleet.storage is not Storage.LOCAL:
        ((purpose, token),) = fleet.issue(html[0]).link_tokens
        data = fleet.reader.resolve(purpose, token.encode())
        assert fleet.reader.links_in_message(token.encode(), data) is None, "nobody counted"


@pytest.mark.parametrize("count", [1, 20, 127, 128, 5000])
def test_what_the_number_of_links_costs(fleet, count):
    """In a link's length: nothing, but for stateless two bytes at most of its record."""
    counted = msgspec.structs.replace(MESSAGE, html_links=count)
    (_, without), (_, carrying) = fleet.link_token(LINKS[0]), fleet.link_token(LINKS[0], counted)

    grown = len(carrying) - len(without)
    assert grown <= (4 if fleet.storage is Storage.STATELESS else 0)


def test_the_report_header_survives_folding(fleet):  # S4.10, greenarrow.md 4.3
    issued = fleet.issue()
    text = issued.mailer_info_extra or issued.mailer_info
    folded = "\r\n\t".join(text[i : i + 20] for i in range(0, len(text), 20))

    assert fleet.reader.resolve(Purpose.REPORT, folded.encode()) == TrackingData(MESSAGE, None)
    assert (issued.mailer_info_extra is None) is (fleet.storage is Storage.LOCAL)


def test_the_bounce_address_says_who(fleet):
    issued = fleet.issue()

    ref = fleet.reader.resolve_bounce(issued.bounce_token.upper())
    assert fleet.reader.matches(ref, MESSAGE.email)
    assert fleet.reader.matches(ref, MESSAGE.email.lower(), MESSAGE.sendid)
    assert not fleet.reader.matches(ref, "bernd@example.org")
    assert not fleet.reader.matches(ref, MESSAGE.email, "another")
    assert ref.tagged_day == NOW // 86400
    assert not ref.expired
    assert (ref.message == MESSAGE) is (fleet.storage is Storage.LOCAL)
    assert len(issued.bounce_token) <= 56
    if fleet.storage is not Storage.LOCAL:
        assert fleet.reader.resolve_bounce(issued.mailer_info) == ref


def test_an_old_bounce_address_is_genuine_and_expired(fleet):
    old = MessageFacts(email="a@b.example", tagged_at=NOW - 91 * 86400)

    ref = fleet.reader.resolve_bounce(fleet.issue(message=old).bounce_token)
    assert ref.expired
    assert fleet.reader.matches(ref, "a@b.example")


def test_no_token_works_on_another_route(fleet):  # W3, reliability 7A 13, 14
    issued = fleet.issue(*LINKS)
    made = {
        Purpose.CLICK: issued.link_tokens[0][1],
        Purpose.UNI: issued.link_tokens[2][1],
        Purpose.UNSUB: issued.link_tokens[3][1],
        Purpose.OPEN: issued.open_token,
        Purpose.MAILTO: issued.mailto_token,
        Purpose.FEEDBACK: issued.feedback_id,
        Purpose.REPORT: issued.mailer_info_extra or issued.mailer_info,
    }
    for made_for, token in made.items():
        for used_for in made:
            if used_for is not made_for:
                for use in (fleet.reader.link, fleet.reader.resolve, fleet.reader.verify):
                    with pytest.raises(Forged):
                        use(used_for, token.encode())
        with pytest.raises(Forged):
            fleet.reader.resolve_bounce(token)
    for used_for in made:
        with pytest.raises(SendbackError):
            fleet.reader.resolve(used_for, issued.bounce_token.encode())


def test_a_link_of_a_message_token_is_an_error_not_a_redirect(fleet):
    for name, purpose in MESSAGE_PURPOSES.items():
        with pytest.raises((Malformed, NotFound)):
            fleet.reader.link(purpose, getattr(fleet.issue(), name).encode())


def test_altered_tokens_are_refused_before_any_query(fleet):  # W2; "never a query"
    purpose, token = fleet.link_token(LINKS[0])
    queries = counted_queries(fleet.reader)
    before = queries()
    for at in range(len(token)):
        altered = token[:at] + (b"A" if token[at : at + 1] != b"A" else b"B") + token[at + 1 :]
        with pytest.raises(Malformed):
            fleet.reader.link(purpose, altered)
    assert queries() == before


def counted_queries(reader: Metadata):
    """How many questions the reader has put to a database."""
    if reader.external is not None:
        return lambda: reader.external.queries
    if reader.local is None:
        return lambda: 0
    count = 0
    asked = reader.local._reader.rows

    def rows(*arguments):
        nonlocal count
        count += "from store" not in arguments[0]
        return asked(*arguments)

    reader.local._reader.rows = rows
    return lambda: count


def test_keys_rotate_and_old_mail_lives_on(fleet):  # S0.3
    purpose, token = fleet.link_token(LINKS[0])
    bounce = fleet.issue().bounce_token
    new = Keyring.from_constants(bytes(range(7, 39)), bytes(range(32)))

    fleet.reader.keyring = Keyring(new.signing, (RING.signing,))
    assert fleet.reader.resolve(purpose, token) == TrackingData(MESSAGE, LINKS[0])
    assert fleet.reader.matches(fleet.reader.resolve_bounce(bounce), MESSAGE.email)
    fleet.reader.keyring = Keyring(new.signing, (), (RING.signing,))
    for use in (fleet.reader.link, fleet.reader.resolve):
        with pytest.raises(Forged):
            use(purpose, token)
    with pytest.raises(Forged):
        fleet.reader.resolve_bounce(bounce)
    assert fleet.reader.unknown_keys[RING.key_id] >= 3
    finishing = Metadata(
        fleet.reader.keyring,
        local=fleet.reader.local,
        external=fleet.reader.external,
        include_retired=True,
    )
    assert finishing.resolve(purpose, token) == TrackingData(MESSAGE, LINKS[0])


def test_many_threads_at_once(fleet):
    def work(number: int) -> None:
        for turn in range(15):
            link = LinkFacts(url=f"https://example.com/{turn}?n={number}", pos=turn + 1)
            message = MessageFacts(email=f"{number}@example.org", sendid="s", tagged_at=NOW)
            purpose, token = fleet.link_token(link, message)
            if fleet.reader.resolve(purpose, token) == TrackingData(message, link):
                right.append(number)

    right: list[int] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 12 * 15


def test_a_link_over_the_limit_stays_untracked_and_is_counted(fleet):  # W6, 8 KB
    noise = base64.urlsafe_b64encode(bytes((7919 * n * n >> 5) & 255 for n in range(7000))).decode()
    long = LinkFacts(url=f"https://example.com/?{noise}", pos=1)

    issued = fleet.issue(long, LINKS[0])
    if fleet.storage is Storage.EXTERNAL:  # any length: the row holds it
        assert fleet.reader.link(*_bytes(issued.link_tokens[0])) == long
    else:
        assert issued.link_tokens[0][1] == ""
        assert fleet.sender.counters()["untracked_links"] == 1
    assert fleet.reader.link(*_bytes(issued.link_tokens[1])) == LINKS[0]


def _bytes(pair: tuple[Purpose, str]) -> tuple[Purpose, bytes]:
    return pair[0], pair[1].encode()


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
LINK = st.builds(
    LinkFacts,
    url=st.one_of(
        st.builds(lambda a, b: f"https://example.com/{a}?{b}", TEXT, TEXT),
        st.builds(lambda a: f"http://www.{a}", TEXT),
        TEXT,
    ),
    kind=st.sampled_from([kind for kind in LinkKind if kind is not LinkKind.UNSUB_HEADER]),
    link_id=TEXT,
    pos=st.integers(0, 100_000),
    universal=st.booleans(),
    html_or_text=st.sampled_from("ht"),
)
FACTS = st.builds(
    MessageFacts,
    email=TEXT,
    listid=TEXT.map(str.lower),
    sendid=TEXT.map(str.lower),
    click_tracking_id=TEXT,
    mail_class=st.text("abcXYZ_", max_size=10),
    url_domain=TEXT,
    instance_id=TEXT,
    tagged_at=st.integers(0, (1 << 32) - 1),
    privacy=st.sampled_from(Privacy),
)


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(message=FACTS, link=LINK)
def test_whatever_the_facts(fleet, message, link):
    purpose, token = fleet.link_token(link, message)

    assert fleet.reader.resolve(purpose, token) == TrackingData(message, link)


@pytest.mark.parametrize("text", ["nul \0 in it", "half a pair \ud800"])
def test_text_that_a_store_can_not_hold_never_stops_a_message(fleet, text):
    """NUL in jsonb, half a surrogate pair: the message or link goes another way, mail goes out."""
    link = LinkFacts(url=f"https://example.com/{text}", pos=1)
    issued = fleet.sender.issue(fleet.storage, MESSAGE, [link, LINKS[1]])

    purpose, token = issued.link_tokens[0]
    assert token == "" or fleet.reader.link(purpose, token.encode()) == link
    assert ("\ud800" in text) is (token == "")
    assert fleet.reader.link(*_bytes(issued.link_tokens[1])) == LINKS[1]


def test_a_message_whose_own_facts_fit_no_url(fleet):
    """Local holds them; the others would need a pixel URL of 20 KB: the caller goes untracked."""
    noise = base64.b85encode(random.Random(4).randbytes(20_000)).decode()
    huge = MessageFacts(email="a@b.c", click_tracking_id=noise, tagged_at=NOW)

    if fleet.storage is Storage.LOCAL:
        purpose, token = fleet.link_token(LINKS[0], huge)
        assert fleet.reader.resolve(purpose, token) == TrackingData(huge, LINKS[0])
    else:
        with pytest.raises(Malformed, match="limit of a URL"):
            fleet.sender.issue(fleet.storage, huge, LINKS)


def test_erase(fleet):  # W17
    mine, other = MESSAGE, MessageFacts(email="bernd@example.org", tagged_at=NOW)
    purpose, token = fleet.link_token(LINKS[0], mine)
    kept = fleet.link_token(LINKS[1], other)

    count = fleet.sender.erase(mine.email.upper())
    assert count == (0 if fleet.storage is Storage.STATELESS else 1)
    if count:
        with pytest.raises(NotFound):
            fleet.reader.resolve(purpose, token)
    assert fleet.reader.resolve(*kept).message == other


def test_a_signed_token_of_a_newer_format_is_told_apart_from_a_forged_one(fleet):
    """Signed by us, not understood by us: Malformed or NotFound, with words, never a crash."""
    purpose, token = fleet.link_token(LINKS[0])
    binary = tokens.decode(token)
    version = tokens.Version(binary[0])
    associated = fleet.sender.local.store_id if fleet.sender.local is not None else b""
    opened = tokens.open(RING, purpose, token, associated)
    for body in (
        opened.body[:-1], opened.body[:5], opened.body[:2], opened.body + bytes(9),
        b"\x80" + opened.body, bytes((0xFF,)) * 30, opened.body[:4] + b"\xff" * 12,
    ):  # fmt: skip
        odd = tokens.seal(RING, purpose, version, body, associated).encode()
        for use in (fleet.reader.link, fleet.reader.resolve):
            with contextlib.suppress(SendbackError):  # anything else fails the test
                use(purpose, odd)
