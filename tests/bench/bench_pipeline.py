"""The pipeline journal -> log -> webhook, ndjson, Postgres, JetStream, statistics, in CPU time of
this process.

Prints events a second of one core for each stage; `main(count)` with 40,000 events takes some ten
seconds. The machine is shared, so wall-clock figures would say little.
"""

import resource
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from fixtures.postgres import postgres_bin, running_postgres
from sendback.agents import classify, load_rules
from sendback.database.engine import Database
from sendback.database.statistics import Statistics
from sendback.database.upgrade import upgrade
from sendback.delivery import Delivery, Filter, Following
from sendback.eventlog import EventLog
from sendback.finishing import Finishing, Unparsed
from sendback.finishing.history import History
from sendback.finishing.returned import Returned
from sendback.finishing.visits import Visits
from sendback.journal import Journal, JournalReader, Level
from sendback.metadata import Metadata
from sendback.model import Click, LinkFacts, MessageFacts, Storage, Visit, VisitKind, uuid7
from sendback.reports import parse
from sendback.secret_constants import Keyring
from sendback.sinks import Guard
from sendback.sinks.formats import Batch
from sendback.sinks.ndjson import NdjsonSink
from sendback.sinks.webhook import WebhookSink

AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/131.0.0.0 Safari/537.36"
)


def measured(name: str, count: int, act: Callable[[], object], goal: int = 0) -> float:
    """Run, and print how many a second of CPU time that was."""
    before, began = time.process_time(), time.perf_counter()
    act()
    cpu, wall = time.process_time() - before, time.perf_counter() - began
    rate = count / cpu
    text = f"{name:48} {rate:10,.0f} /s of CPU {count / wall:10,.0f} /s wall"
    print(text + (f"   goal {goal:,}: x{rate / goal:.1f}" if goal else ""), flush=True)
    return rate


def drain(step: Callable[[], bool]) -> None:
    while step():
        pass


