"""The smtp port on a real journal: what 250 promises, and what faults of ours answer."""

import errno
import smtplib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from sendback import verp
from sendback.journal import Journal
from sendback.journal.files import FileOps
from sendback.model import MessageFacts, Storage
from sendback.smtp.limits import Limits


def send(port: int, rcpt, raw: bytes = b"Subject: x\r\n\r\nbody\r\n", sender: str = ""):
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo()
        client.mail(sender)
        for one in [rcpt] if isinstance(rcpt, str) else rcpt:
            assert client.rcpt(one)[0] == 250
        return client.data(raw)


def test_what_is_journaled_is_what_came(listener, captured, signed):
    door = listener()
    address = signed("ada@example.net")
    raw = b"Subject: =?utf-8?q?x?=\r\n\r\n\x80\xff body\r\n.\r\n"
    assert send(door.port, address.upper(), raw, "mailer@far.test") == (250, b"2.0.0 Ok")

    (mail,) = captured()
    assert mail.rcpt_to == address.upper()
    assert (mail.mail_from, mail.mailbox, mail.peer_ip) == (
        "mailer@far.test",
        "bounce",
        "127.0.0.1",
    )
    assert mail.raw == raw
    assert mail.size >= len(raw)
    assert abs(mail.time_ms / 1000 - time.time()) < 60
    assert len(mail.record_id) == 16


def test_each_recipient_for_itself(listener, captured, signed):
    door = listener()
    recipients = [signed("a@x.test"), "fbl@mx.test", "abuse@mx.test", "postmaster@mx.test"]
    assert send(door.port, recipients)[0] == 250
    assert [(mail.rcpt_to, mail.mailbox) for mail in captured()] == list(
        zip(recipients, ["bounce", "complaint", "abuse", "postmaster"], strict=True)
    )


def test_stateless_and_expired_addresses_are_taken(listener, captured, signed, metadata):
    """An expired but genuine address: accepted, finishing keeps it as unattributed."""
    door = listener()
    old = signed("a@x.test", Storage.STATELESS, tagged_at=1_500_000_000)
    assert metadata.resolve_bounce(verp.split(old)[1]).expired
    for address in (signed("a@x.test", Storage.STATELESS), old):
        assert send(door.port, address)[0] == 250
    assert len(captured()) == 2


def test_a_mail_to_the_unsubscribe_address(listener, captured, metadata):
    """List-Unsubscribe by mail: the signed token stands in the subject."""
    facts = MessageFacts(email="ada@x.test", listid="news", tagged_at=1_790_000_000)
    token = metadata.issue(Storage.LOCAL, facts, []).mailto_token
    door = listener()
    subject = f"Subject: unsubscribe {token}\r\n\r\n\r\n".encode()
    assert send(door.port, "bounce@mx.test", subject, "ada@x.test")[0] == 250
    assert send(door.port, "bounce@mx.test", subject.replace(b" A", b" B"), "ada@x.test")[0] == 250
    assert send(door.port, "bounce@mx.test", b"Subject: x\r\n\r\n" + subject, "a@x.test")[0] == 250
    assert [mail.mailbox for mail in captured()] == ["unsubscribe", "bounce", "bounce"]


def test_bouncemaxbytes(listener, captured, signed):  # S0.12
    door = listener(
        max_bytes=5120, limits=Limits(keep_bytes=5120 + 4096, max_size=1_000_000, drain_seconds=5)
    )
    raw = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * 20_000
    assert send(door.port, signed(), raw)[0] == 250
    (mail,) = captured()
    assert mail.raw == raw[:5120]
    assert mail.size == len(raw)


class Faulty(FileOps):
    """A disk that says no while `error` is set."""

    error = 0
    where = "fdatasync"

    def fdatasync(self, fd):
        if self.error and self.where == "fdatasync":
            raise OSError(self.error, "played")
        super().fdatasync(fd)

    def write(self, fd, data):
        if self.error and self.where == "write":
            raise OSError(self.error, "played")
        return super().write(fd, data)

    def create(self, path):
        if self.error and self.where == "write":
            raise OSError(self.error, "played")
        return super().create(path)

    def free_bytes(self, folder):
        return 0 if self.error == errno.ENOSPC else super().free_bytes(folder)


@pytest.mark.parametrize(
    ("number", "where", "answer"),
    [
        (errno.EIO, "fdatasync", 451),  # rows 4 and 5
        (errno.ENOSPC, "write", 452),  # rows 6 and 7
        (errno.EROFS, "write", 451),  # row 8
    ],
)
def test_a_faulty_disk_never_costs_mail(
    listener, tmp_path, captured, signed, number, where, answer
):
    files = Faulty()
    files.where = where
    journal = Journal(tmp_path / "journal", "smtp", files=files)
    try:
        door = listener(journal=journal)
        assert send(door.port, signed())[0] == 250
        files.error = number
        for _ in range(3):
            code, text = send(door.port, signed())
            assert code == answer
            assert text.startswith(b"4.3.")
            assert b"played" not in text
        files.error = 0
        deadline = time.monotonic() + 20
        while send(door.port, signed("last@x.test"))[0] != 250:
            assert time.monotonic() < deadline
        assert door.server.counters["messages"] >= 2
    finally:
        door.stop()
        journal.close()
    assert len(captured()) >= 2


