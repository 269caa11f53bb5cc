"""The operator's hands on a running node: CLI and REST, seen by the web process at once."""

import base64
import contextlib
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from fixtures.node import run_cli, running_node
from fixtures.postgres import running_postgres, wait_until

DOCUMENT = '{"applinks": {"details": []}}'
MESSAGE = (
    b"From: shop@example.com\r\nTo: ann@example.net\r\nSubject: Hi\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/html; charset=utf-8\r\n\r\n"
    b'<html><body><a href="https://example.com/offer?x=1">Offer</a></body></html>\r\n'
)


class Api:
    """The REST API of a node, with a key."""

    def __init__(self, node, scope="admin"):
        made = json.loads(node.cli("api-key", "create", scope, "--scope", scope, "--json").stdout)
        self._address, self.key = node.address("admin"), made["key"]

    def __call__(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            sent = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            sent |= {name.replace("_", "-"): value for name, value in headers.items()}
            text = None if body is None else json.dumps(body)
            connection.request(method, f"/api/v1{path}", text, sent)
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, json.loads(data) if data else None, answer.headers
        finally:
            connection.close()


def status_of(node, path, host):
    connection = http.client.HTTPConnection(*node.address("web"), timeout=10)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers.get("Location")
    finally:
        connection.close()


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with running_node(tmp_path_factory.mktemp("operator")) as running:
        yield running


@pytest.fixture(scope="module")
def api(node):
    return Api(node)


def test_a_change_by_any_way_reaches_the_web_process_within_seconds(node, api):
    path, host = "/.well-known/apple-app-site-association", "links.example"
    body = {"domain": host, "tls": True, "apple_app_site_association": DOCUMENT}
    assert api("POST", "/url-domains", body)[0] == 201
    began = time.monotonic()
    wait_until(lambda: status_of(node, path, host)[0] == 200)
    assert time.monotonic() - began < 5  # 2 s promised, and a busy machine
    assert status_of(node, path, host)[1] == DOCUMENT

    node.cli("url-domain", "set", host, "--apple-app-site-association", "")
    wait_until(lambda: status_of(node, path, host)[0] == 404)


def test_two_operators_one_object(api):
    made = api("POST", "/mail-classes", {"name": "news", "track_clicks": True})
    etag = made[2]["ETag"]
    first = api("PATCH", "/mail-classes/news", {"track_opens": True}, If_Match=etag)
    second = api("PATCH", "/mail-classes/news", {"privacy": "anonymous"}, If_Match=etag)

    assert (first[0], second[0]) == (200, 412)
    item = api("GET", "/mail-classes/news")[1]
    assert (item["track_clicks"], item["track_opens"], item["privacy"]) == (True, True, "full")


def test_a_message_submitted_is_tagged_counted_overridden_and_blocked(node, api):
    body = {
        "message_b64": base64.b64encode(MESSAGE).decode(),
        "rcpts": ["ann@example.net"],
        "mail_from": "shop@example.com",
        "mail_class": "news",
    }
    one = {"message_b64": body["message_b64"], "rcpt": "a@x.example", "mail_class": "news"}
    wait_until(lambda: api("POST", "/messages/rewrite", one)[0] == 200)  # the class is known
    answer = api("POST", "/messages", body, Idempotency_Key="one")
    assert answer[1]["recipients"][0]["status"] == "accepted"
    assert api("POST", "/messages", body, Idempotency_Key="one")[1] == answer[1]
    [mail] = list((node.data_dir / "outbox" / "new").iterdir())
    tracked = re.search(rb'href="https?://[^/]+(/click\?[^"]+)"', mail.read_bytes())[1].decode()

    assert status_of(node, tracked, "x")[2] == "https://example.com/offer?x=1"
    wait_until(lambda: api("GET", "/statistics/sends")[1]["items"])
    sendid = api("GET", "/statistics/sends")[1]["items"][0]["sendid"]
    links = api("GET", f"/statistics/sends/{sendid}/links")[1]["items"]
    assert [row["url"] for row in links] == ["https://example.com/offer"]
    events = api("GET", "/events")[1]["items"]
    assert [event["event_type"] for event in events] == ["engine_click"]

    node.cli("link", "override", "https://example.com/offer?x=1", "https://example.org/mended")
    wait_until(lambda: status_of(node, tracked, "x")[2] == "https://example.org/mended")
    node.cli("link", "block", sendid)
    wait_until(lambda: status_of(node, tracked, "x")[0] == 404)
    node.cli("link", "block", "--remove", sendid)


def test_the_first_administrator_is_invited_in_the_log(node):
    [link] = set(re.findall(r"http://[^\s\"]+/welcome\?invitation=[\w-]+", node.log()))

    with urllib.request.urlopen(link, timeout=10) as page:
        assert b"Choose a name" in page.read()


def test_without_a_key_nothing_is_told(node):
    for path in ("/url-domains", "/events", "/status"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{node.admin}/api/v1{path}", timeout=10)
        assert caught.value.code == 401
        caught.value.close()


def test_a_follower_does_not_hold_up_the_end(tmp_path):
    with running_node(tmp_path / "data", arguments=["--only", "admin,worker"]) as node:
        key = json.loads(node.cli("api-key", "create", "x", "--json").stdout)["key"]
        request = urllib.request.Request(
            f"{node.admin}/api/v1/events/follow", headers={"Authorization": f"Bearer {key}"}
        )
        with urllib.request.urlopen(request, timeout=30) as stream:
            assert stream.readline() == b": following\n"
            node.process.terminate()
            assert node.process.wait(30) == 0
    assert "did not drain" not in node.log()


def tracked_link(node):
    """A link of a message that this node tagged."""
    done = subprocess.run(
        [sys.executable, "-m", "sendback", "rewrite", "--rcpt", "ann@example.net",
         "--data-dir", str(node.data_dir)],
        input=MESSAGE, capture_output=True, check=True, env={**os.environ, **node.environment},
    )  # fmt: skip
    return re.search(rb'href="https?://[^/]+(/click\?[^"]+)"', done.stdout)[1].decode()


@pytest.mark.postgres
def test_nodes_share_a_postgres_and_outlive_it(tmp_path):
    with running_postgres() as server:
        url = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
        env = {"SENDBACK_DATABASE_URL": url}
        parts = ["--only", "web,admin,worker"]
        with (
            pytest.raises(AssertionError, match="sendback db upgrade"),
            running_node(tmp_path / "refused", env=env, arguments=parts),
        ):
            pass
        run_cli("db", "upgrade", "--data-dir", str(tmp_path / "one"), env=env)
        with (
            running_node(tmp_path / "one", env=env | {"SENDBACK_SERVER_ID": "one"},
                         arguments=parts) as one,
            running_node(tmp_path / "two", env=env | {"SENDBACK_SERVER_ID": "two"},
                         arguments=parts) as two,
        ):  # fmt: skip
            api = Api(one)
            link = tracked_link(one)
            assert status_of(one, link, "x")[0] == 302
            assert status_of(two, tracked_link(two), "x")[0] == 302
            assert clicks(api, 2)

            server.stop("fast")
            assert status_of(one, link, "x")[0] == 302
            assert api("GET", "/url-domains")[0] == 503
            code = run_cli(
                "url-domain", "list", "--data-dir", str(one.data_dir), env=env, check=False
            ).returncode
            assert code == 1
            with urllib.request.urlopen(f"{one.admin}/readyz", timeout=10) as ready:
                assert ready.status == 200
            server.start()
            assert clicks(api, 3)


def clicks(api, expected):
    """True once the shared statistics count so many clicks."""

    def counted():
        status, page, _ = api("GET", "/statistics/sends")
        items = page["items"] if status == 200 else []
        return sum(row["clicks_human"] + row["clicks_machine"] for row in items) == expected

    wait_until(counted, seconds=60, what=f"{expected} clicks")
    return True


@pytest.mark.postgres
def test_a_node_starts_while_its_postgres_is_down(tmp_path):
    env = {"SENDBACK_DATABASE_URL": "postgresql://postgres@127.0.0.1:1/none"}
    with running_node(tmp_path / "data", env=env, arguments=["--only", "web,admin,worker"]) as node:
        assert status_of(node, tracked_link(node), "x")[0] == 302


def checks(api, kind):
    status, page, _ = api("GET", "/checks")
    assert status == 200
    return {row["subject"]: row for row in page["items"] if row["check"] == kind}


def test_a_node_checks_itself_and_compares_keys_and_clocks_with_its_peers(node, api, tmp_path):
    with running_node(tmp_path / "data", arguments=["--only", "admin,worker"]) as other:
        key = json.loads(other.cli("api-key", "create", "x", "--scope", "read", "--json").stdout)
        peer = {"name": "other", "admin_url": other.admin, "api_key": key["key"]}
        assert api("POST", "/peers", peer)[0] == 201
        assert api("POST", "/peers", peer | {"name": "gone", "admin_url": "http://127.0.0.1:1"})
        wait_until(lambda: len(checks(api, "peer-keys")) == 1)

        databases = checks(api, "database")
        assert {name: row["ok"] for name, row in databases.items()} == {
            "main": True, "event log": True,
        }  # fmt: skip
        keys = checks(api, "peer-keys")["other"]
        assert (keys["ok"], "signs with" in keys["detail"]) == (False, True)
        assert "secret constants" in keys["cure"]
        assert checks(api, "peer-clock")["other"]["ok"]
        wait_until(lambda: "gone" in checks(api, "peer"))
        assert not checks(api, "peer")["gone"]["ok"]

        constants = json.loads(node.cli("secret-constants", "--view", "--json").stdout)
        pair = (constants["constant1"], constants["constant2"])
        other.cli("secret-constants", f"--constant1={pair[0]}", f"--constant2={pair[1]}")
        other.process.send_signal(signal.SIGHUP)
        wait_until(lambda: (found := checks(api, "peer-keys")) and found["other"]["ok"])
    for name in ("other", "gone"):
        assert api("DELETE", f"/peers/{name}")[0] == 204


def rss_kb(pid):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1])


JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [
        ("/api/v1/messages", JSON, 413),
        ("/api/v1/url-domains", JSON, 413),
        ("/login", FORM, 413),
        ("/welcome", FORM, 413),
        # no form at all, so its body is not even looked at
        ("/login", JSON, 415),
        ("/welcome", JSON, 415),
    ],
)
def test_a_body_without_an_end_is_refused_early(node, api, path, content_type, status):  # D16
    """The answer itself may be lost: whoever still sends when we close may get a reset instead."""
    processes = api("GET", "/status")[1]["processes"]
    admin = next(one["pid"] for one in processes if one["part"] == "admin")
    before, sent, answer = rss_kb(admin), 0, b""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with socket.create_connection(node.address("admin"), timeout=30) as client:
        client.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n"
            f"Content-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        with contextlib.suppress(OSError):  # closed on us
            while sent < 200_000_000 and not answer:
                client.sendall(chunk)
                sent += len(chunk)
                if select.select([client], [], [], 0)[0]:
                    answer = client.recv(200)
    assert sent < 150_000_000
    assert not answer or answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert rss_kb(admin) - before < 100_000
    assert api("GET", "/me")[0] == 200
