"""`check message`: one good copy is fine, and each mistake made on purpose is said by name."""

import json
import re
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.node import run_cli
from sendback.checks.message import check_message
from sendback.checks.tagged_copy import read_copy
from sendback.metadata import Metadata
from sendback.metadata.local import LocalStore
from sendback.model import BounceMailbox, Catalog, MailClass, Storage, UrlDomain
from sendback.secret_constants import Keyring
from sendback.tagging import Tagging

NOW = 1_790_000_000.0
DAY = 86_400
KEYRING = Keyring.from_constants(secrets.token_hex(32), secrets.token_hex(32))
SAMPLE = (
    b"From: news@example.com\r\nSubject: hi\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n\r\n"
    b'<html><body><a href="https://example.com/a?b=1&amp;c=2">a</a>'
    b'<a href="##unsubscribetag##https://example.com/leave">b</a>'
    b'<a href="https://status.example.com/" data-ga-notrack>c</a></body></html>\r\n'
)
DKIM = (
    b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x;\r\n"
    b"\th=From:Subject:List-Unsubscribe:\r\n\t List-Unsubscribe-Post; bh=eA==; b=eA==\r\n"
)
RECEIVED = b"Received: from a by b; Mon, 1 Jan 2026 00:00:00 +0000\r\n"


def catalog(*, tls=True, **mail_class) -> Catalog:
    wanted = {"track_clicks": True, "track_opens": True, "unsubscribe_links": True} | mail_class
    return Catalog(
        url_domains=(UrlDomain(domain="links.test", tls=tls, default=True),),
        mail_classes=(MailClass(name="news", default=True, **wanted),),
        bounce_mailboxes=(BounceMailbox(address="bounce@mx.test"),),
    )


def copy(known=None, *, keyring=KEYRING, storage=Storage.STATELESS, local=None, now=NOW) -> bytes:
    """A message as it lies in a mailbox: tagged, signed behind us, delivered."""
    metadata = Metadata(keyring, local=local, clock=lambda: now)
    tagging = Tagging(
        metadata, lambda: known or catalog(), default_storage=storage, clock=lambda: now
    )
    made = tagging.tag(SAMPLE, "ann@example.org")
    return f"Return-Path: <{made.mail_from}>\r\n".encode() + RECEIVED + DKIM + made.message


def found(raw: bytes, *, keyring=KEYRING, known=None, local=None, now=NOW):
    metadata = Metadata(keyring, local=local, clock=lambda: now)
    return check_message(raw, metadata, known or catalog())


def states(findings) -> dict[str, str]:
    return {f"{one.check}: {one.subject}": one.state for one in findings}


def test_a_good_copy_is_fine():
    findings = found(copy())

    assert states(findings) == {
        "links: tracked links": "ok",
        "url-domain: links.test": "ok",
        "pixel: open pixel": "ok",
        "other-links: untracked links": "ok",
        "unsubscribe: List-Unsubscribe": "ok",
        "one-click: List-Unsubscribe-Post": "ok",
        "dkim: DKIM-Signature": "ok",
        "mailer-info: X-Mailer-Info": "ok",
        "mailer-info: X-Mailer-Info-Extra": "ok",
        "return-path: bounce@mx.test": "ok",
    }
    details = {one.check: one.detail for one in findings}
    assert details["links"] == "2 of 2 verify: 1 to click, 1 to unsubscribe"
    assert details["other-links"] == "status.example.com (1)"


def without(name: bytes):
    """Cuts a header field out, folded lines included."""
    return lambda raw: re.sub(rb"(?m)^" + name + rb":[^\n]*\n(?:[ \t][^\n]*\n)*", b"", raw, count=1)


def changed(old: bytes, new: bytes):
    def change(raw: bytes) -> bytes:
        assert old in raw
        return raw.replace(old, new, 1)

    return change


def broken_token(place: bytes):
    """Changes one character in the middle of the token behind `place`."""

    def change(raw: bytes) -> bytes:
        at = raw.index(place) + len(place) + 8
        return raw[:at] + (b"A" if raw[at : at + 1] != b"A" else b"B") + raw[at + 1 :]

    return change


