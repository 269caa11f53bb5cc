"""Tagging on the real metadata and rewriting: what goes out, and that it always goes out."""

import base64
import json
import re
import secrets

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendback import links, verp
from sendback.errors import Malformed, Unavailable
from sendback.metadata import Metadata
from sendback.metadata.local import LocalStore
from sendback.model import (
    BounceMailbox,
    Catalog,
    ComplaintMailbox,
    LinkKind,
    MailClass,
    Privacy,
    Storage,
    UrlDomain,
)
from sendback.secret_constants import Keyring, Purpose
from sendback.tagging import Tagging, rewrite_lines

NOW = 1_790_000_000.0  # 2026-09-21 UTC
KEYRING = Keyring.from_constants(secrets.token_hex(32), secrets.token_hex(32))
CATALOG = Catalog(
    url_domains=(
        UrlDomain(domain="links.test", tls=True, default=True),
        UrlDomain(domain="plain.test"),
    ),
    mail_classes=(
        MailClass(
            name="News", default=True, track_clicks=True, track_opens=True, unsubscribe_links=True
        ),
        MailClass(name="quiet", url_domain="plain.test", bounce_mailbox="b2@mx.test"),
        MailClass(
            name="full",
            listid="L1",
            track_clicks=True,
            track_opens=True,
            track_text_links=True,
            honeypot_link=True,
            unsubscribe_mode="confirm",
            unsubscribe_links=True,
            list_unsubscribe_mailto=True,
            cfbl=True,
            feedback_id="camp:cust:type:sender",
            privacy=Privacy.ANONYMOUS,
            event_tracking_metadata_storage=Storage.STATELESS,
            statistic_report_grouping="fixed",
            sendid="S1",
        ),
    ),
    bounce_mailboxes=(BounceMailbox(address="bounce@mx.test"), BounceMailbox(address="b2@mx.test")),
    complaint_mailboxes=(ComplaintMailbox(address="fbl@mx.test"),),
)
HTML = (
    b"From: news@example.com\r\nSubject: hi\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n\r\n"
    b'<html><body><a href="https://example.com/a?b=1&amp;c=2" data-ga-linkid="l1">a</a>'
    b'<a href="##unsubscribetag##https://example.com/leave">b</a>'
    b'<a href="https://example.com/app" universal="true">c</a></body></html>\r\n'
)


@pytest.fixture
def metadata(tmp_path):
    made = Metadata(KEYRING, local=LocalStore(tmp_path / "metadata.sqlite"))
    yield made
    made.close()


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def tagging(metadata, warnings):
    return Tagging(metadata, lambda: CATALOG, clock=lambda: NOW, warn=warnings.append)


