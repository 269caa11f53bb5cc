"""Webhooks against a receiver with moods; and the guard against requests into our own network."""

import gzip
import json
import socket
import ssl
import subprocess
import threading
import time
import uuid
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qs

import msgspec
import pytest
from standardwebhooks import Webhook

from fixtures.receiver import Receiver, answer, reset
from sendback.delivery import made_up_event
from sendback.errors import Malformed, Misconfigured, Unavailable
from sendback.eventlog import StoredEvent
from sendback.model import BounceAll, BounceBadAddress, Click, Complaint, Open, Unsubscribe
from sendback.sinks import Guard, Result, build_sink, is_public
from sendback.sinks.formats import Batch, Form, find_format
from sendback.sinks.webhook import WebhookSink, batch_id

PRIVATE = Guard(allow_private_networks=True)


def stored(event, seq: int = 1) -> StoredEvent:
    event = msgspec.structs.replace(event, seq=seq)
    tag = event.__struct_config__.tag
    body = msgspec.json.encode(event)
    return StoredEvent(seq, tag, event.event_time_ms, event.event_unique_id, body)


def click(seq: int = 1, **fields) -> StoredEvent:
    event_id = str(uuid.uuid4())
    event = Click(event_time=1, event_time_ms=1000 + seq, event_unique_id=event_id, **fields)
    return stored(event, seq)


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def sink_for(receiver):
    made = []

    def build(*, url="", wire_format=None, guard=PRIVATE, **options):
        sink = WebhookSink(url or receiver.url, wire_format or Batch(), guard, **options)
        made.append(sink)
        return sink

    yield build
    for sink in made:
        sink.close()


# -- what is sent ----------------------------------------------------------------------------


def test_a_batch_is_an_array_of_the_events_own_bytes(receiver, sink_for) -> None:
    batch = [click(1), click(2)]
    outcome = sink_for(headers={"X-Key": "k"}).deliver(batch)

    assert (outcome.result, outcome.status) == (Result.DELIVERED, 200)
    (request,) = receiver.requests
    assert request.line == "POST /hook?x=1 HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-key"] == "k"
    assert [json.loads(event.body) for event in batch] == json.loads(request.body)
    assert request.headers["webhook-id"] == batch_id(batch)  # also without a secret: R35
    assert "webhook-signature" not in request.headers


def test_own_headers_win_and_a_password_in_the_url_is_sent(receiver, sink_for) -> None:
    # django-anymail's receivers want basic authentication; it was dropped in silence
    url = receiver.url.replace("127.0.0.1", "us%40er:p%3Ass@127.0.0.1")
    sink_for(url=url, headers={"content-TYPE": "text/x-mine", "User-Agent": "me"}).deliver(
        [click()]
    )
    sink_for(url=url, headers={"authorization": "Bearer x"}).deliver([click()])

    first, second = receiver.requests
    assert first.headers["authorization"] == "Basic dXNAZXI6cDpzcw=="  # us@er:p:ss
    assert (first.headers["content-type"], first.headers["user-agent"]) == ("text/x-mine", "me")
    assert first.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert second.headers["authorization"] == "Bearer x"


