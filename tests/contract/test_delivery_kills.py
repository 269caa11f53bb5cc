"""Killed at every point from the send to the commit of the cursor: never lost, the same ids.

Real processes, real SIGKILL, real receivers (issue 7; facts/reliability.md fault 25). A point is a
line of our code; by default every fourth or so is taken, with KILL_STEP=1 each.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from fixtures.nats_server import NatsServer
from fixtures.receiver import Receiver
from sendback.eventlog import EventLog
from unit.eventlog.test_log import click

COUNT = 4
SCRIPT = Path(__file__).parents[1] / "fixtures" / "killed_delivery.py"


@pytest.fixture
def log(tmp_path):
    made = EventLog(tmp_path / "events.sqlite")
    made.append([click(n) for n in range(COUNT)])
    made.close()
    return tmp_path / "events.sqlite"


@pytest.fixture
def bodies(log):
    made = EventLog(log, readonly=True)
    found = [event.body for event in made.read(0, 100)]
    made.close()
    return sorted(found)


def rounds(kind: str, url: str, log: Path, step: int) -> list[int]:
    """Every round in which the delivering process was killed."""
    folder = log.parent / "rounds"
    folder.mkdir()
    step = int(os.environ.get("KILL_STEP", step))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), kind, url, str(log), str(folder), str(step)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(map(int, done.stdout.split()))


def check(found: list[bytes], bodies: list[bytes], number: int) -> int:
    """All arrived, byte for byte with their ids; how many came again."""
    counts = Counter(found)
    assert sorted(counts) == bodies, f"killed at line {number}"
    return sum(counts.values()) - len(bodies)


def test_webhook(log, bodies) -> None:
    receiver = Receiver()
    killed = rounds("webhook", f"http://127.0.0.1:{receiver.port}/{{n}}", log, 5)
    arrived: dict[int, list[bytes]] = {number: [] for number in killed}
    ids: dict[tuple[int, bytes], set[str]] = {}
    for request in receiver.requests:
        number = int(request.line.split()[1][1:])
        ids.setdefault((number, request.body), set()).add(request.headers["webhook-id"])
        if number in arrived:
            arrived[number] += [json.dumps(one).encode() for one in json.loads(request.body)]
    receiver.close()
    whole = sorted(json.dumps(json.loads(body)).encode() for body in bodies)
    again = [check(found, whole, number) for number, found in arrived.items()]

    assert len(killed) > 40
    assert set(again) == {0, 2}  # a batch at most
    assert again.count(2) > 10  # killed between its arrival and the commit
    assert all(len(found) == 1 for found in ids.values())


def test_ndjson(log, bodies, tmp_path) -> None:
    killed = rounds("ndjson", str(tmp_path / "{n}.ndjson"), log, 5)
    again = [
        check((tmp_path / f"{number}.ndjson").read_bytes().splitlines(), bodies, number)
        for number in killed
    ]

    assert len(killed) > 30
    assert set(again) == {0, 2}


@pytest.mark.postgres
def test_postgres_has_each_once(log, bodies, postgres_server) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(postgres_server.new_database())
    url = "postgresql://{user}@{host}:{port}/{dbname}".format(**parts)
    killed = rounds("postgres", f"{url}?table=r{{n}}", log, 11)
    ids = sorted(json.loads(body)["event_unique_id"] for body in bodies)
    with psycopg.connect(url) as db:
        for number in killed:
            rows = db.execute(f"select event_id::text from r{number} order by 1").fetchall()
            assert [row[0] for row in rows] == ids, number

    assert len(killed) > 15


@pytest.fixture
def nats_server(tmp_path):
    made = NatsServer(tmp_path / "nats")
    yield made
    made.stop()


@pytest.mark.nats
def test_jetstream_has_each_once(log, bodies, nats_server) -> None:
    killed = rounds("jetstream", nats_server.url("r{n}"), log, 11)
    again = [
        check([data for _, data in asyncio.run(nats_server.stored(f"R{number}"))], bodies, number)
        for number in killed
    ]

    assert len(killed) > 15
    assert set(again) == {0}