def with_headers(**headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return lines.encode() + HTML


def header(message: bytes, name: str) -> str | None:
    head = message.split(b"\r\n\r\n")[0].decode().replace("\r\n", "\n")
    found = re.search(rf"^{name}: (.*(?:\n[ \t].*)*)", head, re.MULTILINE | re.IGNORECASE)
    return found and re.sub(r"\n(?=[ \t])", "", found[1])


@pytest.mark.parametrize("storage", ["local", "stateless", "external"])
def test_every_link_resolves_to_what_it_stood_for(tagging, metadata, storage):
    """External without a database falls back to stateless, here and in the answer. S4.14"""
    message = with_headers(
        X_GreenArrow_EventTrackingMetadataStorage=storage,
        X_GreenArrow_Click_Tracking_ID="CAMP|7",
        X_GreenArrow_InstanceID="42",
    )
    tagged = tagging.tag(message, "Ada@Example.net", mail_from="news@example.com")

    assert tagged.skipped is None
    assert tagged.storage == ("local" if storage == "local" else "stateless")
    assert [(one.url, one.link_id, one.universal) for one in tagged.links] == [
        ("https://example.com/a?b=1&c=2", "l1", False),
        ("https://example.com/leave", None, False),
        ("https://example.com/app", None, True),
    ]
    facts = []
    for one, path in zip(tagged.links, ["/click?", "/unsub?", "/uni/click?"], strict=True):
        assert one.tracked.startswith("https://links.test" + path)
        assert one.tracked.encode() in tagged.message
        purpose, token = links.parse(one.tracked)
        facts.append(metadata.resolve(purpose, token))
    assert [data.link.pos for data in facts] == [1, 2, 3]
    assert [data.link.kind for data in facts] == [
        LinkKind.CLICK,
        LinkKind.UNSUB_BODY_REDIRECT,
        LinkKind.CLICK,
    ]
    for data in facts:
        assert uncounted(data.message) == uncounted(tagged.facts)
    assert tagged.facts.email == "Ada@Example.net"
    assert (tagged.facts.listid, tagged.facts.sendid) == ("news", "news20260921")
    assert (tagged.facts.click_tracking_id, tagged.facts.instance_id) == ("CAMP|7", "42")
    assert (tagged.facts.mail_class, tagged.facts.url_domain) == ("News", "links.test")


def test_what_is_written(tagging, metadata):
    tagged = tagging.tag(HTML, "ada@example.net", mail_from="news@example.com")
    message = tagged.message

    pixel = re.search(rb'src="(https://links\.test/open\?[^"]+)"', message)[1].decode()
    assert metadata.resolve(*links.parse(pixel)).message.email == "ada@example.net"
    unsub = header(message, "List-Unsubscribe")
    resolved = metadata.resolve(*links.parse(unsub[1:-1]))
    assert resolved.link.kind is LinkKind.UNSUB_HEADER
    assert header(message, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    info = header(message, "X-Mailer-Info").encode()
    assert metadata.resolve(Purpose.REPORT, info).message.email == "ada@example.net"
    local, token = verp.split(tagged.mail_from)
    assert local == "bounce@mx.test"
    assert metadata.resolve_bounce(token).message.email == "ada@example.net"
    assert message.startswith(b"List-Unsubscribe: ")
    assert message.index(b"X-Mailer-Info") < message.index(b"From: news@example.com")


def uncounted(facts):
    """The facts as opens and headers carry them, and local storage: it counts rows."""
    return msgspec.structs.replace(facts, html_links=0, text_links=0)


def test_what_a_mail_class_adds(tagging, metadata):  # S4.10
    tagged = tagging.tag(HTML, "ada@example.net", mail_class="FULL")
    sent = tagged.message

    assert tagged.storage is Storage.STATELESS
    assert (tagged.facts.sendid, tagged.facts.listid) == ("s1", "l1")
    assert tagged.facts.privacy is Privacy.ANONYMOUS
    assert header(sent, "Feedback-ID") == "camp:cust:type:sender"
    assert header(sent, "CFBL-Address") == "fbl@mx.test; report=arf"
    feedback = header(sent, "CFBL-Feedback-ID").encode()
    assert metadata.resolve(Purpose.FEEDBACK, feedback).message == uncounted(tagged.facts)
    report = header(sent, "X-Mailer-Info-Extra").encode()
    assert metadata.resolve(Purpose.REPORT, report).message == uncounted(tagged.facts)
    mailto = header(sent, "List-Unsubscribe").split(",")[0]
    assert mailto.startswith("<mailto:bounce@mx.test?subject=unsubscribe%20")
    token = mailto.rpartition("%20")[2].rstrip(">").encode()
    assert metadata.resolve(Purpose.MAILTO, token).message == uncounted(tagged.facts)
    assert tagged.facts.html_links == 3
    kinds = [metadata.link(*links.parse(one.tracked)).kind for one in tagged.links]
    assert kinds[1] is LinkKind.UNSUB_BODY_CONFIRM
    hidden = re.search(rb'href="(https://links\.test/click\?[^"]+)" rel="nofollow"', sent)[1]
    trap = metadata.link(*links.parse(hidden.decode()))
    assert (trap.kind, trap.url) == (LinkKind.HONEYPOT, "https://links.test/robots.txt")
    assert all(len(line) <= 998 for line in sent.split(b"\r\n"))
    ref = metadata.resolve_bounce(verp.split(tagged.mail_from)[1])
    assert metadata.matches(ref, "ada@example.net", "s1")


def test_what_finds_no_line_is_not_reported(tagging):
    """A line of 998 octets without a blank takes no tracking URL: the link stays as it was."""
    long = b"<p>" + b"x" * 960 + b'<a\thref="http://e.test/">a</a>'
    message = HTML.replace(b"<body>", b"<body>\r\n" + long[:998] + b"\r\n")
    tagged = tagging.tag(message, "ada@example.net")

    assert long in tagged.message
    assert [one.url for one in tagged.links].count("http://e.test/") == 0
    assert tagged.untracked_links == 1
    assert all(one.tracked.encode() in tagged.message for one in tagged.links)
    assert tagged.message.count(b"https://links.test/click?") == 1
    answers = []
    line = {"rcpt": "ada@example.net", "message_b64": base64.b64encode(message).decode()}
    rewrite_lines(tagging, [json.dumps(line).encode()], answers.append)
    assert [one["url"] for one in json.loads(answers[0])["links"]] == [
        one.url for one in tagged.links
    ]


@pytest.mark.parametrize("storage", [Storage.LOCAL, Storage.STATELESS])
def test_many_together_are_what_each_would_be_alone(metadata, storage):
    """One wait for all; whatever is wrong with one message is no matter of the others."""
    asked = []

    class Counting:
        def issue_many(self, storage, messages):
            asked.append(len(messages))
            return metadata.issue_many(storage, messages)

    tagging = Tagging(Counting(), lambda: CATALOG, default_storage=storage, clock=lambda: NOW)
    noise = base64.b85encode(bytes(range(256)) * 60).decode().replace("`", "").replace(" ", "")
    huge = with_headers(X_GreenArrow_Click_Tracking_ID=noise)
    prepared = [
        tagging.prepare(HTML, mail_from="news@example.com"),
        tagging.prepare(HTML, mail_from=""),
        tagging.prepare(with_headers(X_Sendback_Track="none"), mail_from="news@example.com"),
        tagging.prepare(huge, mail_from="news@example.com"),
        tagging.prepare(b"no header section", mail_from="news@example.com"),
        tagging.prepare(HTML, mail_from="news@example.com"),
    ]
    tagged = tagging.tag_many([(one, f"{n}@example.net") for n, one in enumerate(prepared)])

    assert asked == [5]
    assert [one.facts and one.facts.email for one in tagged] == [
        "0@example.net", None, "2@example.net",
        "3@example.net" if tagged[3].facts else None, "4@example.net", "5@example.net",
    ]  # fmt: skip
    assert [len(one.links) for one in tagged][::5] == [3, 3]
    alone = prepared[1].for_recipient("1@example.net")
    assert (tagged[1].message, tagged[1].skipped) == (alone.message, alone.skipped)
    assert tagged[4].message.endswith(b"no header section")
    if tagged[3].facts is None:  # stateless holds no metadata of 15 KB: out it goes, as it came
        assert tagged[3].message == huge
        assert tagging.counters()["faults"] == 1
    for one in (tagged[0], tagged[5]):
        token = one.links[0].tracked.partition("?")[2].encode()
        found = metadata.resolve(Purpose.CLICK, token).message
        assert uncounted(found) == uncounted(one.facts)
        assert found.html_links == (0 if storage is Storage.LOCAL else 3)


def test_a_storage_that_breaks_costs_tracking_and_no_mail(metadata):
    class Broken:
        def issue_many(self, storage, messages):
            raise RuntimeError("a bug of ours")

    tagging = Tagging(Broken(), lambda: CATALOG)
    prepared = tagging.prepare(HTML, mail_from="news@example.com")
    tagged = tagging.tag_many([(prepared, "a@example.net"), (prepared, "b@example.net")])

    assert [one.message for one in tagged] == [HTML, HTML]
    assert [one.mail_from for one in tagged] == ["news@example.com"] * 2
    assert tagging.counters()["faults"] == 2


class HoldsNoLink:
    """A storage that takes the message and none of its links."""

    def __init__(self, metadata):
        self._metadata = metadata

    def issue_many(self, storage, messages):
        return [
            msgspec.structs.replace(
                issued, link_tokens=tuple((purpose, "") for purpose, _ in issued.link_tokens)
            )
            for issued in self._metadata.issue_many(storage, messages)
        ]


def test_links_without_a_token_lead_where_they_led(metadata):
    message = (
        b"Content-Type: text/html\r\n\r\n"
        b'<a href="https://example.com/a?b=1&#38;c=2">a</a>'
        b'<a href="##unsubscribetag##https://example.com/leave">b</a>\r\n'
    )
    tagging = Tagging(HoldsNoLink(metadata), lambda: CATALOG, clock=lambda: NOW)
    tagged = tagging.tag(message, "ada@example.net")

    assert tagged.links == ()
    assert tagged.untracked_links == 2
    assert b'<a href="https://example.com/a?b=1&#38;c=2">' in tagged.message  # byte for byte
    assert b'<a href="https://example.com/leave">' in tagged.message


def test_a_class_that_tracks_nothing_still_attributes_bounces(tagging, warnings):
    tagged = tagging.tag(HTML, "ada@example.net", mail_class="quiet")
    assert tagged.links == ()
    assert tagged.skipped is None
    assert tagged.mail_from.startswith("b2+")
    assert tagged.message.endswith(HTML)
    assert b"X-Mailer-Info: " in tagged.message
    assert b"List-Unsubscribe-Post" not in tagged.message  # RFC 8058: https only
    assert warnings == []


def test_control_headers_choose_and_leave_no_trace(tagging):
    message = with_headers(
        X_GreenArrow_MailClass="news",
        X_GreenArrow_ListID="LIST",
        X_GreenArrow_SendID="Send-9",
        X_GreenArrow_Obscured_Email="hidden-17",
        X_GreenArrow_BounceMailboxOverride="b2@mx.test",
        X_Sendback_Track="opens",
    )
    tagged = tagging.tag(message, "ada@example.net")
    assert (tagged.facts.listid, tagged.facts.sendid) == ("list", "send-9")
    assert tagged.facts.email == "hidden-17"
    assert tagged.mail_from.startswith("b2+")  # S0.7
    assert [one.url for one in tagged.links] == ["https://example.com/leave"]
    assert b"/open?" in tagged.message
    assert b"X-GreenArrow" not in tagged.message
    assert b"X-Sendback" not in tagged.message


@pytest.mark.parametrize("word", ["full", "truncate_ip", " Anonymous "])
def test_a_message_says_what_may_be_kept_of_its_visitors(tagging, warnings, word):
    tagged = tagging.tag(with_headers(X_Sendback_Privacy=word), "ada@example.net")
    assert tagged.facts.privacy == word.strip().lower()
    assert b"X-Sendback" not in tagged.message
    assert warnings == []


@pytest.mark.parametrize(
    ("header", "of_the_class", "default", "chosen"),
    [
        ("local", "stateless", "stateless", "local"),
        (" Stateless ", None, "local", "stateless"),
        (None, "stateless", "local", "stateless"),
        (None, "local", "stateless", "local"),
        (None, None, "stateless", "stateless"),
        ("cloud", "stateless", "local", "stateless"),  # a warning, and the next best choice
        ("", None, "stateless", "stateless"),
        ("external", None, "local", "external"),
    ],
)
def test_the_storage_is_the_header_s_else_the_class_s_else_the_default(  # S4.8, S4.10, S4.14
    metadata, warnings, header, of_the_class, default, chosen
):
    fields = {} if header is None else {"X_GreenArrow_EventTrackingMetadataStorage": header}
    mail_class = MailClass(
        name="news",
        default=True,
        event_tracking_metadata_storage=of_the_class and Storage(of_the_class),
    )
    catalog = msgspec.structs.replace(CATALOG, mail_classes=(mail_class,))
    tagging = Tagging(
        metadata, lambda: catalog, default_storage=Storage(default), warn=warnings.append
    )
    prepared = tagging.prepare(with_headers(**fields))

    assert prepared.choices.storage == chosen
    assert len(warnings) == (header == "cloud")


def test_track_none(tagging):
    tagged = tagging.tag(with_headers(X_Sendback_Track="none"), "ada@example.net")
    assert b"/open?" not in tagged.message
    assert b"/click?" not in tagged.message


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"X_GreenArrow_MailClass": "nonsense"}, "unknown mail class"),
        ({"X_GreenArrow_EventTrackingMetadataStorage": "cloud"}, "local, stateless or external"),
        ({"X_GreenArrow_BounceMailboxOverride": "else@where.test"}, "no bounce mailbox here"),
        ({"X_GreenArrow_BounceMailboxOverride": "not an address"}, "is ignored"),
        ({"X_Sendback_Track": "everything"}, "X-Sendback-Track"),
        ({"X_Sendback_Privacy": "secret"}, "full, truncate_ip or anonymous"),
        ({"X_GreenArrow_SendID": "s" * 301}, "is ignored"),
    ],
)
def test_a_header_that_makes_no_sense_is_a_warning(tagging, warnings, headers, said):
    tagged = tagging.tag(with_headers(**headers), "ada@example.net")
    assert len(tagged.links) == 3
    assert tagged.mail_from.startswith("bounce+")
    assert len(warnings) == 1
    assert said in warnings[0]
    assert "ada@" not in warnings[0]


