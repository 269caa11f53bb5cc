"""Sending Servers and Event Servers: seed 000's split, with nothing shared but two constants."""

import json
import re
import signal
import smtplib
import time
from urllib.parse import urlsplit

import pytest

from e2e.test_first_light import SAMPLE, arf, deliver, dsn, fetch, html_of, return_path
from e2e.test_supervisor import until
from fixtures.node import run_cli, running_node
from sendback.metadata import Metadata
from sendback.model import LinkFacts, MessageFacts, Storage
from sendback.secret_constants import Keyring

SENDING = {
    "SENDBACK_SERVER_ID": "sending-1",
    "SENDBACK_URL_DOMAIN": '[{"domain": "links.example.com", "default": true}]',
    "SENDBACK_MAIL_CLASS": json.dumps(
        [
            {
                "name": "default",
                "default": True,
                "track_clicks": True,
                "track_opens": True,
                "unsubscribe_links": True,
                "url_domain": "links.example.com",
                "bounce_mailbox": "return@bounces.example.com",
            }
        ]
    ),
    # S0.6: the mailbox lives on the event servers
    "SENDBACK_SIMPLEMH_VALIDATE_BOUNCE_ADDRESS": "false",
    "SENDBACK_DEFAULT_EVENT_TRACKING_METADATA_STORAGE": "stateless",
}
EVENT = {
    "SENDBACK_SERVER_ID": "event-1",
    "SENDBACK_BOUNCE_MAILBOX": '[{"address": "return@bounces.example.com"}]',
    "SENDBACK_COMPLAINT_MAILBOX": '[{"address": "fbl@bounces.example.com"}]',
}


def share_constants(tmp_path) -> None:
    """S0.3: view on one server, set on the others, compare."""
    shown = run_cli("secret-constants", "--view", "--data-dir", str(tmp_path / "sending")).stdout
    first, second = re.findall(r"^Constant [12]: ([0-9a-f]+)$", shown, re.MULTILINE)
    run_cli(
        *("secret-constants", f"--constant1={first}", f"--constant2={second}"),
        *("--data-dir", str(tmp_path / "event")),
    )
    prints = [
        run_cli("secret-constants", "fingerprint", "--data-dir", str(tmp_path / name)).stdout
        for name in ("sending", "event")
    ]
    assert prints[0] == prints[1]
    assert first not in prints[0]


def tagged_copy(node, *, headers: bytes = b"") -> bytes:
    with smtplib.SMTP(*node.address("submission"), timeout=30) as smtp:
        smtp.sendmail(
            "weekly@lighthouse.example", ["ada@example.org"], headers + SAMPLE.read_bytes()
        )
    newest = max((node.data_dir / "outbox" / "new").iterdir(), key=lambda p: p.stat().st_mtime_ns)
    return newest.read_bytes()


def links_of(copy: bytes, path: str) -> list[str]:
    """Path and token of the links, without the host that only DNS would lead us to."""
    found = re.findall(rf"http://links\.example\.com(/{path}\?[\w-]+)", html_of(copy))
    assert found
    return found


def test_any_event_server_answers_any_sending_servers_mail(tmp_path):
    # S0.1, S0.3, S0.5, S0.6, S0.14, S0.15, S0.16, S0.17, S0.19, S0.21, S4.10
    for name in ("sending", "event"):
        (tmp_path / name).mkdir()
    share_constants(tmp_path)
    with (
        running_node(
            tmp_path / "sending", env=SENDING, arguments=["--only", "submission,worker"]
        ) as sending,
        running_node(
            tmp_path / "event", env=EVENT, arguments=["--only", "web,smtp,admin,worker"]
        ) as event,
    ):
        copy = tagged_copy(sending)
        assert return_path(copy).endswith("@bounces.example.com")
        for link in links_of(copy, "(?:uni/)?click"):
            assert fetch(event.web + link)[0] == 302
        (pixel,) = links_of(copy, "open")
        assert fetch(event.web + pixel)[0] == 200
        (unsub,) = set(links_of(copy, "unsub"))
        status, headers, _ = fetch(event.web + unsub)
        assert status == 302
        assert urlsplit(headers["Location"]).path == "/goodbye"
        deliver(event, return_path(copy), dsn(copy, "ada@example.org"))
        deliver(event, "fbl@bounces.example.com", arf(copy), "feedback@isp.example")
        # the seed's fifth step: raw headers mailed to the complaint mailbox
        raw_headers = copy.split(b"\n", 2)[2].split(b"\n\n", 1)[0]
        deliver(
            event, "fbl@bounces.example.com", b"Subject: look\n\n" + raw_headers, "me@isp.example"
        )

        events = event.wait_events(3 + 1 + 1 + 1 + 2)
        kinds = [e["event_type"] for e in events if e["event_type"] != "bounce_bad_address"]
        assert sorted(kinds) == [
            *("bounce_all", *["engine_click"] * 3, "engine_open", "engine_unsub"),
            *("scomp", "scomp"),
        ]
        assert {e["email"] for e in events} == {"ada@example.org"}
        assert {e["server_id"] for e in events} == {"event-1"}
        assert {e["url_domain"] for e in events} == {"links.example.com"}
        # S0.16, S0.21: statistics stand on the event server too
        (row,) = json.loads(event.cli("stats", "sends", "--json").stdout)
        assert row["sendid"] == events[0]["sendid"]


