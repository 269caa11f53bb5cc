"""The submission port in front of a real (aiosmtpd) upstream that answers by local part."""

import asyncio
import contextlib
import smtplib
import socket
import time
from email import message_from_bytes
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from sendback import verp
from sendback.config import load
from sendback.errors import Unavailable
from sendback.model import SmtpRoute
from sendback.relay import Outbox, build_relay
from sendback.smtp.limits import Limits
from sendback.smtp.submission import Submission
from sendback.smtp.submitting import LmtpSession, SubmissionSession
from sendback.tagging import Tagging

MESSAGE = b"""\
From: news@example.com\r
To: list@example.com\r
Subject: hello\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
\r
<html><body><a href="https://example.com/x">x</a>\r
..dots\r
.\r
</body></html>\r
"""


class Upstream:
    """Takes mail; hard@, soft@, late@ (refused at DATA) and drop@ fare otherwise."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str, bytes]] = []
        self.connections = 0
        self.soft = True

    async def handle_EHLO(self, server, session, envelope, hostname, responses):  # noqa: N802
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if address.startswith("hard"):
            return "550-5.1.1 no such user\r\n550 5.1.1 look elsewhere"
        if address.startswith("soft") and self.soft:
            return "451 4.7.1 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 yes"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        rcpt = envelope.rcpt_tos[0]
        if rcpt.startswith("late"):
            return "554 5.7.0 not this one"
        if rcpt.startswith("drop"):
            server.transport.abort()
        self.mails.append((envelope.mail_from, rcpt, envelope.original_content))
        return f"250 2.0.0 queued as {len(self.mails)}"


@pytest.fixture
def upstream():
    with running_upstream() as handler:
        yield handler


@contextlib.contextmanager
def running_upstream():
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    sock.close()
    handler = Upstream()
    controller = Controller(handler, "127.0.0.1", port, enable_SMTPUTF8=True)
    controller.start()
    handler.port = port
    yield handler
    controller.stop()


@pytest.fixture
def submission(doors, metadata, journal, catalog, tmp_path: Path):
    """Opens the port; without `upstream` mail goes to the outbox."""

    def open_port(upstream=None, *, is_lmtp=False, route=None, routes=(), **options):
        routes = list(routes)
        if upstream is not None:
            fields = {"domain": "*", "host": "127.0.0.1", "port": upstream.port, **(route or {})}
            routes.append(SmtpRoute(**fields))
        relay = build_relay(routes, hostname="mx.test", outbox=Outbox(tmp_path / "outbox"))
        handler = Submission(
            Tagging(metadata, lambda: catalog),
            relay,
            journal,
            tmp_path / "deferred",
            hostname="mx.test",
            **options,
        )
        kind = LmtpSession if is_lmtp else SubmissionSession
        door = doors(
            lambda server: kind(server, handler),
            limits=Limits(max_size=100_000, keep_bytes=200_000, drain_seconds=5.0),
        )
        door.handler = handler
        return door

    return open_port


def outbox_files(tmp_path: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((tmp_path / "outbox" / "new").iterdir())]


def run(door, work):
    return asyncio.run_coroutine_threadsafe(work, door.loop).result(20)


def transaction(client, recipients, sender="news@example.com", message=MESSAGE) -> list[bytes]:
    """Send one message; the replies to MAIL, to each RCPT, to DATA and behind the dot."""
    replies = [client.ask(b"MAIL FROM:<%b>" % sender.encode())]
    replies += [client.ask(b"RCPT TO:<%b>" % rcpt.encode()) for rcpt in recipients]
    replies.append(client.ask(b"DATA"))
    if replies[-1].startswith(b"354"):
        stuffed = b"".join(
            b"." + line if line.startswith(b".") else line for line in message.splitlines(True)
        )
        client.send(stuffed + b".\r\n")
        replies.append(client.reply())
    return replies


@pytest.fixture
def hello():
    """Greeted clients, closed at the end."""
    clients = []

    def connect(door, verb=b"EHLO"):
        clients.append(door.connect())
        return greeted(clients[-1], verb)

    yield connect
    for client in clients:
        client.close()


def greeted(client, verb):
    assert client.reply().startswith(b"220")
    assert client.ask(verb + b" app.test").startswith(b"250-")
    return client


def test_without_a_smarthost_a_maildir_holds_one_file_a_recipient(
    submission, tmp_path, metadata, hello
):
    door = submission()
    with smtplib.SMTP("127.0.0.1", door.port) as client:
        assert client.sendmail("news@example.com", ["ada@a.test", "bob@b.test"], MESSAGE) == {}

    files = outbox_files(tmp_path)
    assert len(files) == 2
    for raw in files:
        first, second = raw.split(b"\r\n")[:2]
        assert first.startswith(b"Return-Path: <bounce+")
        assert first.endswith(b"@mx.test>")
        rcpt = second.removeprefix(b"Delivered-To: ").decode()
        token = verp.split(first.decode()[14:-1])[1]
        assert metadata.resolve_bounce(token).message.email == rcpt
        assert b"https://links.test/click?" in raw
        assert b"\r\n..dots\r\n.\r\n" in raw  # what was stuffed is not any more
    assert not list((tmp_path / "outbox" / "tmp").iterdir())


def test_one_recipient_gets_the_upstreams_answer_unchanged(submission, upstream, hello):
    door = submission(upstream)
    client = hello(door)

    assert transaction(client, ["ada@a.test"])[-1] == b"250 2.0.0 queued as 1\r\n"
    assert (
        transaction(client, ["hard@a.test"])[-1]
        == b"550-5.1.1 no such user\r\n550 5.1.1 look elsewhere\r\n"
    )
    assert transaction(client, ["soft@a.test"])[-1] == b"451 4.7.1 greylisted\r\n"
    assert transaction(client, ["late@a.test"])[-1] == b"554 5.7.0 not this one\r\n"
    assert transaction(client, ["drop@a.test"])[-1].startswith(b"451 4.4.2 ")
    assert [rcpt for _, rcpt, _ in upstream.mails] == ["ada@a.test", "drop@a.test"]
    sender, _, sent = upstream.mails[0]
    assert sender.startswith("bounce+")
    assert b"\r\n..dots\r\n.\r\n" in sent


def test_a_domains_route_beats_the_smarthost(submission, upstream, hello):  # S0.8
    with running_upstream() as static:
        route = SmtpRoute(domain="bounces.test", host="127.0.0.1", port=static.port)
        client = hello(submission(upstream, routes=[route]))
        for rcpt in ("ada@a.test", "bounce@Bounces.TEST", "bob@sub.bounces.test"):
            assert transaction(client, [rcpt])[-1].startswith(b"250")
        assert [rcpt for _, rcpt, _ in static.mails] == ["bounce@Bounces.TEST"]
        assert [rcpt for _, rcpt, _ in upstream.mails] == ["ada@a.test", "bob@sub.bounces.test"]


def test_connections_are_reused(submission, upstream, hello):  # S0.9
    door = submission(upstream)
    client = hello(door)
    for _ in range(5):
        assert transaction(client, ["ada@a.test"])[-1].startswith(b"250")
    assert upstream.connections == 1


def test_connections_are_not_reused_when_the_route_says_so(submission, upstream, hello):  # S0.9
    door = submission(upstream, route={"reuse_connections": False})
    client = hello(door)
    for _ in range(3):
        assert transaction(client, ["ada@a.test"])[-1].startswith(b"250")
    assert upstream.connections == 3


def test_a_kept_connection_that_died_costs_nothing(submission, upstream, hello):
    door = submission(upstream)
    client = hello(door)
    assert transaction(client, ["ada@a.test"])[-1].startswith(b"250")
    transaction(client, ["drop@a.test"])
    assert transaction(client, ["ada@a.test"])[-1].startswith(b"250")


def test_max_messages_per_hour(submission, upstream, hello):  # S0.10
    door = submission(upstream, route={"max_messages_per_hour": 2})
    client = hello(door)
    answers = [transaction(client, ["ada@a.test"])[-1][:9] for _ in range(3)]
    assert answers == [b"250 2.0.0", b"250 2.0.0", b"451 4.7.1"]


def test_an_unreachable_smarthost_is_a_temporary_failure(submission, upstream, hello):
    upstream.port = 1
    door = submission(upstream)
    client = hello(door)
    assert transaction(client, ["ada@a.test"])[-1].startswith(b"451 4.4.1 ")
    assert transaction(client, ["ada@a.test", "bob@a.test"])[-1].startswith(b"451 4.4.1 ")


def test_equal_answers_are_one_answer(submission, upstream, captured, hello):
    door = submission(upstream)
    client = hello(door)
    assert transaction(client, ["a@a.test", "b@a.test"])[-1].startswith(b"250 2.0.0 queued as ")
    assert transaction(client, ["hard@a.test", "hard2@a.test"])[-1].startswith(b"550")
    assert transaction(client, ["soft@a.test", "soft2@a.test"])[-1].startswith(b"451")
    assert captured() == []
    assert door.handler.deferred.backlog() == 0


def test_mixed_answers_nothing_lost_nothing_twice(submission, upstream, captured, metadata, hello):
    """250; the put-off one is kept and sent later, the refused one is an event and a notice."""
    door = submission(upstream)
    client = hello(door)
    reply = transaction(client, ["ada@a.test", "hard@a.test", "soft@a.test"])[-1]

    assert reply == b"250 2.0.0 Ok: 1 of 3 recipients passed on, the rest kept or noted\r\n"
    (mail,) = captured()
    assert (mail.mail_from, mail.mailbox) == ("", "bounce")
    assert metadata.resolve_bounce(verp.split(mail.rcpt_to)[1]).message.email == "hard@a.test"
    report = message_from_bytes(mail.raw)
    assert report.get_content_type() == "multipart/report"
    status = report.get_payload()[1].get_payload()[1]
    assert status["Action"] == "failed"
    assert status["Status"] == "5.1.1"
    assert status["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user 5.1.1 look elsewhere"
    assert "X-Mailer-Info" in report.get_payload()[2].get_payload()
    assert door.handler.deferred.backlog() == 2  # soft@ and the notice

    async def work_off():
        while await door.handler.deferred.step():
            pass

    run(door, work_off())
    assert [(rcpt, sender) for sender, rcpt, _ in upstream.mails][1:] == [
        ("news@example.com", "<>")
    ]
    assert b"hard@a.test" in upstream.mails[1][2]
    upstream.soft = False
    door.handler.deferred._clock = lambda: time.time() + 400
    run(door, work_off())
    assert [rcpt for _, rcpt, _ in upstream.mails] == [
        "ada@a.test",
        "news@example.com",
        "soft@a.test",
    ]
    assert door.handler.deferred.backlog() == 0


def test_a_null_sender_gets_no_notice(submission, upstream, captured, hello):
    door = submission(upstream)
    client = hello(door)
    reply = transaction(client, ["ada@a.test", "hard@a.test"], sender="")[-1]
    assert reply.startswith(b"250")
    assert door.handler.deferred.backlog() == 0
    assert captured() == []  # nor an event: nothing was signed
    assert upstream.mails[0][0] == "<>"
    assert upstream.mails[0][2] == MESSAGE


def test_what_cannot_be_kept_is_not_promised(submission, upstream, tmp_path, hello):
    (tmp_path / "deferred").write_text("not a directory")
    door = submission(upstream)
    client = hello(door)
    reply = transaction(client, ["ada@a.test", "soft@a.test"])[-1]
    assert reply == b"451 4.3.0 Temporary fault here, try again later\r\n"


def test_lmtp_answers_for_each_recipient(submission, upstream, hello):
    door = submission(upstream, is_lmtp=True)
    client = hello(door, b"LHLO")
    assert client.ask(b"EHLO x") == b"500 5.5.1 Say LHLO\r\n"
    assert transaction(client, ["ada@a.test", "hard@a.test", "soft@a.test"])[-1].startswith(b"250")
    assert client.reply().startswith(b"550-5.1.1")
    assert client.reply().startswith(b"451 4.7.1")
    assert door.handler.deferred.backlog() == 0


def test_suppressed_recipients(submission, upstream, hello):
    asked = []

    def is_suppressed(email, listid):
        asked.append((email, listid))
        return email == "gone@a.test"

    door = submission(upstream, is_suppressed=is_suppressed)
    client = hello(door)
    assert transaction(client, ["gone@a.test"])[-1] == (
        b"550 5.7.1 This recipient is suppressed for this list\r\n"
    )
    assert transaction(client, ["ada@a.test"])[-1].startswith(b"250")
    hidden = b"X-GreenArrow-Obscured-Email: gone@a.test\r\n" + MESSAGE
    assert transaction(client, ["ada@a.test"], message=hidden)[-1].startswith(b"550 5.7.1 ")
    assert asked == [("gone@a.test", "news"), ("ada@a.test", "news"), ("gone@a.test", "news")]


def test_never_an_open_relay(submission, hello):
    client = hello(submission(allowed_networks=["192.0.2.0/24"]))
    assert client.ask(b"MAIL FROM:<a@b.test>").startswith(b"554 5.7.1 ")
    client = hello(submission(allowed_networks=[], users={"app": "secret"}))
    assert client.ask(b"MAIL FROM:<a@b.test>") == b"530 5.7.0 Authentication required\r\n"
    assert client.ask(b"AUTH PLAIN AGFwcABzZWNyZXQ=").startswith(b"538 5.7.11 ")


def test_loopback_may_send_beside_users_that_log_in(submission, hello, tmp_path):
    """Unless set, allowed_networks is loopback, whether there are users or not."""
    settings = load(environ={"HOME": str(tmp_path)}, cwd=tmp_path)
    options = {"allowed_networks": settings.submission.allowed_networks, "users": {"app": "x"}}
    client = hello(submission(**options))
    assert client.ask(b"MAIL FROM:<a@b.test>") == b"250 2.1.0 Ok\r\n"


def test_a_message_in_circles_ends(submission, upstream, hello):
    client = hello(submission(upstream))
    message = b"Received: from x by y\r\n" * 60 + MESSAGE
    assert transaction(client, ["ada@a.test"], message=message)[-1].startswith(b"554 5.4.6 ")
    message = b"X-Mailer-Info: from our own passes\r\n" * 51 + MESSAGE
    assert transaction(client, ["ada@a.test"], message=message)[-1].startswith(b"554 5.4.6 ")


@pytest.mark.parametrize("storage", ["local", "stateless"])
@pytest.mark.parametrize("lines", [100, 20_000])
def test_small_and_large_messages_fare_alike(submission, upstream, hello, storage, lines):
    """Small stateless ones are tagged on the loop, all others in a thread."""
    client = hello(submission(upstream))
    header = b"X-GreenArrow-EventTrackingMetadataStorage: " + storage.encode() + b"\r\n"
    message = header + MESSAGE.replace(b"</body>", b"x\r\n" * lines + b"</body>")
    recipients = ["ada@a.test", "bob@a.test", "hard@a.test"]
    reply = transaction(client, recipients, message=message)[-1]
    assert reply.startswith(b"250 2.0.0 Ok: 2 of 3")
    assert sorted(rcpt for _, rcpt, _ in upstream.mails) == recipients[:2]
    assert all(b"/click?" in sent for _, _, sent in upstream.mails)


def test_one_faulty_recipient_does_not_decide_over_the_others(
    submission, upstream, monkeypatch, hello
):
    door = submission(upstream)
    send = door.handler._relay.send

    async def faulty(outgoing):
        if outgoing.rcpt.startswith("boom"):
            raise RuntimeError("a bug")
        return await send(outgoing)

    monkeypatch.setattr(door.handler._relay, "send", faulty)
    client = hello(door)
    reply = transaction(client, ["ada@a.test", "boom@a.test"])[-1]
    assert reply.startswith(b"250 2.0.0 Ok: 1 of 2")
    assert door.handler.deferred.backlog() == 1


def test_internationalised_mail(submission, upstream, hello):
    client = hello(submission(upstream))
    assert client.ask("MAIL FROM:<é@b.test> SMTPUTF8".encode()) == b"250 2.1.0 Ok\r\n"
    assert client.ask("RCPT TO:<ü@a.test>".encode()) == b"250 2.1.5 Ok\r\n"
    assert client.ask(b"DATA").startswith(b"354")
    client.send(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    assert client.reply().startswith(b"250")
    assert upstream.mails[0][1] == "ü@a.test"


def test_an_event_that_cannot_be_journaled_is_not_lost(
    submission, upstream, captured, hello, journal, monkeypatch
):
    """The refused recipient is kept, tried again, and refused again when there is room."""
    door = submission(upstream)
    append = journal.append_async

    async def full(payload):
        raise Unavailable("disk full")

    monkeypatch.setattr(journal, "append_async", full)
    reply = transaction(hello(door), ["ada@a.test", "hard@a.test"])[-1]
    assert reply.startswith(b"250 2.0.0 Ok: 1 of 2")
    assert door.handler.deferred.backlog() == 1
    assert captured() == []

    monkeypatch.setattr(journal, "append_async", append)
    door.handler.deferred._clock = lambda: time.time() + 400
    assert run(door, door.handler.deferred.step())
    assert [mail.mailbox for mail in captured()] == ["bounce"]
    assert run(door, door.handler.deferred.step())  # the notice
    assert not run(door, door.handler.deferred.step())
    assert upstream.mails[-1][1] == "news@example.com"


def test_a_notice_that_fails_is_the_end_of_it(submission, upstream, captured, hello):
    """No report about a report: RFC 5321 section 6.1."""
    door = submission(upstream)
    recipients = ["ada@a.test", "hard@a.test"]
    assert transaction(hello(door), recipients, sender="hard@sender.test")[-1].startswith(b"250")
    assert run(door, door.handler.deferred.step())
    assert door.handler.deferred.backlog() == 0
    assert len(captured()) == 1


def test_pipelined_input_behind_a_slow_commit_waits(submission, upstream, hello):
    """What comes while an answer is due is bounded, and answered in order."""
    door = submission(upstream)
    client = hello(door)
    client.ask(b"MAIL FROM:<a@b.test>")
    client.ask(b"RCPT TO:<ada@a.test>")
    client.ask(b"DATA")
    client.send(b"x\r\n.\r\n" + b"NOOP\r\n" * 50 + b"RSET\r\n" + b"x" * 70_000 + b"\r\n")
    assert client.reply().startswith(b"250 2.0.0 queued")
    for _ in range(51):
        assert client.reply() == b"250 2.0.0 Ok\r\n"
    assert client.reply() == b"500 5.5.2 Line too long\r\n"
    assert client.ask(b"NOOP") == b"250 2.0.0 Ok\r\n"