def test_an_unknown_mailbox_without_validation(metadata):  # S0.6
    tagging = Tagging(metadata, lambda: CATALOG, validate_bounce_address=False)
    message = with_headers(X_GreenArrow_BounceMailboxOverride="<b@far.test>")
    assert tagging.tag(message, "a@b.test").mail_from.endswith("@far.test")


def test_a_named_mail_class_must_exist(tagging):
    with pytest.raises(Malformed, match="did you mean 'News'"):
        tagging.prepare(HTML, mail_class="newz")


def test_the_users_class_is_below_the_header(tagging, warnings):
    prepared = tagging.prepare(HTML, user_class="quiet")
    assert prepared.choices.mail_class.name == "quiet"
    message = with_headers(X_GreenArrow_MailClass="full")
    assert tagging.prepare(message, user_class="quiet").choices.mail_class.name == "full"
    assert tagging.prepare(HTML, user_class="gone").choices.mail_class.name == "News"
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("sender", "message"),
    [
        ("", HTML),
        ("a@b.test", b"Auto-Submitted: auto-replied (vacation)\r\n" + HTML),
        (
            "a@b.test",
            b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\r\nhttps://e.com\r\n--x--",
        ),
    ],
)
def test_what_answers_nobody_is_not_tracked(tagging, sender, message):
    tagged = tagging.tag(message, "ada@example.net", mail_from=sender)
    assert tagged.message == message
    assert tagged.mail_from == sender
    assert (tagged.links, tagged.facts, tagged.skipped) == ((), None, "report")


