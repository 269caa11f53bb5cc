"""The whole loop with real processes: a newsletter in, every event that it causes out."""

import email
import email.policy
import json
import re
import smtplib
import urllib.error
import urllib.request
from email.message import EmailMessage
from pathlib import Path

import pytest

from fixtures.node import running_node

RECIPIENTS = ["ada@example.org", "bob@example.net", "cleo@example.com"]
SAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "newsletter.eml"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def fetch(url: str, *, data: bytes | None = None, agent: str = "Mozilla/5.0 (X11; Linux x86_64)"):
    """(status, headers, body) without following a redirect."""
    request = urllib.request.Request(url, data=data, headers={"User-Agent": agent})
    try:
        with _OPENER.open(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers, refused.read()


def send(node, message: bytes, recipients=RECIPIENTS) -> None:
    with smtplib.SMTP(*node.address("submission"), timeout=30) as smtp:
        refused = smtp.sendmail("news@lighthouse.example", recipients, message)
    assert refused == {}


def copies(node) -> dict[str, bytes]:
    """Recipient -> the copy in the outbox, envelope lines included."""
    found = {}
    for path in (node.data_dir / "outbox" / "new").iterdir():
        raw = path.read_bytes()
        found[re.search(rb"^Delivered-To: (\S+)", raw, re.MULTILINE)[1].decode()] = raw
    return found


def html_of(copy: bytes) -> str:
    message = email.message_from_bytes(copy, policy=email.policy.default)
    return message.get_body(("html",)).get_content()


def return_path(copy: bytes) -> str:
    return re.match(rb"Return-Path: <([^>]+)>", copy)[1].decode()


def dsn(copy: bytes, rcpt: str) -> bytes:
    """A Postfix-shaped delivery status notification about this copy (RFC 3464)."""
    original = copy.split(b"\n", 2)[2]
    return (
        b"From: MAILER-DAEMON@mx.example.net (Mail Delivery System)\n"
        b"To: " + return_path(copy).encode() + b"\n"
        b"Subject: Undelivered Mail Returned to Sender\n"
        b"Auto-Submitted: auto-replied\nMIME-Version: 1.0\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"\n\n'
        b"--=_b\nContent-Type: text/plain\n\n<" + rcpt.encode() + b">: host mx.example.net said: "
        b"550 5.1.1 User unknown (in reply to RCPT TO command)\n\n"
        b"--=_b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n"
        b"Final-Recipient: rfc822; " + rcpt.encode() + b"\nAction: failed\nStatus: 5.1.1\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 User unknown\n\n"
        b"--=_b\nContent-Type: message/rfc822\n\n" + original + b"\n--=_b--\n"
    )


def arf(copy: bytes) -> bytes:
    """A feedback report about this copy (RFC 5965), the recipient masked."""
    headers = copy.split(b"\n", 2)[2].split(b"\n\n", 1)[0]
    return (
        b"From: feedback@isp.example\nTo: fbl@localhost\nSubject: complaint\nMIME-Version: 1.0\n"
        b'Content-Type: multipart/report; report-type=feedback-report; boundary="=_f"\n\n'
        b"--=_f\nContent-Type: text/plain\n\nThis is an email abuse report.\n\n"
        b"--=_f\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n"
        b"User-Agent: isp/1.0\nVersion: 1\nSource-IP: 192.0.2.7\n"
        b"Reported-Domain: lighthouse.example\n\n"
        b"--=_f\nContent-Type: text/rfc822-headers\n\n" + headers + b"\n\n--=_f--\n"
    )


def deliver(node, rcpt: str, message: bytes, mail_from: str = "") -> None:
    with smtplib.SMTP(*node.address("smtp"), timeout=30) as smtp:
        smtp.sendmail(mail_from, [rcpt], message)


@pytest.mark.corpus
@pytest.mark.parametrize("storage", ["local", "stateless"])
def test_every_answer_to_a_real_newsletter_comes_home_once(tmp_path, corpus, storage):
    # S0.19, S4.1, S4.9, S4.10: the seed's testing sequence on one node
    html = (corpus / "html" / "ColorlibHQ+email-templates").parent
    template = max(html.rglob("*.html"), key=lambda p: p.read_bytes().count(b'href="http'))
    message = EmailMessage()
    message["From"] = "news@lighthouse.example"
    message["Subject"] = "News"
    message["X-GreenArrow-Click-Tracking-ID"] = "4711"
    message.set_content("Plain text.\n")
    body = template.read_text(errors="replace")
    unsub = '<a href="##unsubscribetag##https://lighthouse.example/bye?x=1#top">bye</a>'
    message.add_alternative(body.replace("</body>", unsub + "</body>", 1), subtype="html")
    ndjson = {
        "SENDBACK_DESTINATION": json.dumps(
            [{"name": "file", "type": "ndjson", "url": "events/all.ndjson"}]
        ),
        "SENDBACK_DEFAULT_EVENT_TRACKING_METADATA_STORAGE": storage,
    }
    with running_node(tmp_path / "data", env=ndjson) as node:
        send(node, message.as_bytes())
        found = copies(node)
        assert set(found) == set(RECIPIENTS)
        expected = []
        for rcpt, copy in found.items():
            page = html_of(copy)
            links = re.findall(r'http://localhost:\d+/(?:uni/)?click\?[^"\s<>]+', page)
            assert links
            for link in links:
                status, headers, _ = fetch(link)
                assert status == 302
                expected.append(("engine_click", rcpt, headers["Location"]))
            (pixel,) = set(re.findall(r"http://localhost:\d+/open\?[\w-]+", page))
            status, headers, gif = fetch(pixel)
            assert (status, headers["Content-Type"], len(gif)) == (200, "image/gif", 43)
            expected.append(("engine_open", rcpt, None))
        ada, bob, cleo = (found[rcpt] for rcpt in RECIPIENTS)
        (body_link,) = re.findall(r'http://localhost:\d+/unsub\?[^"\s<>]+', html_of(ada))
        status, headers, _ = fetch(body_link)
        assert status == 302
        assert headers["Location"].startswith("https://lighthouse.example/bye?x=1&email=ada%40")
        assert headers["Location"].endswith("#top")
        expected.append(("engine_unsub", RECIPIENTS[0], "https://lighthouse.example/bye?x=1#top"))
        header = email.message_from_bytes(bob)["List-Unsubscribe"].strip("<>")
        assert fetch(header)[0] == 200  # a page that changes nothing
        for _ in range(2):  # repeatable, one event
            assert fetch(header, data=b"List-Unsubscribe=One-Click")[0] == 200
        expected.append(("engine_unsub", RECIPIENTS[1], ""))
        deliver(node, return_path(bob), dsn(bob, RECIPIENTS[1]))
        expected.append(("bounce_all", RECIPIENTS[1], None))
        deliver(node, "fbl@localhost", arf(cleo), "feedback@isp.example")
        expected.append(("scomp", RECIPIENTS[2], None))

        events = node.wait_events(len(expected))
        counted = [e for e in events if e["event_type"] != "bounce_bad_address"]
        got = [(e["event_type"], e["email"], e.get("click_url")) for e in counted]

        assert sorted(got, key=str) == sorted(expected, key=str)
        assert len({event["event_unique_id"] for event in events}) == len(events)
        assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
        assert {event["click_tracking_id"] for event in events} == {"4711"}
        assert {event["mail_class"] for event in events} == {"default"}
        bounce = next(e for e in events if e["event_type"] == "bounce_all")
        assert (bounce["bounce_type"], bounce["bounce_code"]) == ("h", 10)
        complaint = next(e for e in events if e["event_type"] == "scomp")
        assert complaint["feedback_type"] == "abuse"

        lines = _wait_lines(node.data_dir / "events" / "all.ndjson", len(events))
        assert lines == events

        rows = json.loads(node.cli("stats", "sends", "--json").stdout)
        assert [row["sendid"] for row in rows] == [events[0]["sendid"]]


def _wait_lines(path: Path, count: int) -> list[dict]:
    import time

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.exists():
            lines = path.read_text().splitlines()
            if len(lines) >= count:
                return [json.loads(line) for line in lines]
        time.sleep(0.1)
    return []


def test_kill_9_in_the_middle_of_clicks_loses_none_and_doubles_none(tmp_path):
    # fault matrix 1: every answered click is an event, none twice
    import concurrent.futures
    import http.client

    with running_node(tmp_path / "data") as node:
        send(node, SAMPLE.read_bytes(), RECIPIENTS[:1])
        (copy,) = copies(node).values()
        link = re.search(r"/click\?[\w-]+", html_of(copy))[0]
        host, port = node.address("web")
        answered = []
        killing = concurrent.futures.Future()

        def click_on(worker: int) -> int:
            done = 0
            connection = http.client.HTTPConnection(host, port, timeout=10)
            for number in range(250):
                try:
                    connection.request("GET", link, headers={"User-Agent": f"w{worker}-{number}"})
                    answer = connection.getresponse()
                    answer.read()
                except (OSError, http.client.HTTPException):
                    break
                if answer.status == 302:
                    answered.append(f"w{worker}-{number}")
                    done += 1
                if len(answered) == 1000 and killing.set_running_or_notify_cancel():
                    node.kill()
            connection.close()
            return done

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(click_on, range(8)))
    assert 1000 <= len(answered) < 2000

    with running_node(tmp_path / "data") as node:
        events = node.wait_events(len(answered))

    agents = [event["user_agent"] for event in events]
    assert set(answered) <= set(agents)
    assert len(agents) == len(set(agents))
    assert len({event["event_unique_id"] for event in events}) == len(events)


