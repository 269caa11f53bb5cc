"""Precedence of codes and words; unknown is soft; what a 5xx alone is worth."""

from pathlib import Path

import pytest

from sendback.reports import codes
from sendback.reports.classify import Fault, classify

CORPUS = Path(__file__).parents[2] / "corpus" / "reports"
RCPT = "anna@example.net"


def verdict(diagnostic="", status="", prose="", hosts=""):
    return classify(Fault(RCPT, diagnostic, status, prose, hosts))


@pytest.mark.parametrize(
    ("diagnostic", "status", "reason", "code"),
    [
        # the code in the diagnostic beats the Status field
        ("550 5.2.2 over quota", "5.1.1", "mailboxfull", "5.2.2"),
        ("550 5.7.1 IP blacklisted", "5.1.1", "blocked", "5.7.1"),
        (
            "5.1.0 - Unknown address error 550-'5.2.2 <anna@example.net>... Mailbox Full'",
            "5.0.0",
            "mailboxfull",
            "5.2.2",
        ),
        # a specific Status beats one that says nothing
        ("550 no", "5.1.1", "userunknown", "5.1.1"),
        # the last line of a reply wins
        ("550-5.7.0 hello 550 5.1.1 no such user", "", "userunknown", "5.1.1"),
        # codes that name the sender, the size or a loop come before words
        ("550 5.1.7 No such domain example.net", "5.1.7", "rejected", "5.1.7"),
        ("552 5.2.3 <anna@example.net> User unknown to us is too big", "", "exceedlimit", "5.2.3"),
        ("554 5.4.6 unknown user, too many hops", "", "networkerror", "5.4.6"),
        # words come before the default of 5.1.1
        ("550 5.1.1 message looks like spam", "5.1.1", "spamdetected", "5.1.1"),
    ],
)
def test_precedence(diagnostic, status, reason, code):
    found = verdict(diagnostic, status)

    assert (found.reason, found.status) == (reason, code)


@pytest.mark.parametrize(
    "text", ["550 no", "554 5.0.0", "550 5.5.0 sorry", "x", "", "550 5.7.1 go away"]
)
def test_unknown_is_soft_and_alive(text):
    found = verdict(text, "5.0.0")

    assert not found.hard
    assert not found.bad


@pytest.mark.parametrize("code", ["4.1.1", "4.1.2", "4.4.4", "4.3.2", "4.1.10"])
def test_a_temporary_code_alone_never_kills(code):
    assert not verdict("", code).bad


def test_boilerplate_does_not_kill():
    found = verdict(
        "501 5.1.8 Sender address rejected",
        "5.1.8",
        "** Address not found ** Your message wasn't delivered to anna@example.net because the "
        "address couldn't be found, or is unable to receive mail. The response was: 501 5.1.8",
    )

    assert found.reason == "rejected"


def test_a_senders_trouble_is_not_the_recipients():
    found = verdict(
        prose="550-Verification failed for <news@example.com> 550-Response: 550 5.1.1 User unknown "
        "550 Sender verify failed"
    )

    assert (found.reason, found.bad) == ("rejected", False)


@pytest.mark.parametrize(
    ("prose", "reason"),
    [
        ("SMTP error from remote mail server after MAIL FROM:<a@b.example>: 550 no", "rejected"),
        ("SMTP error from remote mail server after initial connection: 554 no", "blocked"),
        ("SMTP error from remote mail server after end of data: 550 no", "filtered"),
    ],
)
def test_the_stage_of_the_dialog_says_a_little(prose, reason):
    assert verdict(prose=prose).reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("host mx.example.net said: 550 5.1.1 User unknown (in reply to MAIL FROM)", "rejected"),
        (
            "SMTP error from remote mail server after MAIL FROM:<a@b.example>: no such user",
            "rejected",
        ),
        (
            "Connected to 192.0.2.1 but sender was rejected. Remote host said: unknown user",
            "rejected",
        ),
        ("Connected to 192.0.2.1 but my name was rejected. Invalid domain name", "blocked"),
        ("SMTP error from remote mail server after HELO mx.example.org: host unknown", "blocked"),
        ("550 5.7.1 host not found: mail.example.org", "blocked"),
    ],
)
def test_what_was_said_before_the_recipient_was_named_is_not_about_it(text, reason):
    found = verdict(text)

    assert (found.reason, found.bad) == (reason, False)


@pytest.mark.parametrize("text", ["451 mailbox locked", "452 account is suspended for now"])
def test_a_temporary_suspension_kills_nobody(text):
    found = verdict(text)

    assert (found.reason, found.bad) == ("suspend", False)


@pytest.mark.parametrize(
    "text",
    [
        "452 4.2.2 The email account that you tried to reach is over quota",
        "450 4.2.0 <anna@example.net>: Recipient address rejected: Greylisted",
        "450 4.7.1 <mail.example.org>: Helo command rejected: Host not found",
        "550 5.1.0 <a@example.org>: Sender address rejected: User unknown in virtual mailbox table",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
        "550 5.4.5 Daily user sending quota exceeded.",
        "550 5.1.351 Remote server returned unknown recipient or mailbox unavailable -> 550 spam",
        "Name service error for name=example.net type=MX: Host not found, try again",
        "550 The recipient does not accept mails from example.com over foreign mailservers",
        "454 4.7.1 <anna@example.net>: Relay access denied",
        "550 5.7.1 RESOLVER.RST.AuthRequired; authentication required",
        "521 5.2.1 :  (CON:B1)  http://postmaster.info.aol.com/errors/554conb1.html",
    ],
)
def test_live_addresses_stay_alive(text):
    """Each of these took good addresses off somebody's list (greenarrow.md 4.6, bounces.md 4.1)."""
    assert not verdict(text, hosts="mx.example.net").bad


@pytest.mark.parametrize(
    "text",
    [
        "550 5.1.1 Recipient address rejected: undeliverable address: host said: User unknown",
        "550 Requested action not taken: mailbox unavailable",
        "User anna (anna@example.net) not listed in Domino Directory",
        "550 5.7.1 No such user!",
        "556 5.1.10 Recipient domain has null MX",
        "550 User suspended",
        "550 5.4.1 [anna@example.net]: Recipient address rejected: Access denied",
        "550 用户不存在",
        "Empfänger unbekannt",
    ],
)
def test_dead_addresses_are_told(text):
    assert verdict(text).bad


@pytest.mark.parametrize(("name", "dead"), [("dead", True), ("alive", False)])
def test_what_servers_say(name, dead):
    """Replies of many systems, one a line; RCPT is user@example.com in these lists."""
    replies = (CORPUS / f"{name}.txt").read_text("utf-8").splitlines()

    wrong = [
        reply
        for reply in replies
        if classify(Fault("user@example.com", reply, hosts="mx.example.com")).bad != dead
    ]

    assert len(replies) > 120
    assert not wrong


def test_the_tables_fit_together():
    numbers = [reason.code for reason in codes.REASONS.values()]

    assert len(set(numbers)) == len(numbers)
    assert codes.REASONS["userunknown"].code == 10
    assert {reason.type for reason in codes.REASONS.values()} == {"h", "s", "o"}
    assert all(reason.bad for reason in codes.REASONS.values() if reason.hard)
    assert {*codes.DEFAULTS.values(), *codes.DECIDING.values()} <= codes.REASONS.keys()