def test_auto_submitted_no_is_ordinary_mail(tagging):
    assert len(tagging.tag(b"Auto-Submitted: No\r\n" + HTML, "ada@example.net").links) == 3


def test_control_headers_leave_untracked_mail_too(tagging):
    message = with_headers(X_GreenArrow_MailClass="news")
    assert tagging.tag(message, "ada@example.net", mail_from="").message == HTML


def test_a_sender_that_has_a_list_unsubscribe_keeps_it(tagging):
    tagged = tagging.tag(with_headers(List_Unsubscribe="<mailto:x@y.test>"), "ada@example.net")
    assert tagged.message.lower().count(b"list-unsubscribe") == 1


def test_signed_mail_keeps_its_body_and_named_headers(tagging):
    signed = with_headers(DKIM_Signature="v=1; a=rsa-sha256; h=from:subject; b=x")
    tagged = tagging.tag(signed, "ada@example.net", mail_from="news@example.com")
    assert tagged.skipped == "signed"
    assert tagged.message.endswith(signed)
    assert tagged.message.startswith(b"List-Unsubscribe")
    assert tagged.mail_from.startswith("bounce+")
    over = with_headers(DKIM_Signature="v=1; h=from:list-unsubscribe:list-unsubscribe; b=x")
    tagged = tagging.tag(over, "ada@example.net", mail_from="news@example.com")
    assert tagged.message == over
    assert tagged.mail_from.startswith("bounce+")


