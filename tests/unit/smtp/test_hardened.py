"""The submission port on aiosmtpd: what the library does not do by itself (reliability.md 0)."""

import asyncio
import contextlib
import errno
import inspect
import re
import socket
import struct
import time

import pytest
from aiosmtpd import lmtp, smtp
from hypothesis import given, settings
from hypothesis import strategies as st

from sendback.smtp.hardened import INSTEAD, Hardened
from sendback.smtp.limits import Limits
from sendback.smtp.logins import MAX_FAILURES, Logins
from sendback.smtp.submitting import LmtpSession, SubmissionSession


class Sink:
    """Takes every message from everybody; `fault` is raised in its place."""

    def __init__(self) -> None:
        self.logins = Logins({})
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.begun = 0

    def refusal(self, user, peer_ip):
        return None

    async def message(self, envelope, *, user, is_lmtp):
        self.begun += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.messages.append((envelope.mail_from, envelope.recipients, envelope.message))
        return b"250 2.0.0 taken\r\n" * (len(envelope.recipients) if is_lmtp else 1)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def door(doors, sink):
    def open_door(kind=SubmissionSession, **limits):
        values = {"drain_seconds": 2.0, "max_size": 200_000, "keep_bytes": 204_096, **limits}
        return doors(lambda server: kind(server, sink), limits=Limits(**values))

    return open_door


@pytest.fixture
def connect():
    clients = []

    def open_client(door, hello=b"EHLO c.test"):
        clients.append(door.connect())
        if hello:
            assert clients[-1].reply().startswith(b"220 mx.test ESMTP sendback\r\n")
            assert clients[-1].ask(hello).startswith(b"250")
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


def begin(client) -> None:
    assert client.ask(b"MAIL FROM:<a@b.test>") == b"250 2.1.0 Ok\r\n"
    assert client.ask(b"RCPT TO:<c@d.test>") == b"250 2.1.5 Ok\r\n"
    assert client.ask(b"DATA").startswith(b"354")


def wait_for(ready) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_is_offered(door, connect):
    client = door().connect()
    client.reply()
    assert client.ask(b"EHLO c.test").split(b"\r\n") == [
        b"250-mx.test",
        b"250-SIZE 200000",
        b"250-8BITMIME",
        b"250-SMTPUTF8",
        b"250-PIPELINING",
        b"250-DSN",
        b"250 ENHANCEDSTATUSCODES",
        b"",
    ]
    client.close()


def test_a_message_without_line_ends_costs_no_memory(door, connect):
    """40 connections that never end a line: the library held 25 MB of each."""
    opened = door(max_size=50_000, keep_bytes=54_096, max_errors=100)
    clients = [connect(opened) for _ in range(40)]
    for client in clients:
        begin(client)
    for _ in range(10):
        for client in clients:
            client.send(b"x" * 10_000)
    assert opened.server.buffered <= 40 * 54_096
    for client in clients:
        client.send(b"\r\n.\r\n")
        assert client.reply() == b"552 5.3.4 Message size exceeds fixed limit\r\n"
    assert opened.server.buffered == 0
    begin(clients[0])  # and the connection is as good as before


def test_an_endless_message_ends_the_connection(door, connect):
    opened = door(max_size=10_000, keep_bytes=10_000)
    client = connect(opened)
    begin(client)
    with contextlib.suppress(OSError):
        for _ in range(50):
            client.send(b"x" * 10_000)
    wait_for(lambda: opened.server.counters["endless_data"] == 1)
    wait_for(lambda: not opened.server._sessions)
    assert opened.server.buffered == 0


def test_the_memory_of_all_is_bounded(door, connect):
    opened = door(max_buffered=100_000)
    first, second = connect(opened), connect(opened)
    begin(first)
    first.send(b"y" * 150_000)
    wait_for(lambda: opened.server.buffered > 100_000)
    begin(second)
    second.send(b"y\r\n.\r\n")
    assert second.reply() == b"452 4.3.1 Insufficient system storage, try again later\r\n"
    first.close()
    wait_for(lambda: not opened.server.buffered)
    begin(second)
    second.send(b"y\r\n.\r\n")
    assert second.reply() == b"250 2.0.0 taken\r\n"