def test_junk_gets_a_404_and_no_event(tmp_path):
    # first light, "Bad input": truncated at every length, one character changed at every place
    with running_node(tmp_path / "data") as node:
        send(node, SAMPLE.read_bytes(), RECIPIENTS[:1])
        (copy,) = copies(node).values()
        token = re.search(r"/click\?([\w-]+)", html_of(copy))[1]
        bad = {token[:cut] for cut in range(len(token))}
        for place, was in enumerate(token):
            bad.add(token[:place] + ("A" if was != "A" else "B") + token[place + 1 :])
        bad |= {token + "A", token.upper(), "%00", "a" * 4000, token.replace("-", "+") + "!"}
        for junk in bad - {token}:
            for path in ("/click", "/uni/click", "/unsub"):
                status, headers, _ = fetch(f"{node.web}{path}?{junk}")
                assert (status, headers["Location"]) == (404, None), (path, junk)
        assert fetch(f"{node.web}/open?junk")[0] == 200
        assert fetch(f"{node.web}/uni/click?{token}")[0] == 404  # another purpose
        assert fetch(f"{node.web}/click?{token}=&fbclid=x")[0] == 302

        assert [event["event_type"] for event in node.wait_events(1)] == ["engine_click"]
        assert "Traceback" not in node.log()