def test_a_header_block_without_end_gets_the_envelope_only(tagging):
    tagged = tagging.tag(b"no header at all", "ada@example.net", mail_from="news@example.com")
    assert tagged.message == b"no header at all"
    assert tagged.skipped == "broken-mime"
    assert tagged.mail_from.startswith("bounce+")


def test_a_link_that_no_storage_holds_leads_to_its_destination(tagging):
    url = b"https://example.com/" + b"".join(b"%d-" % (i * 7919) for i in range(900))
    assert len(url) < 8192
    html = HTML.replace(b"https://example.com/app", url)
    message = b"X-GreenArrow-EventTrackingMetadataStorage: stateless\r\n" + html
    tagged = tagging.tag(message, "ada@example.net")
    assert tagged.untracked_links + len(tagged.links) == 3
    for one in tagged.links:
        assert len(one.tracked) <= links.MAX_URL
    if tagged.untracked_links:
        assert url in tagged.message


class Broken:
    def issue(self, storage, message, links):
        raise Unavailable("down")


def test_a_store_that_fails_costs_tracking_only(caplog):
    tagging = Tagging(Broken(), lambda: CATALOG)
    tagged = tagging.tag(HTML, "ada@example.net", mail_from="news@example.com")
    assert (tagged.message, tagged.mail_from) == (HTML, "news@example.com")
    assert tagged.skipped == "fault"
    assert tagging.tag(HTML, "ada@example.net").mail_from == "bounce@mx.test"
    assert tagging.counters()["faults"] == 2
    assert tagging.counters()["skipped_fault"] == 2
    assert "ada@" not in caplog.text