class Swallower:
    """A sink over HTTP in another process would be fairer; a thread that only reads is cheap."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        stream = connection.makefile("rb", 1 << 20)
        while stream.readline():
            length = 0
            while (line := stream.readline().lower()) != b"\r\n":
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            stream.read(length)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def journal_figures(folder: Path, count: int) -> None:
    for level, threads in ((Level.DISK, 1), (Level.DISK, 16), (Level.DISK, 64), (Level.OS, 1)):
        journal = Journal(folder / f"j{level.value}{threads}", "bench")
        each = count // 8 // threads

        def work(journal: Journal = journal, level: Level = level, each: int = each) -> None:
            for _ in range(each):
                journal.append(b"x" * 300, level=level, timeout=5)

        workers = [threading.Thread(target=work) for _ in range(threads)]

        def run(workers: list[threading.Thread] = workers) -> None:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()

        measured(f"journal, {threads} threads, level {level.value}", each * threads, run)
        journal.close()


def fill(folder: Path, metadata: Metadata, count: int) -> None:
    now = int(time.time() * 1000) - 3_600_000
    journal = Journal(folder / "journal", "web")
    encode = msgspec.msgpack.Encoder().encode
    tokens = []
    for n in range(2000):
        message = MessageFacts(
            email=f"user{n}@example.net", listid="news", sendid="news20260101",
            click_tracking_id=f"C{n}|S{n}", mail_class="news", url_domain="click.example.com",
            tagged_at=now // 1000 - 86400,
        )  # fmt: skip
        link = LinkFacts(url=f"https://www.example.com/landing/{n % 9}?utm_source=x", pos=n % 9 + 1)
        tokens.append(metadata.issue(Storage.STATELESS, message, [link]).link_tokens[0][1].encode())
    for n in range(count):
        visit = Visit(
            uuid7(now + n),
            now + n,
            VisitKind.CLICK,
            tokens[n % 2000],
            f"203.0.113.{n % 250}",
            AGENT,
        )
        journal.append(encode(visit), level=Level.OS)
    journal.close()


def finishing_in(folder: Path, metadata: Metadata, log: EventLog) -> Finishing:
    rules = load_rules()
    return Finishing(
        JournalReader(folder / "journal"),
        log,
        Visits(metadata, lambda seen: classify(seen, rules), "node", History()),
        Returned(
            metadata,
            parse,
            lambda them: [False] * len(them),
            Unparsed(folder / "unparsed"),
            "node",
            frozenset,
        ),
    )


def main(count: int = 40_000) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        journal_figures(folder, count)
        keyring = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64)))
        metadata = Metadata(keyring, local=None)
        fill(folder, metadata, count)
        log = EventLog(folder / "events.sqlite")
        finishing = finishing_in(folder, metadata, log)
        measured(
            "finishing and log, stateless clicks", count, lambda: drain(finishing.step), 20_000
        )
        assert log.last_seq() == count
        bare(folder, count)
        guard = Guard(allow_private_networks=True)
        for batch in (500, 50):
            sink = WebhookSink(Swallower().url, Batch(), guard, secrets=["whsec_" + "A" * 32])
            delivery = Delivery(f"hook{batch}", log, sink, Filter(), max_batch=batch)
            measured(
                f"webhook, signed, batches of {batch}",
                count,
                lambda d=delivery: drain(d.step),
                20_000,
            )
            assert log.cursor(f"hook{batch}") == count
        delivery = Delivery("file", log, NdjsonSink(folder / "all.ndjson"), Filter())
        measured("ndjson, batches of 500", count, lambda: drain(delivery.step))
        postgres(log, guard, count)
        jetstream(folder, log, guard, count)
        statistics(folder, log, count)
        log.close()
        whole(folder / "whole", metadata, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB")


def bare(folder: Path, count: int) -> None:
    log = EventLog(folder / "bare.sqlite")
    events = [
        Click(
            event_time=1, event_time_ms=n, event_unique_id=str(uuid.UUID(bytes=uuid7(n))),
            email="user@example.net", user_agent=AGENT, click_url="https://www.example.com/landing",
        )
        for n in range(count)
    ]  # fmt: skip

    def run() -> None:
        for at in range(0, count, 1000):
            log.append(events[at : at + 1000])

    measured("event log alone, 1,000 a transaction", count, run, 50_000)
    log.close()


def postgres(log: EventLog, guard: Guard, count: int) -> None:
    """CPU time of our side; the server's own is another process."""
    if postgres_bin() is None:
        print("postgres: no server programs here, skipped")
        return
    from sendback.sinks.postgres import PostgresSink

    with running_postgres() as server:
        sink = PostgresSink(server.new_database(), guard)
        delivery = Delivery("pg", log, sink, Filter(), max_batch=1000)
        measured("postgres COPY, batches of 1,000", count, lambda: drain(delivery.step), 50_000)
        delivery.close()


def jetstream(folder: Path, log: EventLog, guard: Guard, count: int) -> None:
    """CPU time of our side; the server's own is another process."""
    try:
        from fixtures.nats_server import NatsServer

        server = NatsServer(folder / "nats")
    except AssertionError:
        print("jetstream: no nats-server here, skipped")
        return
    from sendback.sinks.jetstream import JetStreamSink

    delivery = Delivery("js", log, JetStreamSink(server.url("bench"), guard), Filter())
    measured("JetStream, batches of 500", count, lambda: drain(delivery.step))
    assert log.cursor("js") == count
    delivery.close()
    server.stop()


def statistics(folder: Path, log: EventLog, count: int) -> None:
    following = Following("statistics", log, Statistics(database_in(folder), "node"))
    measured("statistics, SQLite", count, lambda: drain(following.step))
    assert following._cursor == count


def database_in(folder: Path) -> Database:
    database = Database.in_directory(folder)
    upgrade(database)
    return database


def whole(folder: Path, metadata: Metadata, count: int) -> None:
    """Everything that one click costs the worker: journal -> log -> webhook and statistics."""
    folder.mkdir()
    fill(folder, metadata, count)
    log = EventLog(folder / "events.sqlite")
    finishing = finishing_in(folder, metadata, log)
    sink = WebhookSink(
        Swallower().url, Batch(), Guard(allow_private_networks=True), secrets=["whsec_" + "A" * 32]
    )
    parts = (
        finishing,
        Delivery("hook", log, sink, Filter()),
        Following("statistics", log, Statistics(database_in(folder), "node")),
    )

    def step() -> bool:
        did = [part.step() for part in parts]  # every part, whatever the others did
        return any(did)

    measured("journal -> log -> webhook and statistics", count, lambda: drain(step))
    assert log.cursor("hook") == count
    log.close()


if __name__ == "__main__":
    main()