def test_a_line_of_any_length(door, connect, sink):
    """The library refuses lines over 1001 octets: real mail has them."""
    client = connect(door())
    begin(client)
    client.send(b"x" * 150_000 + b"\r\n.\r\n")
    assert client.reply() == b"250 2.0.0 taken\r\n"
    assert sink.messages[0][2] == b"x" * 150_000 + b"\r\n"


@pytest.mark.parametrize(
    "end",
    [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\0\r\n.\0\r\n", b"\r\n\0.\r\n"],
)
def test_only_one_thing_ends_a_message(door, connect, sink, end):
    client = connect(door())
    begin(client)
    client.send(b"one" + end + b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n")
    client.send(b"two\r\n.\r\n")
    assert client.reply() == b"250 2.0.0 taken\r\n"
    assert client.ask(b"NOOP") == b"250 2.0.0 Ok\r\n"
    assert len(sink.messages) == 1


def test_pipelining_across_messages(door, connect, sink):
    """What lies behind the final dot is the next command, whatever it came with."""
    client = connect(door())
    one = b"MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nhello\r\n.\r\n"
    client.send(one * 20 + b"QUIT\r\n")
    for _ in range(20):
        replies = [client.reply()[:3] for _ in range(4)]
        assert replies == [b"250", b"250", b"354", b"250"]
    assert client.reply() == b"221 2.0.0 Bye\r\n"
    assert sink.messages == [("", ["c@d.test"], b"hello\r\n")] * 20


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        (RuntimeError("secret detail"), b"451 4.3.0 Temporary fault here, try again later\r\n"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            b"452 4.3.1 Insufficient system storage, try again later\r\n",
        ),
    ],
)
def test_our_own_faults_are_temporary(door, connect, sink, fault, reply):
    sink.fault = fault
    client = connect(door())
    begin(client)
    client.send(b"x\r\n.\r\n")
    assert client.reply() == reply
    sink.fault = None
    begin(client)
    client.send(b"x\r\n.\r\n")
    assert client.reply() == b"250 2.0.0 taken\r\n"


def test_a_fault_in_a_command_is_temporary(door, connect, sink, monkeypatch):
    monkeypatch.setattr(sink, "refusal", lambda user, peer_ip: 1 / 0)
    client = connect(door())
    assert client.ask(b"MAIL FROM:<>") == b"451 4.3.0 Temporary fault here, try again later\r\n"


