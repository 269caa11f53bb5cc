"""One contract for every sink, on the real thing: what is DELIVERED is there, and twice is once
where the receiver can tell. HTTP, a file, PostgreSQL, NATS JetStream."""

import asyncio
import json
import socket
import time
import typing
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import psycopg
import pytest

from fixtures.nats_server import NatsServer
from fixtures.receiver import Receiver, answer
from sendback.errors import Misconfigured
from sendback.eventlog import StoredEvent
from sendback.model import BounceAll, Click, Event
from sendback.model.events import EVENT_TYPES
from sendback.sinks import Guard, Result
from sendback.sinks.formats import Batch
from sendback.sinks.ndjson import NdjsonSink
from sendback.sinks.webhook import WebhookSink

ROOT = Path(__file__).resolve().parents[2]
GUARD = Guard(allow_private_networks=True)


def events(count: int, **fields) -> list[StoredEvent]:
    made = []
    for seq in range(1, count + 1):
        kind = Click if seq % 2 else BounceAll
        event = kind(
            event_time=1_700_000_000, event_time_ms=1_700_000_000_123, seq=seq, server_id="node",
            event_unique_id=str(uuid.uuid4()), email=f"user{seq}@example.net", **fields,
        )  # fmt: skip
        tag = event.__struct_config__.tag
        body = msgspec.json.encode(event)
        made.append(StoredEvent(seq, tag, event.event_time_ms, event.event_unique_id, body))
    return made