@pytest.mark.parametrize(
    ("mistake", "check", "state", "detail"),
    [
        (broken_token(b"/click?"), "link", "problem", "bad MAC"),
        (broken_token(b"/open?"), "link", "problem", "bad MAC"),
        (broken_token(b"<https://links.test/unsub?"), "link", "problem", "bad MAC"),
        (broken_token(b"bounce+"), "return-path", "problem", "bad MAC"),
        (broken_token(b"X-Mailer-Info: "), "mailer-info", "problem", "bad MAC"),
        (broken_token(b"X-Mailer-Info-Extra: "), "mailer-info", "problem", "bad MAC"),
        (changed(b"bounce+", b"other+"), "return-path", "warning", "no bounce mailbox"),
        (without(b"X-Mailer-Info"), "mailer-info", "problem", "missing"),
        (without(b"Return-Path"), "return-path", "skipped", "missing"),
        (
            lambda raw: b"Return-Path: <news@example.com>\r\n" + without(b"Return-Path")(raw),
            "return-path",
            "problem",
            "no signed bounce address",
        ),
        (without(b"List-Unsubscribe"), "unsubscribe", "problem", "missing"),
        (without(b"List-Unsubscribe-Post"), "one-click", "problem", "missing"),
        (changed(b"=One-Click", b"=Two-Click"), "one-click", "problem", "Two-Click"),
        (
            changed(b"<https://links.test/unsub", b"<http://links.test/unsub"),
            "one-click",
            "problem",
            "no https URI",
        ),
        (
            changed(b"Unsubscribe:\r\n\t List-Unsubscribe-Post", b"Unsubscribe:Date"),
            "dkim",
            "problem",
            "h= leaves out List-Unsubscribe-Post",
        ),
        (without(b"DKIM-Signature"), "dkim", "warning", "none"),
        (
            lambda raw: without(b"DKIM-Signature")(without(b"Received")(raw)),
            "dkim",
            "skipped",
            "none yet",
        ),
        (
            changed(b"\nFrom:", b"\nX-GreenArrow-SendID: x\r\nFrom:"),
            "leftovers",
            "problem",
            "x-greenarrow-sendid",
        ),
        (
            changed(b"</body>", b"##unsubscribetag##</body>"),
            "leftovers",
            "problem",
            "readers see it",
        ),
        (
            lambda raw: raw.replace(b"https://links.test/", b"https://other.test/"),
            "url-domain",
            "warning",
            "no URL domain of this node",
        ),
    ],
)
def test_each_mistake_is_said_by_name(mistake, check, state, detail):
    findings = found(mistake(copy()))

    said = [one for one in findings if one.check == check and one.state == state]
    assert said, findings
    assert any(detail in one.detail for one in said)
    assert all(one.cure for one in said)
    others = [one for one in findings if one.state == "problem" and one not in said]
    # what is not there can't be covered, and is missed by nobody else
    assert {one.check for one in others} <= {"one-click"}


def test_a_message_that_was_never_tagged():
    findings = found(SAMPLE)

    problems = {one.check: one.detail for one in findings if not one.ok}
    assert problems["links"] == "none"
    assert problems["mailer-info"] == "missing"
    assert problems["leftovers"] == "readers see it"


def test_other_secret_constants_are_the_problem():  # S0.3
    other = Keyring.from_constants(secrets.token_hex(32), secrets.token_hex(32))
    problems = [one for one in found(copy(keyring=other)) if not one.ok]

    assert {one.check for one in problems} == {"link", "mailer-info", "return-path"}
    assert all("bad MAC" in one.detail for one in problems)
    assert all("secret-constants" in one.cure for one in problems)


def test_one_click_is_for_https_only():
    known = catalog(tls=False)
    findings = found(copy(known), known=known)

    (one,) = [one for one in findings if one.check == "one-click"]
    assert (one.state, one.detail) == ("warning", "missing: the link is http")


def test_an_expired_return_path_is_a_warning():
    late = NOW + 100 * DAY
    (one,) = [one for one in found(copy(), now=late) if one.check == "return-path"]

    assert (one.state, one.detail) == ("warning", "verifies, expired")