def test_every_live_secret_signs(receiver, sink_for) -> None:
    # Standard Webhooks; issue 7
    secrets = ["whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "plain words, no base64!"]
    sink = sink_for(secrets=secrets)
    batch = [click(1), click(2)]
    sink.deliver(batch)
    sink.deliver(batch)

    first, again = receiver.requests
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    Webhook(secrets[0]).verify(first.body, first.headers)
    import base64

    Webhook(base64.b64encode(secrets[1].encode()).decode()).verify(first.body, first.headers)
    assert len(first.headers["webhook-signature"].split()) == 2


def test_the_id_of_one_event_is_its_own() -> None:
    event = click()

    assert batch_id([event]) == event.event_id
    assert batch_id([event, click(2)]) != batch_id([event])


def test_gzip_and_the_signature_is_over_the_plain_body(receiver, sink_for) -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    sink_for(use_gzip=True, secrets=[secret]).deliver([click()])

    (request,) = receiver.requests
    plain = gzip.decompress(request.body)
    assert request.headers["content-encoding"] == "gzip"
    Webhook(secret).verify(plain, request.headers)


def test_form_wants_the_word_ok(receiver, sink_for) -> None:
    # facts/greenarrow.md 1.3
    sink = sink_for(wire_format=Form())
    assert sink.max_batch == 1
    event = click(agent_reasons=("a", "b"))
    assert sink.deliver([event]).result is Result.FAILED
    receiver.behave = answer(200, b"ok")
    assert sink.deliver([event]).result is Result.DELIVERED

    fields = parse_qs(receiver.requests[1].body.decode(), keep_blank_values=True)
    assert fields["event_type"] == ["engine_click"]
    assert fields["universal"] == ["0"]
    assert fields["link_pos"] == [""]
    assert fields["agent_reasons"] == ["a,b"]


def test_single_and_anymail(receiver, sink_for) -> None:
    event = click(email="a@b.test", sendid="s")
    sink_for(wire_format=find_format("single")).deliver([event])
    bounce = stored(
        BounceAll(event_time=1, event_time_ms=1500, event_unique_id=str(uuid.uuid4()),
                  bounce_type="h", diagnostic_code="550 no"), 2)  # fmt: skip
    sink_for(wire_format=find_format("anymail")).deliver([event, bounce])

    assert receiver.requests[0].body == event.body
    clicked, bounced = json.loads(receiver.requests[1].body)
    assert (clicked["event_type"], clicked["recipient"]) == ("clicked", "a@b.test")
    assert clicked["timestamp"] == "1970-01-01T00:00:01.001Z"
    assert (bounced["event_type"], bounced["reject_reason"]) == ("bounced", "bounced")
    assert bounced["mta_response"] == "550 no"
    assert bounced["esp_event"]["seq"] == 2


@pytest.mark.parametrize(
    ("event", "kind", "reason"),
    [
        (Click, "clicked", None), (Open, "opened", None), (Unsubscribe, "unsubscribed",
        "unsubscribed"), (BounceBadAddress, "rejected", "invalid"), (Complaint, "complained",
        "spam"), (BounceAll, "deferred", None),
    ],
)  # fmt: skip
def test_anymail_s_words_for_every_type(event, kind, reason) -> None:
    """EventType, RejectReason and the attributes of anymail.signals.AnymailTrackingEvent."""
    made = stored(event(event_time=1, event_time_ms=1500, event_unique_id=str(uuid.uuid4())))
    (spoken,) = json.loads(find_format("anymail").encode([made]))

    assert (spoken["event_type"], spoken["reject_reason"]) == (kind, reason)
    assert set(spoken) == {
        "event_type", "timestamp", "event_id", "message_id", "recipient", "reject_reason",
        "description", "mta_response", "tags", "metadata", "click_url", "user_agent", "esp_event",
    }  # fmt: skip


def test_an_event_that_a_format_can_not_write_is_refused_not_an_outage(sink_for) -> None:
    """Then it is found by halving; found by reading: it held up all others for three days."""

    class Broken(Batch):
        def encode(self, batch):
            raise KeyError("no such field")

    outcome = sink_for(wire_format=Broken()).deliver([click()])
    assert outcome.result is Result.REFUSED
    assert "no such field" in outcome.answer


def test_unknown_formats_and_unusable_secrets() -> None:
    with pytest.raises(Misconfigured):
        find_format("none-such")
    with pytest.raises(Malformed):
        WebhookSink("http://x.test", Batch(), PRIVATE, secrets=["whsec_???"])
    with pytest.raises(Malformed):
        WebhookSink("http://x.test", Batch(), PRIVATE, headers={"X\r\nEvil": "1"})
    with pytest.raises(Malformed):
        WebhookSink("http://x.test", Batch(), PRIVATE, headers={"Content-Length": "1"})


# -- what comes back -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Result.DELIVERED), (204, Result.DELIVERED), (299, Result.DELIVERED),
        (301, Result.FAILED), (304, Result.FAILED), (307, Result.FAILED),
        (400, Result.REFUSED), (404, Result.REFUSED), (413, Result.REFUSED), (422, Result.REFUSED),
        (401, Result.FAILED), (403, Result.FAILED), (408, Result.FAILED),
        (410, Result.GONE), (429, Result.THROTTLED), (500, Result.FAILED),
        (502, Result.THROTTLED), (503, Result.THROTTLED), (504, Result.THROTTLED),
    ],
)  # fmt: skip
def test_what_a_status_means(receiver, sink_for, status, result) -> None:
    body = b"" if status in (204, 304) else b"why"
    receiver.behave = answer(status, body, "Location: http://169.254.169.254/latest")

    outcome = sink_for().deliver([click()])

    assert (outcome.result, outcome.status) == (result, status)
    assert len(receiver.requests) == 1  # a redirect is not followed: fault 26


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), ("999999", 86400), ("junk", None), ("-5", None), ("", None)],
)
def test_retry_after(receiver, sink_for, text, seconds) -> None:
    receiver.behave = answer(429, b"", f"Retry-After: {text}")

    assert sink_for().deliver([click()]).retry_after == seconds