def documented() -> dict[str, set[str]]:
    """Type -> fields, as the reference has them."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "docs" / "reference" / "events.md").read_text().splitlines():
        if line.startswith("## "):
            fields = found.setdefault(line[3:], set())
        elif line.startswith("| `"):
            fields.add(line.split("`")[1])
    assert found.keys() == set(EVENT_TYPES)
    return found


def of_type(wire_name: str, seq: int) -> StoredEvent:
    (kind,) = (k for k in typing.get_args(Event) if k.__struct_config__.tag == wire_name)
    event = kind(event_time=1, event_time_ms=1000, event_unique_id=str(uuid.uuid4()), seq=seq)
    body = msgspec.json.encode(event)
    return StoredEvent(seq, wire_name, 1000, event.event_unique_id, body)


class SinkContract:
    """Subclasses give `sink`, `received()` (bodies) and `break_it()` / `mend_it()`."""

    distinct = True
    """The receiver drops what comes twice."""

    def test_what_is_delivered_is_there_in_order(self, sink) -> None:
        batch = events(7)

        assert sink.deliver(batch).result is Result.DELIVERED

        assert [json.loads(event.body) for event in batch] == self.received()

    def test_twice_is_harmless(self, sink) -> None:
        batch = events(5)
        sink.deliver(batch)
        assert sink.deliver(batch).result is Result.DELIVERED
        more = events(2)
        sink.deliver(batch[3:] + more)

        ids = [body["event_unique_id"] for body in self.received()]
        assert set(ids) == {event.event_id for event in batch + more}
        if self.distinct:
            assert len(ids) == 7

    def test_awkward_text_arrives_unchanged(self, sink) -> None:
        awkward = 'tab\t newline\n "quotes" back\\slash \\N \\. ünïcödé \u2028 😀 </script>'
        batch = events(2, sendid=awkward, listid="\\")

        assert sink.deliver(batch).result is Result.DELIVERED

        assert {body["sendid"] for body in self.received()} == {awkward}
        assert {body["listid"] for body in self.received()} == {"\\"}

    def test_an_outage_is_a_failure_and_passes(self, sink) -> None:
        batch = events(3)
        self.break_it()
        outcome = sink.deliver(batch)
        assert outcome.result is Result.FAILED
        assert outcome.answer
        self.mend_it()
        deadline = time.monotonic() + 20
        while (outcome := sink.deliver(batch)).result is not Result.DELIVERED:
            assert time.monotonic() < deadline, outcome
            time.sleep(0.1)

        assert len(self.received()) == 3

    def test_every_documented_type_arrives_with_every_documented_field(self, sink) -> None:
        """facts/peers.md R38: what is documented and never sent is worse than nothing."""
        batch = [of_type(kind, seq) for seq, kind in enumerate(documented(), start=1)]

        assert sink.deliver(batch).result is Result.DELIVERED

        arrived = {body["event_type"]: set(body) for body in self.received()}
        assert arrived == documented()

    def test_it_says_how_many_threads_it_takes(self, sink) -> None:
        assert sink.max_parallel == (64 if isinstance(sink, WebhookSink) else 1)

    def test_closing_twice_and_delivering_again(self, sink) -> None:
        sink.close()
        sink.close()
        assert sink.deliver(events(1)).result is Result.DELIVERED


class TestWebhook(SinkContract):
    distinct = False

    @pytest.fixture
    def sink(self):
        self.receiver = Receiver()
        made = WebhookSink(self.receiver.url, Batch(), GUARD, seconds=5)
        yield made
        made.close()
        self.receiver.close()

    def received(self):
        return [event for r in self.receiver.requests for event in json.loads(r.body)]

    def break_it(self) -> None:
        self.receiver.behave = answer(500, b"broken")

    def mend_it(self) -> None:
        self.receiver.requests.clear()
        self.receiver.behave = answer()


class TestNdjson(SinkContract):
    distinct = False

    @pytest.fixture
    def sink(self, tmp_path):
        self.path = tmp_path / "all.ndjson"
        made = NdjsonSink(self.path)
        yield made
        made.close()

    def received(self):
        return [json.loads(line) for line in self.path.read_text().split("\n")[:-1]]

    def break_it(self) -> None:
        self.path.mkdir()

    def mend_it(self) -> None:
        self.path.rmdir()


@pytest.mark.postgres
class TestPostgres(SinkContract):
    @pytest.fixture
    def sink(self, postgres_dsn):
        from sendback.sinks.postgres import PostgresSink

        self.dsn = postgres_dsn
        made = PostgresSink(postgres_dsn, GUARD)
        yield made
        made.close()

    def received(self):
        with psycopg.connect(self.dsn) as db:
            return [row[0] for row in db.execute("select body from sendback_events order by seq")]

    def break_it(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as db:
            db.execute("create table sendback_events (wrong int)")

    def mend_it(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as db:
            db.execute("drop table sendback_events")

    def test_columns(self, sink) -> None:
        batch = events(2, sendid="s", listid="l", mail_class="m")
        sink.deliver(batch)

        with psycopg.connect(self.dsn) as db:
            row = db.execute(
                "select event_id::text, event_type, extract(epoch from event_time)::float8,"
                " server_id, seq, email, listid, sendid, mail_class from sendback_events"
                " order by seq limit 1"
            ).fetchone()
        assert row == (batch[0].event_id, "engine_click", 1_700_000_000.123, "node", 1,
                       "user1@example.net", "l", "s", "m")  # fmt: skip

    def test_nul_is_replaced_because_jsonb_has_none(self, sink) -> None:
        sink.deliver(events(1, sendid="a\0b\\u0000"))

        assert self.received()[0]["sendid"] == "a\ufffdb\\u0000"

    def test_another_table_and_a_user_who_may_only_insert(self, sink, postgres_dsn) -> None:
        from sendback.sinks.postgres import PostgresSink

        named = PostgresSink(postgres_dsn + "?table=public.mine", GUARD)
        assert named.deliver(events(1)).result is Result.DELIVERED
        named.close()
        with psycopg.connect(self.dsn) as db:
            assert db.execute("select count(*) from public.mine").fetchone() == (1,)

    def test_a_table_beside_other_parameters(self, postgres_dsn) -> None:
        """Found by reading: the table's name took in what stood behind it, sslmode too."""
        from sendback.sinks.postgres import PostgresSink

        parts = psycopg.conninfo.conninfo_to_dict(postgres_dsn)
        url = "postgresql://{user}@{host}:{port}/{dbname}".format(**parts)
        for query in ("sslmode=disable&table=one", "table=two&sslmode=disable"):
            named = PostgresSink(f"{url}?{query}", GUARD)
            assert named.deliver(events(1)).result is Result.DELIVERED
            named.close()
        with psycopg.connect(postgres_dsn) as db:
            assert db.execute("select count(*) from one, two").fetchone() == (1,)

    def test_the_next_address_is_tried(self, postgres_dsn) -> None:
        """localhost is ::1 first nearly everywhere, and the server often only at 127.0.0.1."""
        from sendback.sinks.postgres import PostgresSink

        guard = Guard(allow_private_networks=True, resolve=lambda *_: ["127.0.0.9", "127.0.0.1"])
        parts = psycopg.conninfo.conninfo_to_dict(postgres_dsn)
        dsn = psycopg.conninfo.make_conninfo(**{**parts, "host": "db.test"})
        sink = PostgresSink(dsn, guard)
        assert sink.deliver(events(1)).result is Result.DELIVERED
        sink.close()

    def test_a_frozen_server_is_a_failure_in_bounded_time(self, postgres_server) -> None:
        """Found by reading: it hung for ever, with no attempt to be seen."""
        from sendback.sinks.postgres import PostgresSink

        sink = PostgresSink(postgres_server.new_database(), GUARD, seconds=2)
        first, second = events(1), events(1)
        assert sink.deliver(first).result is Result.DELIVERED
        began = time.monotonic()
        with postgres_server.frozen():
            assert sink.deliver(second).result is Result.FAILED
            assert sink.deliver(second).result is Result.FAILED
        assert time.monotonic() - began < 20
        deadline = time.monotonic() + 20
        while sink.deliver(second).result is not Result.DELIVERED:
            assert time.monotonic() < deadline
        sink.close()

    def test_a_server_that_freezes_once_connected_is_a_failure_too(
        self, postgres_server, monkeypatch
    ) -> None:
        """Found by reading: nobody watched the statement that makes the table."""
        from sendback.sinks.postgres import PostgresSink

        sink = PostgresSink(postgres_server.new_database(), GUARD, seconds=2)
        connect = psycopg.connect

        def connect_and_freeze(**parameters):
            made = connect(**parameters)
            postgres_server.freeze()
            return made

        monkeypatch.setattr(psycopg, "connect", connect_and_freeze)
        try:
            assert sink.deliver(events(1)).result is Result.FAILED
        finally:
            postgres_server.thaw()
            sink.close()

    def test_two_nodes_may_make_the_table_at_once(self, sink) -> None:
        """Found by reading: the slower one's first event became a dead letter, as refused."""
        from sendback.sinks.postgres import DDL, TABLE

        waiting = "select 1 from pg_locks where not granted"
        with (
            psycopg.connect(self.dsn) as other,
            psycopg.connect(self.dsn, autocommit=True) as watching,
            ThreadPoolExecutor(1) as pool,
        ):
            other.execute(psycopg.sql.SQL(DDL).format(table=psycopg.sql.Identifier(TABLE)))
            delivering = pool.submit(sink.deliver, events(1))
            while watching.execute(waiting).fetchone() is None:
                assert not delivering.done()
                time.sleep(0.01)
            other.commit()
            assert delivering.result().result is Result.DELIVERED

    def test_several_hosts_are_refused_when_it_is_made(self) -> None:
        """Found by trying: each delivery said "fault in the sink: ValueError"."""
        from sendback.sinks.postgres import PostgresSink

        with pytest.raises(Misconfigured, match="one host and one port"):
            PostgresSink("postgresql://u@a:5432,b:5433/db", GUARD)

    def test_a_killed_connection_is_opened_again(self, sink) -> None:
        sink.deliver(events(1))
        with psycopg.connect(self.dsn, autocommit=True) as db:
            db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'sendback' and datname = current_database()"
            )
        batch = events(1)
        results = [sink.deliver(batch).result for _ in range(2)]
        assert results == [Result.FAILED, Result.DELIVERED]