def test_a_local_token_on_another_node_is_refused_and_explained(tmp_path):
    # S0.4, S0.20
    for name in ("sending", "event"):
        (tmp_path / name).mkdir()
    share_constants(tmp_path)
    local = {**SENDING, "SENDBACK_DEFAULT_EVENT_TRACKING_METADATA_STORAGE": "local"}
    with (
        running_node(
            tmp_path / "sending", env=local, arguments=["--only", "submission,web,worker"]
        ) as sending,
        running_node(tmp_path / "event", env=EVENT, arguments=["--only", "web,worker"]) as event,
    ):
        # the event server has local rows of its own, with the same numbers
        link = links_of(tagged_copy(sending), "click")[0]

        status, headers, _ = fetch(event.web + link)
        assert (status, headers["Location"]) == (404, None)
        assert fetch(sending.web + link)[0] == 302
        assert [e["event_type"] for e in sending.wait_events(1)] == ["engine_click"]
        assert event.events() == []
        assert "another node" in event.log() or "store" in event.log()


def test_a_key_that_one_server_lacks_is_told_and_taken_at_the_next_reload(tmp_path):
    # S0.3: `add` everywhere, then `promote`; who was forgotten shows in the metrics
    with running_node(tmp_path / "event", env=EVENT) as event:
        (own,) = json.loads(event.cli("secret-constants", "list", "--json").stdout)
        rings = (
            Keyring.from_constants(bytes(range(n, n + 32)), bytes(range(32))) for n in range(9)
        )
        ring = next(ring for ring in rings if f"{ring.key_id:02x}" != own["key_id"])
        facts = MessageFacts(email="ada@example.org", tagged_at=int(time.time()))
        issued = Metadata(ring).issue(
            Storage.STATELESS, facts, [LinkFacts(url="https://example.com/", pos=1)]
        )
        link = f"{event.web}/click?{issued.link_tokens[0][1]}"
        assert fetch(link)[0] == 404

        wanted = f'sendback_unknown_key_total{{key_id="{ring.key_id:02x}",part="web"}} 1.0'
        assert until(lambda: wanted in fetch(event.admin + "/metrics")[2].decode())

        first, second = ring.signing.constants
        event.cli("secret-constants", "add", f"--constant1={first}", f"--constant2={second}")
        event.process.send_signal(signal.SIGHUP)
        assert until(lambda: fetch(link)[0] == 302)
        assert [e["email"] for e in event.wait_events(1)] == ["ada@example.org"]
        states = json.loads(event.cli("secret-constants", "list", "--json").stdout)
        assert sorted(row["state"] for row in states) == ["accepted", "signing"]


def test_a_url_domain_with_tls_gives_https_links(tmp_path):  # S4.7
    message = tmp_path / "message.eml"
    message.write_bytes(SAMPLE.read_bytes())
    env = SENDING | {"SENDBACK_URL_DOMAIN": '[{"domain": "links.example.com", "tls": true}]'}
    done = run_cli(
        *("rewrite", str(message), "--rcpt", "ada@example.org"),
        *("--data-dir", str(tmp_path / "data")),
        env=env,
    )

    assert re.search(r'href="https://links\.example\.com/click\?[\w-]+"', done.stdout)
    assert "http://links.example.com" not in done.stdout
    # RFC 8058: one-click only where the POST goes over TLS
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in done.stdout


@pytest.mark.parametrize("storage", ["local", "stateless"])
def test_the_header_chooses_the_storage_of_one_message(tmp_path, storage):  # S4.9, S4.10
    (tmp_path / "sending").mkdir()
    with running_node(
        tmp_path / "sending", env=SENDING, arguments=["--only", "submission,worker"]
    ) as sending:
        header = f"X-GreenArrow-EventTrackingMetadataStorage: {storage}\n".encode()
        copy = tagged_copy(sending, headers=header)

    assert (b"X-Mailer-Info-Extra:" in copy) == (storage == "stateless")
    assert b"X-GreenArrow" not in copy
