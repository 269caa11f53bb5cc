"""Several recipients, mixed answers, on a whole node: nothing lost, nothing twice."""

import re
import smtplib
import socket
import time

import pytest
from aiosmtpd.controller import Controller

from fixtures.node import running_node

MESSAGE = b"""\
From: News <news@shop.test>\r
Subject: hello\r
X-GreenArrow-SendID: mixed-1\r
Content-Type: text/html\r
\r
<html><body><a href="https://example.com/x">x</a></body></html>\r
"""


class Upstream:
    def __init__(self) -> None:
        self.mails: list[tuple[str, str, bytes]] = []

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if address.startswith("bad"):
            return "550 5.1.1 User unknown"
        if address.startswith("later"):
            return "450 4.2.0 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.mails.append((envelope.mail_from, envelope.rcpt_tos[0], envelope.original_content))
        return "250 OK"


@pytest.fixture
def upstream():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    handler = Upstream()
    handler.port = port
    controller = Controller(handler, "127.0.0.1", port)
    controller.start()
    yield handler
    controller.stop()


def test_mixed_answers(tmp_path, upstream):
    config = tmp_path / "sendback.toml"
    config.write_text(f'[[smtp_route]]\ndomain = "*"\nhost = "127.0.0.1"\nport = {upstream.port}\n')
    with running_node(tmp_path / "data", arguments=["--config", str(config)]) as node:
        recipients = ["good@far.test", "bad@far.test", "later@far.test"]
        with smtplib.SMTP(*node.address("submission"), timeout=30) as client:
            assert client.sendmail("news@shop.test", recipients, MESSAGE) == {}
        deadline = time.monotonic() + 30
        while len(upstream.mails) < 2:  # the good one, and the notice
            assert time.monotonic() < deadline, node.log()
            time.sleep(0.05)
        events = node.wait_events(1)
        (bounce,) = [event for event in events if event["event_type"] == "bounce_all"]

    assert bounce["email"] == "bad@far.test"
    assert bounce["sendid"] == "mixed-1"
    assert (bounce["bounce_type"], bounce["bounce_code"]) == ("h", 10)
    assert bounce["synchronous"] is True
    good, notice = upstream.mails
    assert good[1] == "good@far.test"
    assert notice[1] == "news@shop.test"
    assert b"bad@far.test" in notice[2]
    kept = list((tmp_path / "data" / "deferred").glob("*.msg"))
    assert len(kept) == 1  # later@ is ours now


def test_what_comes_back_by_mail(tmp_path):  # S0.17, S0.19
    """A mail to the List-Unsubscribe address, and the raw copy mailed to the complaint mailbox."""
    config = tmp_path / "sendback.toml"
    config.write_text(
        '[[mail_class]]\nname = "news"\nlist_unsubscribe_mailto = true\n'
        'event_tracking_metadata_storage = "stateless"\n'
        '[[bounce_mailbox]]\naddress = "bounce@b.test"\n'
        '[[complaint_mailbox]]\naddress = "fbl@b.test"\n'
    )
    with running_node(tmp_path / "data", arguments=["--config", str(config)]) as node:
        with smtplib.SMTP(*node.address("submission"), timeout=30) as client:
            client.sendmail("news@shop.test", ["ada@far.test"], MESSAGE)
        (path,) = (tmp_path / "data" / "outbox" / "new").iterdir()
        copy = path.read_bytes()
        mailto = re.search(rb"<mailto:([^?]+)\?subject=([^>]+)>", copy)
        subject = mailto[2].replace(b"%20", b" ")
        with smtplib.SMTP(*node.address("smtp"), timeout=30) as client:
            request = b"From: ada@far.test\r\nSubject: " + subject + b"\r\n\r\n"
            client.sendmail("ada@far.test", [mailto[1].decode()], request)
            client.sendmail("fbl@provider.test", ["fbl@b.test"], copy)
        events = node.wait_events(2)
    assert sorted((event["event_type"], event["email"]) for event in events) == [
        ("engine_unsub", "ada@far.test"),
        ("scomp", "ada@far.test"),
    ]
