"""A real Postfix around a real node: its DSNs come home, and the content_filter recipe works."""

import contextlib
import re
import smtplib
import socket
import time
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from fixtures.node import running_node
from fixtures.postfix import free_port, running_postfix

pytestmark = pytest.mark.mta
CONFIG = Path(__file__).resolve().parents[2] / "config" / "postfix"
MESSAGE = b"""\
From: News <news@shop.test>\r
To: list@shop.test\r
Subject: hello\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
\r
<html><body><a href="https://example.com/x">x</a></body></html>\r
"""


class Remote:
    """A foreign mail server: takes mail, or refuses by local part."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str, bytes]] = []

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if address.startswith("bad"):
            return "550 5.1.1 <bad>: Recipient address rejected: User unknown"
        if address.startswith("full"):
            return "552 5.2.2 Mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        for rcpt in envelope.rcpt_tos:
            self.mails.append((envelope.mail_from, rcpt, envelope.original_content))
        return "250 OK"


@pytest.fixture
def remote():
    handler = Remote()
    handler.port = free_port()
    controller = Controller(handler, "127.0.0.1", handler.port)
    controller.start()
    yield handler
    controller.stop()


def node_config(tmp_path: Path, port: int) -> tuple[str, str]:
    """sendback.toml of the example, for this test's ports and domains."""
    text = (CONFIG / "sendback.toml").read_text()
    text = text.replace("10026", str(port)).replace("bounces.example.com", "bounces.test")
    text += '\n[[mail_class]]\nname = "news"\ntrack_clicks = true\ntrack_opens = true\n'
    path = tmp_path / "sendback.toml"
    path.write_text(text)
    return "--config", str(path)


def wait_for(ready, what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def bounces(node) -> list[dict]:
    return [event for event in node.events() if event["event_type"] == "bounce_all"]


def test_a_dsn_of_a_real_postfix_comes_home(tmp_path, remote):  # S0.19
    """Sent through the node, refused by a remote server, reported by Postfix: an event each."""
    port = free_port()
    with running_node(tmp_path / "data", arguments=node_config(tmp_path, port)) as node:
        host, smtp_port = node.address("smtp")
        transports = {
            "bounces.test": f"smtp:[{host}]:{smtp_port}",
            "far.test": f"smtp:[127.0.0.1]:{remote.port}",
        }
        with (
            running_postfix(port=port, transports=transports) as postfix,
            smtplib.SMTP(*node.address("submission"), timeout=30) as client,
        ):
            client.sendmail("news@shop.test", ["good@far.test"], MESSAGE)
            client.sendmail("news@shop.test", ["bad@far.test"], MESSAGE)
            client.sendmail("news@shop.test", ["full@far.test"], MESSAGE)
            wait_for(lambda: remote.mails, postfix.log())
            events = [event for event in node.wait_events(2) if event["event_type"] == "bounce_all"]
            log = postfix.log()
        sender, rcpt, _ = remote.mails[0]
        assert rcpt == "good@far.test"
        assert re.fullmatch(r"bounce\+[a-z2-7]+@bounces\.test", sender)
        by_email = {event["email"]: event for event in events}
        assert sorted(by_email) == ["bad@far.test", "full@far.test"], log
        assert by_email["bad@far.test"]["bounce_type"] == "h"
        assert by_email["bad@far.test"]["bounce_code"] == 10
        assert by_email["full@far.test"]["bounce_type"] == "s"
        assert all(event["listid"] == "news" for event in events)


@contextlib.contextmanager
def filtering_postfix(node, reinject: int, remote):
    """Postfix with the shipped example files, for this test's ports and domains."""
    host, submission = node.address("submission")
    smtp_port = node.address("smtp")[1]
    main = (CONFIG / "main.cf.content-filter").read_text()
    main = main.replace("[127.0.0.1]:2587", f"[{host}]:{submission}")
    main = main.replace("bounces.example.com", "bounces.test")
    main = main.replace("[127.0.0.1]:2525 }", f"[127.0.0.1]:{smtp_port} }} "
                        f"{{ far.test = smtp:[127.0.0.1]:{remote.port} }}")  # fmt: skip
    master = (CONFIG / "master.cf.content-filter").read_text().replace("10026", str(reinject))
    with running_postfix(port=free_port(), transports={}, main=main, master=master) as postfix:
        yield postfix


def test_the_content_filter_recipe(tmp_path, remote):
    reinject = free_port()
    data_dir = tmp_path / "data"
    arguments = node_config(tmp_path, reinject)
    with (
        running_node(data_dir, arguments=arguments) as node,
        filtering_postfix(node, reinject, remote) as postfix,
    ):
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=30) as client:
            recipients = ["ada@far.test", "bob@far.test", "bad@far.test"]
            client.sendmail("news@shop.test", recipients, MESSAGE)
        wait_for(lambda: len(remote.mails) == 2, postfix.log())
        events = node.wait_events(1)
        assert {event["email"] for event in events} == {"bad@far.test"}, postfix.log()
        senders = {sender for sender, _, _ in remote.mails}
        assert len(senders) == 2
        assert all(sender.endswith("@bounces.test") for sender in senders)
        for _, _, message in remote.mails:
            assert b"/click?" in message
            assert message.count(b"X-Mailer-Info:") == 1

        # The filter is down: Postfix keeps the mail, and sends it when the filter is back.
        submission = node.address("submission")
        node.process.terminate()
        node.process.wait(30)
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=30) as client:
            client.sendmail("news@shop.test", ["carl@far.test"], MESSAGE)
        wait_for(lambda: "Connection refused" in postfix.queue(), postfix.log())
        assert len(remote.mails) == 2
        with socket.create_server(submission):
            pass  # the port is free again
        env = {"SENDBACK_SUBMISSION__LISTEN": f"{submission[0]}:{submission[1]}"}
        with running_node(data_dir, arguments=arguments, env=env):
            postfix.flush()
            wait_for(lambda: len(remote.mails) == 3, postfix.log())
    assert remote.mails[2][1] == "carl@far.test"
