"""Peers as checks see them; odd answers come from a server of our own, real peers from e2e."""

import contextlib
import email.utils
import http.server
import json
import ssl
import threading
import time

import pytest

from fixtures.certificates import Authority
from sendback.checks.asking import MAX_BODY, Asking, Unreachable
from sendback.checks.certificate import trusting
from sendback.checks.peers import check_peer
from sendback.model import Peer


@contextlib.contextmanager
def answering(status=200, body=b"", context=None, **headers):
    """The URL of a server that always answers so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response_only(status)
            sent = {"Content-Length": str(len(body)), **headers}
            for name, value in sent.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"{'https' if context else 'http'}://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def status(*, fingerprint="aa", apart=0.0) -> bytes:
    facts = {"Key fingerprint": fingerprint}
    return json.dumps({"facts": facts, "time_ms": (time.time() + apart) * 1000}).encode()


def checked(url, fingerprint="aa"):
    found = check_peer(Peer(name="other", admin_url=url, api_key="k"), fingerprint)
    return {one.check: (one.state, one.detail) for one in found}


def test_equal_keys_and_clocks():
    with answering(body=status()) as url:
        found = checked(url)
    assert found["peer-keys"] == ("ok", "signs with aa, as this node")
    assert found["peer-clock"][0] == "ok"


def test_other_keys_and_a_clock_that_is_wrong():
    with answering(body=status(apart=3600)) as url:
        found = checked(url, "bb")
    assert found["peer-keys"] == ("problem", "signs with aa, this node with bb")
    state, detail = found["peer-clock"]
    assert state == "problem"
    assert detail.startswith(("3600", "3599"))


@pytest.mark.parametrize(("apart", "state"), [(0, "ok"), (-600, "problem")])
def test_a_peer_that_lets_nobody_in_tells_the_time(apart, state):
    date = email.utils.formatdate(time.time() + apart, usegmt=True)
    with answering(401, Date=date) as url:
        found = checked(url)
    assert found["peer"] == ("problem", "refuses our API key (401)")
    assert found["peer-clock"][0] == state


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"[]", b'{"facts": 1, "time_ms": 2}', b"\xff"])
def test_what_is_no_peer(body):
    with answering(body=body) as url:
        assert checked(url) == {"peer": ("problem", "no status: answered with 200")}


def test_answers_are_bounded_and_redirects_are_not_followed():
    with answering(302, Location="http://localhost:1/") as url:
        assert Asking().ask(url).location == "http://localhost:1/"
    with (
        answering(body=b"x" * (MAX_BODY + 100_000)) as url,
        pytest.raises(Unreachable, match="too long"),
    ):
        Asking(seconds=60).ask(url)


def test_an_authority_must_be_known(tmp_path):
    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.issue("localhost"))
    with answering(body=b"hello", context=context) as url:
        assert Asking(trusting(authority.file)).ask(url).body == b"hello"
        with pytest.raises(Unreachable, match="TLS: unable to get local issuer"):
            Asking().ask(url)