def test_lmtp_faults_are_answered_for_each_recipient(door, connect, sink):
    sink.fault = RuntimeError()
    client = connect(door(LmtpSession), b"LHLO c.test")
    assert client.ask(b"HELO x") == b"500 5.5.1 Say LHLO\r\n"
    client.ask(b"MAIL FROM:<>")
    client.ask(b"RCPT TO:<a@b.test>")
    begun = client.ask(b"RCPT TO:<c@d.test>"), client.ask(b"DATA")
    assert begun[1].startswith(b"354")
    client.send(b"x\r\n.\r\n")
    assert [client.reply()[:9], client.reply()[:9]] == [b"451 4.3.0"] * 2
    for message in (b"x" * 201_000,):
        client.ask(b"MAIL FROM:<>")
        client.ask(b"RCPT TO:<a@b.test>")
        client.ask(b"RCPT TO:<c@d.test>")
        client.ask(b"DATA")
        client.send(message + b"\r\n.\r\n")
        assert [client.reply()[:9], client.reply()[:9]] == [b"552 5.3.4"] * 2
    assert client.ask(b"NOOP").startswith(b"250")


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"MAIL FROM:<a@b.test> RET=HDRS ENVID=QQ314159", b"250 2.1.0"),
        (b"MAIL FROM:<a@b.test> SIZE=1000 BODY=8BITMIME", b"250 2.1.0"),
        (b"MAIL FROM:<> RET=FULL", b"250 2.1.0"),
        (b"mail from:<a@b.test>", b"250 2.1.0"),
        (b"MAIL FROM:<a@b.test> X=Y", b"555 5.5.4"),
        (b"MAIL FROM:<a@b.test> SIZE=999999999", b"552 5.3.4"),
        (b"MAIL FROM:<a@b.test> SIZE=many", b"501 5.5.4"),
        (b"MAIL FROM:<a@b.test> BODY=BINARYMIME", b"501 5.5.4"),
        (b"MAIL FROM:a@b.test", b"501 5.1.7"),
        (b"MAIL FROM:<a\x01b@c.test>", b"501 5.1.7"),
        ("MAIL FROM:<ü@b.test>".encode(), b"553 5.6.7"),
        ("MAIL FROM:<ü@b.test> SMTPUTF8".encode(), b"250 2.1.0"),
        (b"MAIL FROM:<\xff@b.test> SMTPUTF8", b"501 5.1.7"),
        (b"MAIL", b"501 5.5.4"),
        (b"RCPT TO:<c@d.test>", b"503 5.5.1"),
        (b"DATA", b"503 5.5.1"),
        (b"VRFY root", b"252 2.1.5"),
        (b"EXPN staff", b"502 5.5.1"),
        (b"HELP", b"214 2.0.0"),
        (b"AUTH PLAIN AGEAYg==", b"502 5.5.1"),
        (b"STARTTLS", b"502 5.5.1"),
        (b"LHLO x", b"500 5.5.1"),
        (b"NOOP anything", b"250 2.0.0"),
        (b"EHLO", b"501 5.5.4"),
        (b"XYZZY", b"500 5.5.1"),
        (b"\xff\xfe", b"500 5.5.1"),
        (b"", b"500 5.5.1"),
        (b"X" * 3000, b"500 5.5.2"),
        (b"NOOP " + b"x" * 200_000, b"500 5.5.2"),
        (b"QUIT", b"221 2.0.0"),
    ],
)
def test_replies(door, connect, command, reply):
    assert connect(door()).ask(command)[:9] == reply


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        (b"<c@d.test> NOTIFY=NEVER ORCPT=rfc822;c@d.test", b"250 2.1.5"),
        (b"<postmaster>", b"250 2.1.5"),
        (b"<a\0b@x.test>", b"501 5.1.3"),
        (b"<a\rb@x.test>", b"501 5.1.3"),
        (b"<" + b"a" * 300 + b"@x.test>", b"501 5.1.3"),
        (b"<@r.test:a@x.test>", b"501 5.1.3"),
        (b"<c@d.test> X=Y", b"555 5.5.4"),
        (b"c@d.test", b"501 5.1.3"),
        (b"<>", b"501 5.1.3"),
    ],
)
def test_recipients(door, connect, path, reply):
    client = connect(door())
    client.ask(b"MAIL FROM:<>")
    assert client.ask(b"RCPT TO:" + path)[:9] == reply


def test_too_many_recipients(door, connect):
    client = connect(door(max_recipients=2))
    client.ask(b"MAIL FROM:<>")
    answers = [client.ask(b"RCPT TO:<a%d@b.test>" % n)[:9] for n in range(3)]
    assert answers == [b"250 2.1.5", b"250 2.1.5", b"452 4.5.3"]


def test_http_is_not_smtp(door, connect):
    client = connect(door(), hello=b"")
    client.reply()
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nDATA\r\n")
    assert client.reply() == b"500 5.5.1 This is SMTP, not HTTP\r\n"
    assert client.reply() == b""


def test_nothing_runs_behind_a_goodbye(door, connect):
    client = connect(door())
    client.send(b"BDAT 5 LAST\r\n" + b"NOOP\r\n" * 100)
    assert client.reply() == b"502 5.5.1 BDAT is not offered here\r\n"
    assert client.reply() == b""


