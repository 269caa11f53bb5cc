"""From the journal to the log: whole path with real metadata, reports and verdict rules."""

import time
import uuid

import msgspec
import pytest

from sendback import verp
from sendback.agents import classify, load_rules
from sendback.errors import NotFound, Unavailable
from sendback.eventlog import EventLog
from sendback.finishing import Finishing, Unparsed
from sendback.finishing.history import History
from sendback.finishing.made import event_id
from sendback.finishing.returned import Returned
from sendback.finishing.visits import Visits, truncate_ip
from sendback.journal import Journal, JournalReader
from sendback.metadata import Metadata
from sendback.metadata.local import LocalStore
from sendback.model import (
    CapturedMail,
    Hint,
    LinkFacts,
    LinkKind,
    MessageFacts,
    Privacy,
    Storage,
    Visit,
    VisitKind,
    uuid7,
)
from sendback.reports import parse
from sendback.secret_constants import Keyring, Purpose

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
RULES = load_rules()
T0 = 1_750_000_000_000


class House:
    """Everything between the journal and the log, on a clock of the test's own."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.now = T0 / 1000 + 60
        keyring = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64)))
        self.metadata = Metadata(
            keyring, local=LocalStore(folder / "metadata.sqlite"), clock=lambda: self.now
        )
        self.failing: Exception | None = None
        self.bad = False
        self.count_fault: Exception | None = None
        self.counted = []
        self.journal = Journal(folder / "journal", "test")
        self.lines: list[str] = []
        self.start()

    def start(self, **options) -> None:
        self.log = EventLog(self.folder / "events.sqlite", clock=lambda: self.now)
        self.unparsed = Unparsed(self.folder / "unparsed", clock=lambda: self.now)
        self.finishing = Finishing(
            JournalReader(self.folder / "journal"),
            self.log,
            Visits(self, lambda seen: classify(seen, RULES), "node", History()),
            Returned(
                self, parse, self.count, self.unparsed, "node", lambda: frozenset(["mx.ours.test"])
            ),
            clock=lambda: self.now,
            say=self.lines.append,
            **options,
        )

    # what finishing sees as metadata and counting
    def prefetch(self, visits):
        pass

    def resolve(self, purpose, token):
        if self.failing:
            raise self.failing
        return self.metadata.resolve(purpose, token)

    def link(self, purpose, token):
        return self.metadata.link(purpose, token)

    def links_in_message(self, token, data):
        return self.metadata.links_in_message(token, data)

    def resolve_bounce(self, token):
        if self.failing:
            raise self.failing
        return self.metadata.resolve_bounce(token)

    def matches(self, ref, email, sendid=""):
        return self.metadata.matches(ref, email, sendid)

    def count(self, bounces):
        if self.count_fault:
            raise self.count_fault
        if any(bounce.email == "poison@example.net" for bounce in bounces):
            raise ValueError("poison")
        self.counted.append(bounces)
        return [self.bad] * len(bounces)

    def issue(self, links=(), storage=Storage.STATELESS, **facts):
        facts = {"email": "Joe@example.net", "listid": "l", "sendid": "s1",
                 "click_tracking_id": "C|1", "mail_class": "news", "url_domain": "click.test",
                 "tagged_at": T0 // 1000 - 86400, **facts}  # fmt: skip
        return self.metadata.issue(storage, MessageFacts(**facts), links)

    def visit(self, kind, token, *, at=0, hints=0, ip="203.0.113.7", ua=BROWSER):
        visit = Visit(uuid7(T0 + at), T0 + at, kind, token.encode(), ip, ua, hints, "host.test")
        self.journal.append(msgspec.msgpack.encode(visit))
        return visit

    def mail(self, raw, rcpt, mailbox="bounce"):
        mail = CapturedMail(uuid7(T0), T0, "", rcpt, mailbox, "198.51.100.1", raw, len(raw))
        self.journal.append(msgspec.msgpack.encode(mail))
        return mail

    def finish(self):
        while self.finishing.step():
            pass
        return [msgspec.json.decode(event.body) for event in self.log.read(0, 10_000)]


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.journal.close()
    made.log.close()
    made.metadata.close()


LINK = LinkFacts(url="https://example.com/a?b=1", link_id="top", pos=2)


@pytest.mark.parametrize("storage", [Storage.STATELESS, Storage.LOCAL])
def test_a_click_becomes_an_engine_click(house, storage) -> None:
    # S0.19
    ((purpose, token),) = house.issue([LINK], storage).link_tokens
    assert purpose == Purpose.CLICK
    visit = house.visit(VisitKind.CLICK, token)

    (event,) = house.finish()

    assert event == {
        "event_type": "engine_click", "event_time": T0 // 1000, "event_time_ms": T0,
        "event_unique_id": str(uuid.UUID(bytes=visit.record_id)), "seq": 1, "server_id": "node",
        "email": "Joe@example.net", "listid": "l", "sendid": "s1", "click_tracking_id": "C|1",
        "mail_class": "news", "url_domain": "click.test", "instance_id": "",
        "engine_ip": "203.0.113.7", "user_agent": BROWSER, "agent_class": "human",
        "agent_reasons": [], "is_bot": False, "agent_final": event["agent_final"],
        "click_url": "https://example.com/a?b=1", "link_id": "top", "link_pos": 2,
        "universal": False, "html_or_text": "h", "unresolved": False,
    }  # fmt: skip
    assert house.finishing.step() is False


def test_an_open_and_a_universal_click(house) -> None:
    # S4.22
    issued = house.issue([LinkFacts(url="https://example.com/u", pos=1, universal=True)])
    ((purpose, token),) = issued.link_tokens
    assert purpose == Purpose.UNI
    house.visit(VisitKind.CLICK, token, hints=Hint.UNIVERSAL)
    house.visit(VisitKind.OPEN, issued.open_token)

    click, opened = house.finish()

    assert (click["event_type"], click["universal"]) == ("engine_click", True)
    assert opened["event_type"] == "engine_open"
    assert opened["is_privacy_open"] is False


def test_one_unsubscribe_for_a_message_and_list(house) -> None:
    # CONTRACT section 6: body link, page and one-click count once in 30 days
    body = LinkFacts(url="https://example.com/unsub", kind=LinkKind.UNSUB_BODY_REDIRECT, pos=1)
    issued = house.issue([body])
    house.visit(VisitKind.UNSUB, issued.link_tokens[0][1])
    house.visit(VisitKind.UNSUB, issued.unsub_token, hints=Hint.ONE_CLICK)
    house.visit(VisitKind.UNSUB, issued.unsub_token, hints=Hint.CONFIRMED)
    house.visit(VisitKind.UNSUB, house.issue(email="other@x.test").unsub_token)

    first, other = house.finish()

    assert first["click_url"] == "https://example.com/unsub"
    assert other["click_url"] == ""
    assert house.log.counters()["repeated_unsubscribes"] == 2


def test_a_scanners_unsubscribe_does_not_swallow_the_persons(house) -> None:
    issued = house.issue()
    house.visit(VisitKind.UNSUB, issued.unsub_token, hints=Hint.PREFETCH)
    house.visit(VisitKind.UNSUB, issued.unsub_token, hints=Hint.PREFETCH)
    house.visit(VisitKind.UNSUB, issued.unsub_token, hints=Hint.ONE_CLICK)
    house.visit(VisitKind.UNSUB, issued.unsub_token, hints=Hint.PREFETCH)

    assert [event["is_bot"] for event in house.finish()] == [True, False]


def test_a_honeypot_is_no_click_but_betrays_the_scanner(house) -> None:
    trap = LinkFacts(url="https://example.com/trap", kind=LinkKind.HONEYPOT, pos=9)
    issued = house.issue([LINK, trap])
    house.visit(VisitKind.CLICK, issued.link_tokens[0][1], at=0)
    house.visit(VisitKind.CLICK, issued.link_tokens[1][1], at=500)

    (event,) = house.finish()

    assert event["agent_class"] == "scanner"
    assert event["agent_reasons"] == ["honeypot"]
    assert house.log.counters()["honeypot_visits"] == 1


@pytest.mark.parametrize(
    ("privacy", "ip", "ua", "email"),
    [
        (Privacy.FULL, "203.0.113.7", BROWSER, "Joe@example.net"),
        (Privacy.TRUNCATE_IP, "203.0.113.0", BROWSER, "Joe@example.net"),
        (Privacy.ANONYMOUS, "", "", ""),
    ],
)
def test_privacy(house, privacy, ip, ua, email) -> None:
    issued = house.issue([LINK], privacy=privacy)
    house.visit(VisitKind.CLICK, issued.link_tokens[0][1])
    house.visit(VisitKind.UNSUB, issued.unsub_token, hints=Hint.ONE_CLICK)

    click, unsub = house.finish()

    assert (click["engine_ip"], click["user_agent"], click["email"]) == (ip, ua, email)
    assert unsub["email"] == "Joe@example.net"  # who leaves must be known
    assert unsub["engine_ip"] == ip


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("198.51.100.200", "198.51.100.0"),
        ("2001:db8:1:2:3::4", "2001:db8:1::"),
        ("::ffff:198.51.100.200", "198.51.100.0"),
        ("fe80::1%eth0", "fe80::"),
        ("junk", ""),
    ],
)
def test_truncated_addresses(ip, network) -> None:
    assert truncate_ip(ip) == network


# -- what can't be made now ------------------------------------------------------------------


def test_a_database_that_is_down_blocks_nothing_and_loses_nothing(house) -> None:
    # S4.16, S4.19
    token = house.issue([LINK]).link_tokens[0][1]
    house.failing = Unavailable("down")
    house.visit(VisitKind.CLICK, token)
    assert house.finish() == []
    assert house.log.counters()["pending"] == 1
    assert len(list((house.folder / "journal").glob("*.seg"))) == 1  # live
    house.failing = None
    house.now += 4
    assert house.finish() == []
    house.now += 2

    (event,) = house.finish()

    assert event["email"] == "Joe@example.net"
    assert event["event_time_ms"] == T0
    assert house.log.counters()["pending"] == 0


@pytest.mark.parametrize(
    ("fault", "days"), [(Unavailable("down"), 7), (NotFound("pruned"), 1 / 24)]
)
def test_what_never_comes_back_goes_out_unresolved(house, fault, days) -> None:
    house.failing = fault
    house.visit(VisitKind.CLICK, house.issue([LINK]).link_tokens[0][1])
    house.finish()
    house.now += days * 86400 - 60
    assert house.finish() == []
    house.now += 4000

    (event,) = house.finish()

    assert event["unresolved"] is True
    assert event["email"] == ""
    assert event["click_url"] == "https://example.com/a?b=1"  # the link's cache still knew
    assert house.log.counters()["unresolved"] == 1


def test_a_verdict_that_may_change_is_held(house) -> None:
    house.log.close()
    house.start(verdict_hold_seconds=120)
    house.now = T0 / 1000 + 1
    issued = house.issue([LINK, LinkFacts(url="https://example.com/2", pos=3)])
    house.visit(VisitKind.CLICK, issued.link_tokens[0][1])
    assert house.finish() == []
    house.now += 130

    assert [event["event_type"] for event in house.finish()] == ["engine_click"]


def test_a_held_verdict_goes_out_when_it_is_final_not_when_the_hold_ends(house) -> None:
    house.log.close()
    house.start(verdict_hold_seconds=3600)
    house.now = T0 / 1000 + 1
    house.visit(VisitKind.CLICK, house.issue([LINK]).link_tokens[0][1])
    assert house.finish() == []
    house.now += 7
    assert house.finish() == []
    house.now += 15

    (event,) = house.finish()
    assert event["agent_final"]
    assert not event["is_bot"]


MANY = [LinkFacts(url=f"https://example.com/{n}", pos=n) for n in range(1, 7)]


@pytest.mark.parametrize(
    ("storage", "followed", "reasons"),
    [
        (Storage.LOCAL, 6, ["every_link"]),
        (Storage.LOCAL, 5, []),
        (Storage.STATELESS, 6, ["every_link"]),
        (Storage.STATELESS, 5, []),
    ],
)
def test_every_link_of_a_message_within_a_minute(house, storage, followed, reasons) -> None:
    issued = house.issue(MANY, storage, html_links=len(MANY))
    for n, (_, token) in enumerate(issued.link_tokens[:followed]):
        house.visit(VisitKind.CLICK, token, at=n * 10_000)
    events = house.finish()

    assert len(events) == followed
    assert all(event["agent_reasons"] == reasons for event in events)
    assert all(event["is_bot"] == bool(reasons) for event in events)


def test_a_message_whose_links_nobody_counted_has_no_every_link(house) -> None:
    """As older senders made them: nothing is guessed."""
    issued = house.issue(MANY, Storage.STATELESS)
    for n, (_, token) in enumerate(issued.link_tokens):
        house.visit(VisitKind.CLICK, token, at=n * 12_000)

    assert not any(event["agent_reasons"] for event in house.finish())


def test_the_links_of_other_messages_of_the_send_count_too(house) -> None:
    """So that a message with fewer links is never taken for a followed whole by mistake."""
    issued = house.issue(MANY[:5], Storage.LOCAL)
    house.issue(MANY, Storage.LOCAL, email="other@example.net")
    for n, (_, token) in enumerate(issued.link_tokens):
        house.visit(VisitKind.CLICK, token, at=n * 12_000)

    assert not any(event["is_bot"] for event in house.finish())


def test_a_poison_record_is_tried_five_times_and_then_a_dead_letter(house) -> None:
    # facts/reliability.md fault 37
    token = house.issue([LINK]).link_tokens[0][1]
    house.failing = ValueError("a bug of ours")
    house.visit(VisitKind.CLICK, token)
    for _ in range(10):
        house.finish()
        house.now += 4000
    (letter,) = house.log.deliveries.dead_letters("finishing")
    assert letter.tries == 5
    assert "a bug of ours" in letter.reason

    house.failing = None
    house.visit(VisitKind.CLICK, token)
    assert len(house.finish()) == 1
    house.log.deliveries.retry_dead_letters([letter])
    assert len(house.finish()) == 2


@pytest.mark.parametrize(
    "junk", [b"", b"\xc1", b"\x93\x01\x02\x03", msgspec.msgpack.encode([9, 1])]
)
def test_junk_in_the_journal_is_buried_at_once(house, junk) -> None:
    house.journal.append(junk)
    house.visit(VisitKind.CLICK, house.issue([LINK]).link_tokens[0][1])

    assert len(house.finish()) == 1
    assert house.log.deliveries.dead_count("finishing") == 1


def test_a_forged_token_is_buried(house) -> None:
    token = house.issue([LINK]).link_tokens[0][1]
    house.visit(VisitKind.CLICK, token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:])

    assert house.finish() == []
    assert "Forged" in house.log.deliveries.dead_letters("finishing")[0].reason


# -- exactly once ----------------------------------------------------------------------------


def test_a_crash_after_the_commit_repeats_nothing(house) -> None:
    for at in range(50):
        house.visit(VisitKind.CLICK, house.issue([LINK]).link_tokens[0][1], at=at * 100_000)
    house.finishing.step(20)
    house.log.close()
    house.start()

    assert [event["seq"] for event in house.finish()] == list(range(1, 51))


def test_a_failed_commit_repeats_everything(house, monkeypatch) -> None:
    house.visit(VisitKind.CLICK, house.issue([LINK]).link_tokens[0][1])
    real = house.log.transaction

    def broken():
        raise Unavailable("disk full")

    monkeypatch.setattr(house.log, "transaction", broken)
    with pytest.raises(Unavailable):
        house.finishing.step()
    monkeypatch.setattr(house.log, "transaction", real)

    assert len(house.finish()) == 1


def test_a_lost_log_is_rebuilt_with_the_same_ids(house) -> None:
    house.visit(VisitKind.CLICK, house.issue([LINK]).link_tokens[0][1])
    before = house.finish()
    house.log.close()
    for path in house.folder.glob("events.sqlite*"):
        path.unlink()
    house.start()

    assert before == house.finish()


def test_segments_go_when_their_events_are_safe(house) -> None:
    house.visit(VisitKind.CLICK, house.issue([LINK]).link_tokens[0][1])
    house.journal.close()
    house.finish()
    house.finish()

    assert list((house.folder / "journal").glob("*.seg")) == []


def test_a_full_log_makes_finishing_wait(house) -> None:
    house.log.close()
    house.start(must_wait=lambda: True)
    house.visit(VisitKind.CLICK, house.issue([LINK]).link_tokens[0][1])

    assert house.finish() == []


def test_types_that_are_not_recorded(house) -> None:
    house.log.close()
    house.start(record=["engine_open"])
    issued = house.issue([LINK])
    house.visit(VisitKind.CLICK, issued.link_tokens[0][1])
    house.visit(VisitKind.OPEN, issued.open_token)

    assert [event["event_type"] for event in house.finish()] == ["engine_open"]
    assert house.log.counters()["not_recorded.engine_click"] == 1


# -- returned mail ---------------------------------------------------------------------------


def dsn(*finals: str, header: str = "", status: str = "5.1.1") -> bytes:
    blocks = "".join(
        f"Final-Recipient: rfc822; {final}\nAction: failed\nStatus: {status}\n"
        f"Diagnostic-Code: smtp; 550 {status} no such user\n\n"
        for final in finals
    )
    text = f"""From: MAILER-DAEMON@mx.example
