"""What `parse` guarantees beyond the corpus: local servers, complaint mailbox, broken DSNs."""

import pytest

from sendback.reports import parse
from sendback.reports.report import MAX_TEXT

QSBF = (
    b"From: MAILER-DAEMON@mx1.example.com\nSubject: failure notice\n\n"
    b"Hi. This is the qmail-send program at MX1.example.com.\n"
    b"I'm afraid I wasn't able to deliver your message to the following addresses.\n\n"
    b"<anna@example.net>:\n550 5.1.1 no such user\n\n"
    b"--- Below this line is a copy of the message.\n\nMessage-ID: <1@example.com>\n"
)
OURS = b"X-Mailer-Info: 1.abc\nX-Mailer-Info-Extra: def\n"
DSN = (
    b"From: MAILER-DAEMON@x.example\nSubject: Undelivered\nContent-Type: multipart/report; "
    b'report-type=delivery-status; boundary="b"\n\n--b\n\nsorry\n--b\n'
    b"Content-Type: message/delivery-status\n\nReporting-MTA: dns; MX1.example.com\n\n"
    b"Final-Recipient: rfc822; other@forward.example\n"
    b"Original-Recipient: rfc822; anna@example.net\n"
    b"Action: failed\nStatus: 5.1.1\n\n--b--\n"
)


@pytest.mark.parametrize("raw", [QSBF, DSN], ids=["qsbf", "dsn"])
def test_our_own_servers_are_local(raw):  # S0.13
    local = parse(raw, local_servers=frozenset({"mx1.example.com"}))

    assert local.is_local
    assert local.reporting_mta == "mx1.example.com"
    assert not parse(raw, local_servers=frozenset({"mx2.example.com"})).is_local
    assert not parse(raw).is_local


def test_original_and_final_recipient_are_kept_apart():
    (recipient,) = parse(DSN).recipients

    assert recipient.address == "other@forward.example"
    assert recipient.original == "anna@example.net"
    assert (recipient.bounce_type, recipient.bounce_code) == ("h", 10)


def test_message_id_of_the_returned_copy():
    assert parse(QSBF).message_id == "1@example.com"


def test_a_plain_copy_at_the_complaint_mailbox_is_a_complaint():  # S0.16, S0.19
    raw = b"From: anna@example.net\nSubject: Fwd: news\n\n" + OURS

    assert parse(raw, at_complaint_mailbox=True).kind == "complaint"
    assert parse(raw).kind == "other"


def test_raw_headers_mailed_to_the_complaint_mailbox_are_a_complaint():  # S0.19, test step 5
    raw = OURS + b"From: news@example.com\nSubject: news\n\nHello\n"

    report = parse(raw, at_complaint_mailbox=True)

    assert report.kind == "complaint"
    assert report.mailer_info_extra == ("def",)


def test_a_bounce_at_the_complaint_mailbox_is_no_complaint():
    raw = DSN.replace(
        b"--b--", b"--b\nContent-Type: message/rfc822\n\nX-Mailer-Info-Extra: def\n\n--b--"
    )

    assert parse(raw, at_complaint_mailbox=True).kind == "bounce"


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b'boundary="b"', b'boundary="lost"'),
        lambda raw: raw.replace(b'; boundary="b"', b""),
        lambda raw: raw.replace(b"multipart/report; report-type=delivery-status", b"text/plain"),
        lambda raw: raw.replace(
            b"Content-Type: message/delivery-status\n", b"Content-Type: text/plain; name=x\n"
        ),
        lambda raw: raw.replace(b"\n\nFinal", b"\nFinal"),
        lambda raw: raw.replace(b"\nAction", b"\n\nAction"),
        lambda raw: b"\n\n" + raw,
        lambda raw: b"From x@y Mon Jan  1 00:00:00 2026\n" + raw,
        lambda raw: raw.replace(b"\n", b"\r"),
        lambda raw: raw[: raw.index(b"\n\n--b--")],
    ],
)
def test_broken_dsns_are_still_read(change):
    report = parse(change(DSN))

    assert report.kind == "bounce"
    assert [r.address for r in report.recipients] == ["other@forward.example"]
    assert report.recipients[0].bad_address


def test_failure_beats_delay_for_one_address_and_for_the_report():
    group = b"Final-Recipient: rfc822; a@example.net\nAction: %s\nStatus: 4.4.7\n\n"
    head = DSN[: DSN.index(b"Final")]

    report = parse(head + group % b"delayed" + group % b"failed")

    assert report.kind == "bounce"
    assert [r.action for r in report.recipients] == ["failed"]


def test_a_delay_kills_nobody():
    raw = DSN.replace(b"failed", b"delayed")

    report = parse(raw)

    assert report.kind == "delivery-delay"
    assert not report.recipients[0].bad_address
    assert not report.recipients[0].hard


def test_texts_are_limited():
    raw = DSN.replace(
        b"Status: 5.1.1", b"Status: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 " + b"x " * 5000
    )

    (recipient,) = parse(raw).recipients

    assert len(recipient.text) <= MAX_TEXT
    assert len(recipient.diagnostic_code) <= MAX_TEXT


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"\x00\xff", b":", b"--", b"Content-Type: multipart/report", b"From x"]
)
def test_anything_gives_a_report(raw):
    assert parse(raw).kind == "other"


UNITS = (
    b"a",
    b"@",
    b"a@",
    b"<a@b.c>:\n",
    b"a@b.c\n",
    b"550 5.1.1 ",
    b" ",
    b"\n",
    b"\r",
    b"--b\n",
    b"user unknown ",
    b"=?utf-8?q?a?= ",
    b"Final-Recipient: rfc822; a@b.c\n",
    b"X-Mailer-Info: a\n b\n",
    b"<",
    b"<style",
    b"&#1;",
    b"> ",
    b"550-",
    b"5.",
    b"envelope-from ",
    b"Return-Path: <a@b.c>\n",
    b"=\n",
    b"feedback-type: x\n",
    b"could not be ",
    b"following recipient\n",
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n",
    b'{"notificationType":',
    b"mail ",
)


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_endless_repetition_gives_a_report(unit):
    """bench_reports.py measures that none of these takes 50 ms."""
    head = b"From: MAILER-DAEMON@example.org\nSubject: Undelivered Mail\n\n"

    assert parse(head + unit * (600_000 // len(unit))).kind