def test_retry_after_as_a_date(receiver, sink_for) -> None:
    when = format_datetime(datetime.fromtimestamp(1_800_000_060, UTC), usegmt=True)
    receiver.behave = answer(503, b"", f"Retry-After: {when}")

    outcome = sink_for(clock=lambda: 1_800_000_000.0).deliver([click()])
    assert outcome.retry_after == 60


def drip(connection, _request) -> None:
    for octet in b"HTTP/1.1 200 OK\r\n" * 100:
        connection.sendall(bytes([octet]))
        time.sleep(0.3)


def head_then_reset(connection, _request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    reset(connection)


def body_then_reset(connection, _request) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    reset(connection)


def just_reset(connection, _request) -> None:
    reset(connection)


def silence(_connection, _request) -> None:
    time.sleep(5)


def nonsense(connection, _request) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


@pytest.mark.parametrize("behave", [drip, silence, head_then_reset, just_reset, nonsense])
def test_no_whole_answer_is_a_failure_in_bounded_time(receiver, sink_for, behave) -> None:
    # facts/reliability.md fault 24
    receiver.behave = behave
    began = time.monotonic()

    outcome = sink_for(seconds=0.5).deliver([click()])

    assert outcome.result is Result.FAILED
    assert outcome.answer
    assert time.monotonic() - began < 3


def test_a_receiver_that_never_reads(sink_for) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1)
    big = [click(user_agent="x" * 2000, seq=n) for n in range(8000)]
    began = time.monotonic()
    outcome = sink_for(url=f"http://127.0.0.1:{listener.getsockname()[1]}/", seconds=0.7).deliver(
        big
    )
    listener.close()

    assert outcome.result is Result.FAILED
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("hangs_up", [True, False])
def test_an_answer_given_before_all_was_read_is_heard(sink_for, hangs_up) -> None:
    """A limit of the body's size: 413, then the connection ends, or is read no further, while we
    still send. Found by reading: an outage for ever, since a batch too big was never halved."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 413 X\r\nContent-Length: 3\r\n\r\nbig")
            if hangs_up:
                connection.shutdown(socket.SHUT_RDWR)
            done.wait(20)
            connection.close()

        done = threading.Event()
        thread = threading.Thread(target=refuse)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        big = [click(user_agent="x" * 2000, seq=n) for n in range(8000)]
        sink = sink_for(url=url, seconds=2)
        outcome = sink.deliver(big)
        assert sink._connection()._connection is None  # half a request stands on it
        done.set()
        thread.join()

    assert (outcome.result, outcome.status) == (Result.REFUSED, 413), outcome


def test_nobody_there(sink_for) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = sink_for(url=f"http://127.0.0.1:{port}/").deliver([click()])

    assert outcome.result is Result.FAILED
    assert "refused" in outcome.answer.lower()


def test_a_2xx_counts_although_its_body_breaks_off(receiver, sink_for) -> None:
    """The receiver said yes; sending it again would only make duplicates."""
    receiver.behave = body_then_reset

    assert sink_for().deliver([click()]).result is Result.DELIVERED
    receiver.behave = answer()
    assert sink_for().deliver([click()]).result is Result.DELIVERED


def test_a_kept_connection_that_was_closed_is_opened_again(receiver, sink_for) -> None:
    def once(connection, request) -> None:
        answer()(connection, request)
        connection.shutdown(socket.SHUT_RDWR)

    receiver.behave = once
    sink = sink_for()
    assert sink.deliver([click()]).result is Result.DELIVERED
    assert sink.deliver([click()]).result is Result.DELIVERED
    assert receiver.connections == 2


def test_connections_are_kept(receiver, sink_for) -> None:
    sink = sink_for()
    for _ in range(5):
        sink.deliver([click()])

    assert receiver.connections == 1


def test_an_endless_answer_is_read_to_64_kb(receiver, sink_for) -> None:
    def endless(connection, _request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    receiver.behave = endless
    sink = sink_for()
    assert sink.deliver([click()]).result is Result.DELIVERED
    receiver.behave = answer()
    assert sink.deliver([click()]).result is Result.DELIVERED
    assert receiver.connections == 2


# -- TLS -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=hook.test",
         "-addext", "subjectAltName=DNS:hook.test"],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, cert


def test_tls_is_verified_by_name_while_the_connection_goes_to_the_checked_address(
    certificate, sink_for
) -> None:
    key, cert = certificate
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    receiver = Receiver(tls=context)
    guard = Guard(allow_private_networks=True, resolve=lambda host, port: ["127.0.0.1"])
    trusting = ssl.create_default_context(cafile=cert)
    url = f"https://hook.test:{receiver.port}/x"

    assert (
        sink_for(url=url, guard=guard, tls=trusting).deliver([click()]).result is Result.DELIVERED
    )
    assert names == ["hook.test"]
    assert receiver.requests[0].headers["host"] == f"hook.test:{receiver.port}"
    wrong = url.replace("hook.test", "other.test")
    for bad in (sink_for(url=url, guard=guard), sink_for(url=wrong, guard=guard, tls=trusting)):
        outcome = bad.deliver([click()])
        assert outcome.result is Result.FAILED
        assert "certificate" in outcome.answer.lower()
    receiver.close()


# -- the guard -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255",
        "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.1",
        "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.88.99.1",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "fe80::1", "fec0::1",
        "fc00::1", "fd12:3456::1", "ff02::1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::",
        "2001:0:53aa::1", "2001:db8::1", "junk", "fe80::1%eth0", "::ffff:8.8.8.8", "3fff::1",
        "5f00::1", "192.0.0.200", "::ffff:0:7f00:1", "100::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "100.128.0.1"])
def test_public_addresses(address) -> None:
    assert is_public(address)


def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    guard = Guard(allow_private_networks=False, resolve=lambda h, p: ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(Malformed, match=r"10\.0\.0\.1"):
        guard.addresses("mixed.test", 443)


@pytest.mark.parametrize("url", [
    "http://127.0.0.1/", "http://[::1]/", "http://localhost/", "http://2130706433/", "http://0/",
    "http://0x7f.1/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest/meta-data/",
])  # fmt: skip
def test_no_connection_into_our_own_network(sink_for, monkeypatch, url) -> None:
    # facts/reliability.md fault 26
    def never(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", never)
    outcome = sink_for(url=url, guard=Guard(allow_private_networks=False)).deliver([click()])

    assert outcome.result is Result.FAILED
    assert "connection was tried" not in outcome.answer


def test_dns_rebinding_meets_the_address_that_was_checked(receiver, sink_for, monkeypatch) -> None:
    """The name leads to a public address when it is checked, and to us a moment later."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]])
    tried: list[tuple[str, int]] = []

    def connect(address, timeout):
        tried.append(address)
        raise OSError("unreachable from a test")

    monkeypatch.setattr(socket, "create_connection", connect)
    guard = Guard(allow_private_networks=False, resolve=lambda host, port: next(answers))
    sink = sink_for(url="http://rebind.test/", guard=guard)
    sink.deliver([click()])
    second = sink.deliver([click()])

    assert tried == [("93.184.216.34", 80)]
    assert "127.0.0.1" in second.answer