def test_errors_and_junk_end_the_session(door, connect):
    opened = door(max_errors=3, max_junk_commands=6)
    client = connect(opened)
    for _ in range(3):
        assert client.ask(b"RCPT TO:<a@b.test>").startswith(b"503")
    assert client.reply() == b"421 4.7.0 Too many errors, closing connection\r\n"
    assert client.reply() == b""
    client = connect(opened)
    replies = [client.ask(b"NOOP") for _ in range(5)]
    assert replies[-1] == b"421 4.7.0 Too many commands without mail, closing connection\r\n"


def test_a_taken_message_forgives(door, connect):
    client = connect(door(max_errors=3))
    for _ in range(5):
        client.ask(b"DATA")
        client.ask(b"DATA")
        begin(client)
        client.send(b"x\r\n.\r\n")
        assert client.reply().startswith(b"250")


def test_connection_caps(door, connect):
    opened = door(max_connections=3)
    kept = [connect(opened) for _ in range(3)]
    client = connect(opened, hello=b"")
    assert client.reply().startswith(b"421 4.7.0 mx.test Too many connections, ")
    assert client.reply() == b""
    kept[0].ask(b"QUIT")
    wait_for(lambda: len(opened.server._sessions) == 2)
    connect(opened)

    opened = door(max_connections_per_ip=1)
    connect(opened)
    client = connect(opened, hello=b"")
    assert client.reply().startswith(b"421 4.7.0 mx.test Too many connections from your address")
    wait_for(lambda: len(opened.server._sessions) == 1)


@pytest.mark.parametrize("limits", [{"idle_seconds": 0.1}, {"session_seconds": 0.1}])
def test_time_limits(door, connect, limits):
    client = connect(door(**limits))
    assert client.reply() == b"421 4.4.2 Timeout, closing connection\r\n"
    assert client.reply() == b""


def test_a_slow_body_is_cut(door, connect, sink):
    client = connect(door(data_grace_seconds=0.1, min_data_rate=1e6))
    begin(client)
    client.send(b"x")
    assert client.reply() == b"421 4.4.2 Timeout, closing connection\r\n"
    assert sink.messages == []


def test_a_client_that_vanishes_leaves_nothing(door, connect, sink):  # row 33
    opened = door()
    client = connect(opened)
    begin(client)
    client.send(b"half of a mess")
    wait_for(lambda: opened.server.buffered > 0)
    client.close()
    wait_for(lambda: not opened.server._sessions)
    assert opened.server.buffered == 0
    assert sink.begun == 0


def test_a_commit_runs_on_when_the_client_is_gone(door, connect, sink):
    """Behind the final dot the message is whole: cancelled half-way it could be half sent."""
    opened = door()
    sink.gate = asyncio.Event()
    client = connect(opened)
    begin(client)
    client.send(b"x\r\n.\r\n")
    wait_for(lambda: sink.begun)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # a reset: no answer can be given any more
    wait_for(lambda: not opened.server._sessions)
    opened.loop.call_soon_threadsafe(sink.gate.set)
    wait_for(lambda: sink.messages)


def test_a_half_open_client_gets_its_answer(door, connect, sink):
    opened = door()
    sink.gate = asyncio.Event()
    client = connect(opened)
    begin(client)
    client.send(b"x\r\n.\r\n")
    wait_for(lambda: sink.begun)
    client.sock.shutdown(1)
    opened.loop.call_soon_threadsafe(sink.gate.set)
    assert client.reply() == b"250 2.0.0 taken\r\n"
    assert client.reply() == b""
    wait_for(lambda: not opened.server._sessions)


def test_draining(door, connect, sink):
    """A message under way is finished and answered, an idle client is told, then it is over."""
    opened = door()
    sink.gate = asyncio.Event()
    idle, busy, sending = connect(opened), connect(opened), connect(opened)
    begin(sending)
    sending.send(b"first line\r\n")
    begin(busy)
    busy.send(b"x\r\n.\r\n")
    wait_for(lambda: sink.begun)
    opened.loop.call_soon_threadsafe(opened._stop.set)
    assert idle.reply() == b"421 4.3.2 Service shutting down\r\n"
    opened.loop.call_soon_threadsafe(sink.gate.set)
    assert busy.reply() == b"250 2.0.0 taken\r\n"
    assert busy.reply() == b"421 4.3.2 Service shutting down\r\n"
    sending.send(b"last line\r\n.\r\n")
    assert sending.reply() == b"250 2.0.0 taken\r\n"
    assert sending.reply() == b"421 4.3.2 Service shutting down\r\n"
    opened._thread.join(20)
    assert not opened._thread.is_alive()
    assert len(sink.messages) == 2