def test_local_metadata_is_verified_where_it_lies_and_nowhere_else(tmp_path):  # S0.4, S0.20
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    here = LocalStore(tmp_path / "here" / "metadata.sqlite")
    there = LocalStore(tmp_path / "there" / "metadata.sqlite")
    try:
        raw = copy(storage=Storage.LOCAL, local=here)
        # the other node has rows of its own
        copy(storage=Storage.LOCAL, local=there)
        at_home, away, nowhere = (found(raw, local=store) for store in (here, there, None))
    finally:
        here.close()
        there.close()

    assert {one.state for one in at_home} == {"ok"}
    for findings in (away, nowhere):
        said = [one for one in findings if one.state == "skipped"]
        assert {one.check for one in said} == {"link", "mailer-info", "return-path"}
        assert all("on the node that tagged it" in one.cure for one in said)
        assert all(one.ok for one in findings)


def test_headers_folded_by_other_servers_and_mbox_lines_are_read():
    raw = b"From ann Mon Jan  1 00:00:00 2026\n" + copy().replace(b"\r\n", b"\n")
    taken = read_copy(raw)

    assert taken.return_path.startswith("bounce+")
    assert len(taken.tracked) == 3
    assert len(taken.unsubscribe_entries) == 1
    assert all(one.ok for one in found(raw))


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"\xff\xfe\x00", b"Content-Type: text/html\n\n<a href"]
)
def test_junk_is_no_traceback(raw):
    assert not all(one.ok for one in found(raw))


@pytest.mark.parametrize(
    "html",
    [
        b'<![if foo <a href="https://[bad/click?AAAA">',  # no address, a section of its own kind
        b'<a href="https://[::1/x"><img src="https://links.test:x/open?AAAA">',
        b"<svg>" * 20_000,  # too much for a tree
    ],
)
def test_markup_that_libraries_stumble_over(html):
    raw = b"Content-Type: text/html; charset=idna\nX-Mailer-Info: \xff\n\n" + html

    assert {one.check for one in found(raw) if not one.ok} >= {"unsubscribe", "mailer-info"}


GOOD = copy()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_message_makes_it_stumble(data):
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(raw) - 1))
        end = at + data.draw(st.integers(0, 40))
        raw[at:end] = data.draw(
            st.binary(max_size=12) | st.sampled_from([b"[", b"\n", b"<![", b"&#"])
        )

    assert found(bytes(raw))


def test_links_in_text_end_where_a_sentence_does():
    url = re.search(rb"https://links.test/click\?[\w-]+", GOOD)[0]
    raw = b"Content-Type: text/plain\n\nGo to " + url + b". Or (" + url + b")!\n"

    assert [one.url for one in read_copy(raw).tracked] == [url.decode()]


def test_links_for_outlook_are_verified_too():
    shape = b'<!--[if mso]><v:rect href="https://links.test/click?AAAAAAAAAAAAAAAA"></v:rect><![endif]-->'
    findings = found(GOOD.replace(b"</body>", shape + b"</body>"))

    assert [one.check for one in findings if not one.ok] == ["link"]


def test_the_command_reads_what_rewrite_made(tmp_path):
    place = ("--data-dir", str(tmp_path / "data"))
    (tmp_path / "plain.eml").write_bytes(SAMPLE)
    tagged = run_cli("rewrite", str(tmp_path / "plain.eml"), "--rcpt", "ann@example.org", *place)
    (tmp_path / "tagged.eml").write_text(tagged.stdout)

    good = run_cli("check", "message", str(tmp_path / "tagged.eml"), "--json", *place)
    bad = run_cli("check", "message", str(tmp_path / "plain.eml"), "--json", *place, check=False)
    table = run_cli("check", "message", str(tmp_path / "plain.eml"), *place, check=False)

    assert all(row["ok"] for row in json.loads(good.stdout))
    assert (bad.returncode, table.returncode) == (3, 3)
    assert {"problem"} == {row["state"] for row in json.loads(bad.stdout) if not row["ok"]}
    assert "links\ttracked links\tproblem\tnone\t" in table.stdout
    assert run_cli("check", "message", "nowhere.eml", check=False).returncode == 2
