"""`recipient show` and `erase` over a whole node: afterwards no file holds the address."""

import base64
import json
import re
import time
from email.message import EmailMessage

import msgspec

from e2e.test_first_light import copies, deliver, dsn, fetch, html_of, return_path, send
from e2e.test_operator import Api
from fixtures.node import run_cli, running_node
from sendback.journal.blanking import ends
from sendback.relay.deferred import Kept

ADA, BOB = "ada@example.org", "bob@example.net"
EXPORT = [{"name": "lines", "type": "ndjson", "url": "lines.ndjson"}]
NAMES = re.compile(rb"ada(@|%40)example\.org", re.IGNORECASE)


def newsletter(storage):
    message = EmailMessage()
    message["From"], message["Subject"] = "news@lighthouse.example", f"News {storage}"
    message["X-GreenArrow-EventTrackingMetadataStorage"] = storage
    message.set_content("hello")
    message.add_alternative(
        '<html><body><a href="https://example.com/offer?x=1">offer</a></body></html>',
        subtype="html",
    )
    return message.as_bytes()


def holding(data_dir):
    """Files that hold the address, by path."""
    return sorted(
        str(path.relative_to(data_dir))
        for path in data_dir.rglob("*")
        if path.is_file() and NAMES.search(path.read_bytes())
    )


def visit_and_bounce(node):
    """What Ada and Bob cause: clicks, opens, bounces, mail that nothing can be made of."""
    for storage in ("local", "stateless"):
        send(node, newsletter(storage), [ADA, BOB])
        for copy in copies(node).values():
            html = html_of(copy)
            for link in re.findall(r"http://localhost:\d+/(?:click|open)\?[\w-]+", html):
                fetch(link)
    own = newsletter("local").replace(b"/offer?x=1", b"/for/ada@example.org?x=1")
    send(node, own, [ADA])
    copy = copies(node)[ADA]
    fetch(re.search(r"http://localhost:\d+/click\?[\w-]+", html_of(copy))[0])
    deliver(node, return_path(copy), dsn(copy, ADA))
    deliver(node, "fbl@localhost", b"Subject: hm\n\n" + base64.b64encode(b"x") + ADA.encode())
    encoded = base64.encodebytes(b"about Ada@example.org, in base64")
    head = b"Subject: hm\nContent-Type: text/plain\nContent-Transfer-Encoding: base64\n\n"
    deliver(node, "fbl@localhost", head + encoded)


def put_off(node):
    """A mail to Ada that waits for another try, and one to Bob that names her."""
    for number, rcpt in enumerate((ADA, BOB)):
        kept = Kept("b@x", rcpt, b"Subject: x\n\nto ada@example.org", False, "", time.time())
        path = node.data_dir / "deferred" / f"{int(time.time() * 1e6) + number:020d}-1.msg"
        path.write_bytes(msgspec.msgpack.encode(kept))


def settled(node, count):
    """Wait until the events are logged, exported and counted."""
    node.wait_events(count)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = json.loads(node.cli("events", "status", "--json").stdout)
        unparsed = list((node.data_dir / "unparsed").iterdir())
        if {row["backlog"] for row in rows} == {0} and len(rows) == 4 and len(unparsed) == 2:
            return
        time.sleep(0.1)
    raise AssertionError(f"still waiting: {rows}, {unparsed}")


def test_no_file_of_a_running_node_holds_an_erased_address(tmp_path):
    env = {"SENDBACK_DESTINATION": json.dumps(EXPORT)}
    with running_node(tmp_path / "data", env=env) as node:
        visit_and_bounce(node)
        put_off(node)
        body = {
            "message_b64": base64.b64encode(newsletter("local")).decode(),
            "rcpts": [ADA],
            "mail_from": "shop@example.com",
        }
        assert Api(node)("POST", "/messages", body, Idempotency_Key="one")[0] == 200
        events = node.wait_events(11)
        settled(node, 11)
        of_bob = [event for event in events if event["email"] == BOB]
        assert len(of_bob) >= 4
        assert {e["event_type"] for e in events if e["email"] == ADA} == {
            "engine_click", "engine_open", "bounce_all", "bounce_bad_address",
        }  # fmt: skip

        shown = json.loads(node.cli("recipient", "show", ADA.upper(), "--json").stdout)
        for store in (
            "metadata", "events", "clicks", "suppressions", "outbox", "deferred", "unparsed",
            "journal", "exports",
        ):  # fmt: skip
            assert shown[store], store
        assert len(holding(node.data_dir)) >= 10

        removed = json.loads(node.cli("recipient", "erase", ADA, "--yes", "--json").stdout)

        assert removed["events"] == len(events) - len(of_bob)
        assert removed["exports"] == removed["events"]
        assert (removed["deferred"], removed["unparsed"], removed["mentions"]) == (1, 2, 1)
        assert removed["api_answers"] == removed["links"] == 1
        [bobs_mail] = holding(node.data_dir)  # it names her, and is his
        assert bobs_mail.startswith("deferred/")
        (node.data_dir / bobs_mail).unlink()
        shown = json.loads(node.cli("recipient", "show", ADA, "--json").stdout)
        assert {name for name, rows in shown.items() if rows} == {"email", "suppressions"}
        assert node.events() == of_bob

        # the node goes on, its export too, and knows whom not to mail
        send(node, newsletter("local"), [BOB])
        fetch(re.search(r"http://localhost:\d+/click\?[\w-]+", html_of(copies(node)[BOB]))[0])
        assert len(node.wait_events(len(of_bob) + 1)) == len(of_bob) + 1
        settled_lines = []
        deadline = time.monotonic() + 60
        while len(settled_lines) < len(of_bob) + 1 and time.monotonic() < deadline:
            files = node.data_dir.glob("lines.ndjson*")
            settled_lines = [line for file in files for line in file.read_text().splitlines()]
        assert {json.loads(line)["email"] for line in settled_lines} == {BOB}
        assert len(settled_lines) == len(of_bob) + 1
        checked = node.cli("suppression", "check", ADA, check=False)
        assert checked.returncode == 3


def test_a_stopped_node_finishes_its_journal_first(tmp_path):
    env = {"SENDBACK_DESTINATION": json.dumps(EXPORT)}
    parts = ["--only", "web,smtp,submission"]
    with running_node(tmp_path / "data", env=env, arguments=parts) as node:
        visit_and_bounce(node)
    data = tmp_path / "data"
    assert any(name.startswith("journal/") for name in holding(data))

    arguments = ("recipient", "erase", ADA, "--yes", "--json", "--data-dir", str(data))
    removed = json.loads(run_cli(*arguments, env=node.environment).stdout)

    assert removed["unparsed"] == 2
    assert removed["events"] >= 5
    assert holding(data) == []
    assert ends(data / "journal") == {}
    assert {event["email"] for event in node.events()} == {BOB}


def test_an_erasure_of_nobody_is_refused_or_finds_nothing(tmp_path):
    data = ("--data-dir", str(tmp_path / "data"))
    for command in ("show", "erase"):
        done = run_cli("recipient", command, "nobody", *data, check=False)
        assert done.returncode == 2
        assert "is no address" in done.stderr
    removed = json.loads(run_cli("recipient", "erase", ADA, "--yes", "--json", *data).stdout)
    assert not any(removed.values())