def test_a_nats_server_that_refuses_us_is_left() -> None:
    """Found by reading: each try left a socket open, for as long as the server kept it."""
    from sendback.sinks.jetstream import JetStreamSink

    info = b'INFO {"server_id":"x","version":"2.9.0","proto":1,"max_payload":1048576}\r\n'

    def refuse(listener: socket.socket) -> bytes:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(20)
            peer.sendall(info)
            peer.recv(4096)
            peer.sendall(b"-ERR 'Authorization Violation'\r\n")
            while found := peer.recv(4096):
                pass
            return found

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        serving = pool.submit(refuse, listener)
        sink = JetStreamSink(f"nats://127.0.0.1:{listener.getsockname()[1]}/x", GUARD)
        assert sink.deliver(events(1)).result is Result.FAILED
        assert serving.result() == b""  # hung up, and the sink is not closed yet
        sink.close()


@pytest.mark.nats
class TestJetStream(SinkContract):
    @pytest.fixture
    def sink(self, tmp_path):
        from sendback.sinks.jetstream import JetStreamSink

        self.server = NatsServer(tmp_path / "nats")
        # The first address answers nobody, as ::1 often does.
        guard = Guard(allow_private_networks=True, resolve=lambda *_: ["127.0.0.9", "127.0.0.1"])
        made = JetStreamSink(self.server.url("mail.events", "n.test"), guard)
        yield made
        made.close()
        self.server.stop()

    def mend_it(self) -> None:
        self.server.start()

    def break_it(self) -> None:
        self.server.stop()

    def received(self):
        found = []
        for subject, data in asyncio.run(self.server.stored("MAIL_EVENTS")):
            body = json.loads(data)
            assert subject == f"mail.events.{body['event_type']}"
            found.append(body)
        return found