@pytest.mark.parametrize("port", [22, 25, 5432, 6379, 8080])
def test_only_web_ports(port) -> None:
    guard = Guard(allow_private_networks=False, resolve=lambda host, port: ["8.8.8.8"])
    with pytest.raises(Malformed, match="port"):
        guard.addresses("x.test", port)


def test_proxies_of_the_environment_are_not_used(receiver, sink_for, monkeypatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert sink_for().deliver([click()]).result is Result.DELIVERED


def test_a_dead_resolver_is_bounded(monkeypatch) -> None:
    # facts/reliability.md fault 27
    from sendback.sinks import guard as guard_module

    release = threading.Event()
    monkeypatch.setattr(guard_module, "RESOLVE_SECONDS", 0.2)
    monkeypatch.setattr(guard_module, "_resolvers", None)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a: release.wait(10))
    began = time.monotonic()
    with pytest.raises(Unavailable):
        guard_module.resolve_by_system("slow.test", 443)
    assert time.monotonic() - began < 2
    release.set()


def test_building_a_sink(tmp_path) -> None:
    from sendback.model import Destination

    def build(is_from_file=False, **fields):
        destination = Destination(name="d", **fields)
        return build_sink(destination, data_dir=tmp_path, is_from_file=is_from_file)

    build(type="webhook", url="https://hook.test/x").close()
    with pytest.raises(Misconfigured):
        build(type="webhook", url="https://hook.test/x", format="none-such")
    for path in ("/etc/passwd", "../../x", "events/../x", "../events"):
        with pytest.raises(Malformed):
            build(type="ndjson", url=path)
    for path in ("all.ndjson", "events/all.ndjson", str(tmp_path / "events" / "x.ndjson")):
        build(type="ndjson", url=path)
    sink = build(type="ndjson", url=str(tmp_path / "anywhere.ndjson"), is_from_file=True)
    assert sink.deliver([made_up_event("n", 0.0)]).result is Result.DELIVERED
    sink.close()
    with pytest.raises(Misconfigured):
        build(type="postgres", url="nonsense = = =")
    with pytest.raises(Misconfigured):
        build(type="jetstream", url="http://x")
    postgres = build(type="postgres", url="postgresql://u@127.0.0.1/db")
    assert "no public address" in postgres.deliver([made_up_event("n", 0.0)]).answer
    for url in ("postgresql://u@h/db?service=x", "host=h passfile=/etc/passwd"):
        with pytest.raises(Misconfigured, match="may not set"):
            build(type="postgres", url=url)
    # found by reading: a socket of this machine went round the network rules
    local = build(type="postgres", url="postgresql:///db?host=/var/run/postgresql")
    assert "allow_private_networks" in local.deliver([made_up_event("n", 0.0)]).answer