def test_a_catalog_that_fails_costs_tracking_only():
    def catalog():
        raise RuntimeError("a bug")

    tagging = Tagging(Broken(), catalog)
    tagged = tagging.tag(HTML, "ada@example.net", mail_from="news@example.com")
    assert (tagged.message, tagged.mail_from) == (HTML, "news@example.com")


def test_two_recipients_get_their_own_links(tagging):
    prepared = tagging.prepare(HTML, mail_from="news@example.com")
    first, second = prepared.for_recipient("a@x.test"), prepared.for_recipient("b@x.test")
    assert first.mail_from != second.mail_from
    assert {one.tracked for one in first.links}.isdisjoint(one.tracked for one in second.links)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", HTML, HTML[:300]]), st.integers(0, 400))
def test_no_message_is_refused(junk: bytes, base: bytes, at: int) -> None:
    """Whatever comes in, something goes out; without links the body is as it came."""
    tagging = Tagging(Metadata(KEYRING), lambda: CATALOG, default_storage=Storage.STATELESS,
                      warn=lambda line: None)  # fmt: skip
    message = base[:at] + junk + base[at:]
    tagged = tagging.tag(message, "ada@example.net", mail_from="news@example.com")
    assert tagging.counters().get("faults", 0) == 0
    if not tagged.links and b"/open?" not in tagged.message:
        body = message.partition(b"\r\n\r\n")[2]
        assert tagged.message.endswith(body)


# -- the stream -------------------------------------------------------------------------------


def stream(tagging, *lines: bytes) -> tuple[bool, list[dict]]:
    out: list[bytes] = []
    fine = rewrite_lines(tagging, lines, out.append)
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in out)
    return fine, [json.loads(line) for line in out]


def asked(**fields) -> bytes:
    fields.setdefault("message_b64", base64.b64encode(HTML).decode())
    fields.setdefault("rcpt", "ada@example.net")
    return json.dumps(fields).encode() + b"\n"


def test_stream(tagging):
    fine, answers = stream(
        tagging, asked(id=1, sender="news@example.com"), b"\n", asked(id="two", mail_class="quiet")
    )
    assert fine
    first, second = answers
    assert set(first) == {"id", "message_b64", "mail_from", "links", "skipped"}
    assert (first["id"], second["id"]) == (1, "two")
    assert first["links"][0]["link_id"] == "l1"
    assert first["links"][1]["link_id"] is None
    assert first["skipped"] is None
    assert base64.b64decode(first["message_b64"]).count(b"https://links.test/") == 5
    assert second["links"] == []


@pytest.mark.parametrize(
    ("line", "identity"),
    [
        (b"nonsense\n", None),
        (b"[1]\n", None),
        (b"\xff\xfe\n", None),
        (b'{"id": 7}\n', 7),
        (asked(id=8, message_b64="!!!"), 8),
        (asked(id=9, mail_class="nope"), 9),
        (asked(id=[1], rcpt="nobody"), [1]),
        (asked(id="x", rcpt="a@b\r\nc"), "x"),
        (asked(id=None, rcpt=5), None),
    ],
)
def test_a_bad_line_does_not_stop_the_stream(tagging, line, identity):
    fine, (bad, good) = stream(tagging, line, asked(id="after"))
    assert not fine
    assert bad["id"] == identity
    assert bad["error"]
    assert good["id"] == "after"


def test_a_null_sender_in_the_stream(tagging):
    _, answers = stream(tagging, asked(id=1, sender=""), asked(id=2, sender="<>"))
    assert [(one["mail_from"], one["skipped"]) for one in answers] == [("", "report")] * 2


@pytest.mark.corpus
def test_real_mail(corpus, warnings):
    """Every message of the corpus goes out; nothing in it is a fault of ours."""
    tagging = Tagging(
        Metadata(KEYRING),
        lambda: CATALOG,
        default_storage=Storage.STATELESS,
        clock=lambda: NOW,
        warn=warnings.append,
    )
    count = 0
    for path in sorted((corpus / "eml").iterdir()):
        message = path.read_bytes()
        tagged = tagging.tag(message, "ada@example.net", mail_from="news@example.com")
        count += 1
        if tagged.skipped in ("signed", "encrypted", "broken-mime"):
            assert tagged.links == ()
        for one in tagged.links:
            assert one.tracked.startswith("https://links.test/")
    assert count > 100
    assert tagging.counters().get("faults", 0) == 0
    assert tagging.counters().get("skipped_fault", 0) == 0