To: bounce@d.test
Subject: Undelivered Mail
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

{blocks}
--b
Content-Type: message/rfc822

{header}Subject: hello
From: us@d.test

hi
--b--
"""
    return text.replace("\n", "\r\n").encode()


def address(issued) -> str:
    return verp.build("bounce@d.test", issued.bounce_token)


@pytest.mark.parametrize("storage", [Storage.STATELESS, Storage.LOCAL])
def test_a_bounce_is_credited_to_the_address_we_mailed(house, storage) -> None:
    # S0.19
    issued = house.issue(storage=storage)
    header = (
        f"X-Mailer-Info-Extra: {issued.mailer_info_extra}\n" if issued.mailer_info_extra else ""
    )
    house.bad = True
    house.mail(dsn("forwarded@elsewhere.test", header=header), address(issued))

    bounce, bad = house.finish()

    assert (bounce["event_type"], bad["event_type"]) == ("bounce_all", "bounce_bad_address")
    for event in (bounce, bad):
        assert (event["email"], event["listid"], event["sendid"]) == ("Joe@example.net", "l", "s1")
        assert (event["bounce_type"], event["bounce_code"]) == ("h", 10)
        assert event["bounce_status"] == "5.1.1"
        assert event["synchronous"] is False
    assert bounce["event_unique_id"] != bad["event_unique_id"]
    [[counted]] = house.counted
    assert (counted.email, counted.listid) == ("Joe@example.net", "l")
    assert (counted.reason, counted.bounce_type) == ("userunknown", "h")


def test_several_recipients_give_several_events_with_their_own_ids(house) -> None:
    issued = house.issue(storage=Storage.LOCAL)
    mail = house.mail(dsn("a@x.test", "b@x.test", "c@x.test"), address(issued))

    events = house.finish()

    assert len(events) == len({event["event_unique_id"] for event in events}) == 3
    assert events[1]["event_unique_id"] == event_id(mail.record_id, 1, "bounce_all")
    assert uuid.UUID(events[1]["event_unique_id"]).bytes[:6] == mail.record_id[:6]
    assert len(house.counted) == 1


def test_hashes_alone_credit_a_recipient_that_agrees(house) -> None:
    issued = house.issue(email="joe@example.net")
    house.mail(dsn("joe@example.net"), address(issued))
    house.mail(dsn("somebody@else.test"), address(issued))

    (event,) = house.finish()

    assert event["email"] == "joe@example.net"
    assert event["sendid"] == ""
    assert [kept.why for kept in house.unparsed.list()] == ["unattributed"]


def test_an_unsigned_report_suppresses_nobody(house) -> None:
    house.mail(dsn("victim@example.net"), "bounce@d.test")

    assert house.finish() == []
    assert house.log.counters()["unparsed.unattributed"] == 1


def test_verp_wins_for_bounces_and_the_header_for_complaints(house) -> None:
    # facts/bounces.md section 5
    envelope = house.issue(storage=Storage.LOCAL, email="envelope@x.test")
    header = house.issue(email="header@x.test")
    line = f"X-Mailer-Info-Extra: {header.mailer_info_extra}\n"
    house.mail(dsn("who@x.test", header=line), address(envelope))
    house.mail(line.encode() + b"Subject: raw headers\r\n\r\nspam!", "fbl@d.test", "complaint")

    bounce, complaint = house.finish()

    assert bounce["email"] == "envelope@x.test"
    assert (complaint["event_type"], complaint["email"]) == ("scomp", "header@x.test")


def test_the_same_mail_within_a_day_is_one_event(house) -> None:
    # facts/reliability.md fault 40
    issued = house.issue(storage=Storage.LOCAL)
    house.mail(dsn("joe@example.net"), address(issued))
    house.mail(dsn("joe@example.net"), address(issued))
    assert len(house.finish()) == 1
    assert house.log.counters()["repeated_mails"] == 1
    house.now += 86_400
    house.mail(dsn("joe@example.net"), address(issued))
    assert len(house.finish()) == 2


def test_a_count_that_can_not_be_made_delays_only_the_bad_address(house) -> None:
    issued = house.issue(storage=Storage.LOCAL)
    house.bad, house.count_fault = True, Unavailable("main database down")
    house.mail(dsn("joe@example.net"), address(issued))
    assert [event["event_type"] for event in house.finish()] == ["bounce_all"]
    house.count_fault = None
    house.now += 10

    events = house.finish()

    assert [event["event_type"] for event in events] == ["bounce_all", "bounce_bad_address"]


def test_the_bounces_of_a_step_are_counted_together(house) -> None:
    house.bad = True
    for number in range(5):
        email = f"joe{number}@example.net"
        house.mail(dsn(email), address(house.issue(email=email)))

    events = house.finish()

    assert [len(bounces) for bounces in house.counted] == [5]
    assert sorted(event["event_type"] for event in events) == (
        ["bounce_all"] * 5 + ["bounce_bad_address"] * 5
    )


def test_a_bounce_that_spoils_counting_spoils_only_its_own(house) -> None:
    house.bad = True
    for email in ("joe@example.net", "poison@example.net", "jim@example.net"):
        house.mail(dsn(email), address(house.issue(email=email)))

    events = house.finish()

    assert {e["email"] for e in events if e["event_type"] == "bounce_all"} == {
        "joe@example.net", "poison@example.net", "jim@example.net",
    }  # fmt: skip
    assert {e["email"] for e in events if e["event_type"] == "bounce_bad_address"} == {
        "joe@example.net", "jim@example.net",
    }  # fmt: skip


def test_a_local_report_at_a_signed_address_is_synchronous(house) -> None:
    # S0.13
    issued = house.issue(storage=Storage.LOCAL)
    raw = dsn("joe@example.net").replace(b"mx.example", b"mx.ours.test")
    house.mail(raw, address(issued))

    assert house.finish()[0]["synchronous"] is True


def test_a_mail_to_the_unsubscribe_token_is_an_unsubscribe(house) -> None:
    issued = house.issue()
    raw = f"Subject: unsubscribe {issued.mailto_token}\r\n\r\n".encode()
    house.mail(raw, "bounce@d.test")
    house.visit(VisitKind.UNSUB, issued.unsub_token, hints=Hint.ONE_CLICK)

    (event,) = house.finish()

    assert (event["event_type"], event["click_url"]) == ("engine_unsub", "")
    assert house.log.counters()["repeated_unsubscribes"] == 1


@pytest.mark.parametrize("raw", [b"", b"\0\xff" * 500, b"Subject: hello\r\n\r\nhow are you"])
def test_anything_else_is_kept_raw(house, raw) -> None:
    mail = house.mail(raw, "bounce@d.test")

    assert house.finish() == []
    (kept,) = house.unparsed.list()
    assert kept.path.read_bytes() == raw
    assert mail.record_id.hex() in kept.path.name


def test_unparsed_mail_goes_by_age_and_size(tmp_path) -> None:
    now = [time.time()]
    kept = Unparsed(tmp_path, max_bytes=2500, clock=lambda: now[0])
    for n in range(4):
        kept.keep(uuid7(n), int(now[0] * 1000) + n * 1000, b"x" * 1000, "other")
    assert kept.prune() == 2
    now[0] += 31 * 86400
    assert kept.prune() == 2
    assert kept.list() == []