def test_a_slow_disk_makes_larger_groups(listener, tmp_path, signed):  # row 9
    """Thirty messages at once on a disk that takes 0.2 s a sync: a few syncs, not thirty."""

    class Slow(FileOps):
        syncs = 0

        def fdatasync(self, fd):
            Slow.syncs += 1
            time.sleep(0.2)
            super().fdatasync(fd)

    journal = Journal(tmp_path / "journal", "smtp", files=Slow())
    try:
        door = listener(journal=journal)
        address = signed()
        with ThreadPoolExecutor(30) as pool:
            codes = list(pool.map(lambda _: send(door.port, address)[0], range(30)))
        assert codes == [250] * 30
        assert 1 <= Slow.syncs < 20
        door.stop()
    finally:
        journal.close()


def test_a_client_that_never_reads_is_let_go(listener):
    """Its goodbye can't be sent: the connection ends all the same."""
    door = listener(
        limits=Limits(idle_seconds=0.3, max_errors=10**9, max_junk_commands=10**9, drain_seconds=1)
    )
    client = door.connect()
    client.sock.setblocking(False)
    noise = b"HELP\r\n" * 2000
    deadline = time.monotonic() + 20
    while True:  # until its replies fill every buffer, and we read no further
        try:
            client.sock.send(noise)
        except BlockingIOError:
            break
        assert time.monotonic() < deadline
    while door.server._sessions:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.close()


def test_back_pressure_is_a_temporary_failure_at_mail(listener):
    pressed = [True]
    door = listener(is_full=lambda: pressed[0])
    with smtplib.SMTP("127.0.0.1", door.port) as client:
        client.ehlo()
        assert client.mail("") == (452, b"4.3.1 Insufficient system storage, try again later")
        pressed[0] = False
        assert client.mail("")[0] == 250


def test_draining_finishes_the_message_under_way(listener, captured, signed):  # row 3
    door = listener()
    idle, busy = door.connect(), door.connect()
    for client in (idle, busy):
        assert client.reply().startswith(b"220")
        client.ask(b"EHLO c.test")
    busy.ask(b"MAIL FROM:<>")
    busy.ask(b"RCPT TO:<%b>" % signed().encode())
    assert busy.ask(b"DATA").startswith(b"354")
    door.loop.call_soon_threadsafe(door._stop.set)
    assert idle.reply() == b"421 4.3.2 Service shutting down\r\n"
    assert idle.reply() == b""
    busy.send(b"x\r\n.\r\n")
    assert busy.reply() == b"250 2.0.0 Ok\r\n"
    assert busy.reply() == b"421 4.3.2 Service shutting down\r\n"
    door.stop()
    assert len(captured()) == 1
    idle.close()
    busy.close()


def test_caps(listener):  # row 34
    door = listener(limits=Limits(max_connections=3, max_connections_per_ip=2, drain_seconds=1))
    first, second, third = (door.connect() for _ in range(3))
    assert first.reply().startswith(b"220")
    assert second.reply().startswith(b"220")
    assert third.reply() == b"421 4.7.0 mx.test Too many connections from your address\r\n"
    assert third.reply() == b""
    first.ask(b"QUIT")
    first.close()
    deadline = time.monotonic() + 10
    while True:
        again = door.connect()
        answer = again.reply()
        if answer.startswith(b"220"):
            break
        again.close()
        assert time.monotonic() < deadline
    for client in (second, third, again):
        client.close()


@pytest.mark.parametrize(
    "limits",
    [
        {"idle_seconds": 0.2},
        {"session_seconds": 0.2},
        {"data_grace_seconds": 0.1, "min_data_rate": 1e6},
    ],
)
def test_slow_clients_are_sent_home(listener, limits):
    door = listener(limits=Limits(drain_seconds=1, **limits))
    client = door.connect()
    client.reply()
    client.send(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bounce@mx.test>\r\nDATA\r\n")
    replies = [client.reply() for _ in range(5)]
    assert replies[-1] == b"421 4.4.2 Timeout, closing connection\r\n"
    assert client.reply() == b""
    client.close()


def test_a_proxy_that_sends_no_header_is_sent_home(listener):
    door = listener(
        trusted_proxies=["127.0.0.0/8"], limits=Limits(proxy_header_seconds=0.2, drain_seconds=1)
    )
    client = door.connect()
    assert client.reply() == b""
    client.close()


def test_the_address_behind_the_proxy_counts(listener, captured):
    door = listener(trusted_proxies=["127.0.0.0/8"])
    client = door.connect()
    client.send(b"PROXY TCP6 2001:db8::7 ::1 4000 25\r\n")
    assert client.reply().startswith(b"220")
    client.ask(b"EHLO c.test")
    client.ask(b"MAIL FROM:<>")
    client.ask(b"RCPT TO:<fbl@mx.test>")
    client.ask(b"DATA")
    assert client.ask(b"x\r\n.").startswith(b"250")
    assert captured()[0].peer_ip == "2001:db8::7"
    client.close()


def test_half_closed_clients_get_their_answer(listener, captured):
    """`printf ... | nc -N`: everything sent, then a FIN, then the replies are read."""
    door = listener()
    client = door.connect()
    client.reply()
    client.send(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<fbl@mx.test>\r\nDATA\r\n")
    for _ in range(4):
        client.reply()
    client.send(b"x\r\n.\r\n")
    client.sock.shutdown(socket.SHUT_WR)
    assert client.reply() == b"250 2.0.0 Ok\r\n"
    assert client.reply() == b""
    assert len(captured()) == 1
    client.close()