def test_a_package_adds_a_sink_and_a_format(tmp_path, monkeypatch) -> None:
    """An installed package, found by its entry points as `pip` writes them."""
    from sendback.model import Destination

    (tmp_path / "acme_sendback.py").write_text(
        "from sendback.sinks import Outcome, Result\n"
        "from sendback.sinks.formats import Batch\n"
        "class Kafka:\n"
        "    max_batch = 3\n"
        "    def __init__(self, destination, guard):\n"
        "        self.url, self.guard = destination.url, guard\n"
        "    def deliver(self, batch):\n"
        "        return Outcome(Result.DELIVERED, None, str(len(batch)))\n"
        "    def close(self):\n"
        "        pass\n"
        "class Mine(Batch):\n"
        "    content_type = 'text/x-mine'\n"
    )
    info = tmp_path / "acme_sendback-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-sendback\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[sendback.sinks]\nkafka = acme_sendback:Kafka\n"
        "[sendback.formats]\nmine = acme_sendback:Mine\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    destination = Destination(name="d", type="plugin", url="kafka://broker/topic", parallel=4)
    made = build_sink(destination, data_dir=tmp_path, is_from_file=True)
    assert (made.url, made.deliver([1, 2]).answer) == ("kafka://broker/topic", "2")
    with pytest.raises(Malformed):
        made.guard.addresses("127.0.0.1", 443)
    assert find_format("mine").content_type == "text/x-mine"
    other = Destination(name="d", type="plugin", url="none://x")
    with pytest.raises(Misconfigured, match="none://"):
        build_sink(other, data_dir=tmp_path, is_from_file=True)