_packets = st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([
    b"EHLO x\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b.test>\r\n", b"DATA\r\n", b"\r\n.\r\n",
    b"\n.\n", b"RSET\r\n", b"STARTTLS\r\n", b"AUTH PLAIN\r\n", b"BDAT 5 LAST\r\n", b"\0", b"\r",
    b"HELO x\r\n", b"AUTH LOGIN YQ==\r\n", b"QUIT\r\n", b"NOOP\r\n", b"HELP\r\n", b"VRFY x\r\n",
])), max_size=30)  # fmt: skip


def test_no_input_is_a_fault(door):
    """Junk gives replies of three digits with an enhanced code, and no fault."""
    opened = door()

    @settings(max_examples=60, deadline=None)
    @given(_packets)
    def check(packets):
        client = opened.connect()
        with contextlib.suppress(OSError):
            for packet in packets:
                client.send(packet)
            client.send(b"\r\n.\r\nQUIT\r\n")
        replies = []
        while reply := client.reply():
            replies.append(reply)
        client.close()
        assert replies[0].startswith(b"220 mx.test")
        for reply in replies[1:]:
            plain = reply.startswith((b"250-mx.test", b"250 mx.test", b"354 "))
            assert plain or re.match(rb"([245])\d\d \1\.\d\.\d+ \S", reply), reply

    check()
    assert opened.server.counters["faults"] == 0


def test_every_word_of_the_library_is_ours_in_the_end():
    """A reply that the library can still give is translated, or has an enhanced code already."""
    kept = []
    for name, method in inspect.getmembers(smtp.SMTP, inspect.isfunction):
        ours = getattr(SubmissionSession, name)
        is_replaced = ours.__module__.startswith("sendback") and name not in (
            "push", "smtp_STARTTLS", "smtp_AUTH", "auth_PLAIN", "auth_LOGIN", "handle_exception",
            "connection_made", "connection_lost", "data_received", "eof_received",
        )  # fmt: skip
        if not is_replaced:
            kept.append(inspect.getsource(method))
    kept.append(inspect.getsource(lmtp))
    spoken = set(re.findall(r"""[f(= ]['"]([2-5]\d\d[ -][^'"{]*)""", "\n".join(kept)))
    assert len(spoken) > 15
    unknown = {
        words
        for words in spoken
        if not any(words.startswith(known.split("command")[0]) for known in INSTEAD)
        and not re.match(r"([245])\d\d \1\.\d\.\d+ ", words)
    }
    assert unknown == {
        "220 ", "250 ", "250 HELP", "250-SIZE ", "250-8BITMIME", "250-SMTPUTF8",
        "250-STARTTLS", "250-AUTH ", "334 ",
        # never said: settings we do not use
        "454 TLS not available", "530 Must issue a STARTTLS command first",
        "554 Command refused due to lack of security",
    }  # fmt: skip
    assert issubclass(SubmissionSession, Hardened)


def test_who_guesses_must_wait():
    now = [1000.0]
    logins = Logins({"app": "right"}, clock=lambda: now[0])

    async def main():
        for n in range(MAX_FAILURES):
            assert not logins.must_wait("192.0.2.1"), n
            assert await logins.user_of(b"app", b"wrong", "192.0.2.1") is None
        assert logins.must_wait("192.0.2.1")
        assert not logins.must_wait("192.0.2.2")
        assert await logins.user_of(b"app", b"right", "192.0.2.2") == "app"
        now[0] += 901
        assert not logins.must_wait("192.0.2.1")
        assert await logins.user_of(b"app", b"wrong", "192.0.2.1") is None
        assert not logins.must_wait("192.0.2.1")

    asyncio.run(main())
