"""A node while something behind it is broken: the recipient notices nothing, no event is lost.

The rows are those of facts/reliability.md section 3.2. Figures stand in
tests/bench/bench_faults.py; here deadlines have much slack, because machines are busy.
"""

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import smtplib
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from e2e.test_delivery import MESSAGE, delivered
from e2e.test_external import clicks_in, newest_copy
from e2e.test_first_light import SAMPLE, dsn, fetch, html_of, return_path, send
from e2e.test_first_light import copies as copies_of
from e2e.test_supervisor import statuses, until
from fixtures.node import FREE_PORTS, run_cli, running_node
from fixtures.receiver import Receiver
from fixtures.slow_disk import slow_disk
from sendback.journal import Journal, Level
from sendback.model import Visit, VisitKind, uuid7

SLACK = 2.0
"""Seconds beside a promise of 0.25: what a busy machine may take."""


def tagged(tmp_path: Path, env: dict[str, str]) -> str:
    """The path of a click link made on the node's data directory."""
    message = tmp_path / "message.eml"
    message.write_bytes(MESSAGE.encode())
    command = ("rewrite", str(message), "--rcpt", "joe@example.net")
    out = run_cli(*command, "--data-dir", str(tmp_path / "data"), env=env).stdout
    return re.search(r"/click\?[A-Za-z0-9_-]+", out)[0]


def destinations(tmp_path: Path, **urls: str) -> dict[str, str]:
    (tmp_path / "node.toml").write_text(
        "".join(
            f'[[destination]]\nname = "{name}"\ntype = "webhook"\nurl = "{url}"\n'
            "allow_private_networks = true\n"
            for name, url in urls.items()
        )
    )
    return {"SENDBACK_CONFIG": str(tmp_path / "node.toml")}


def click(web: str, path: str, count: int = 1) -> float:
    """Follow the link; the longest answer's seconds."""
    took = []
    for _ in range(count):
        began = time.monotonic()
        assert fetch(web + path)[0] == 302
        took.append(time.monotonic() - began)
    return max(took)


def test_recipients_notice_nothing_of_dead_receivers_dns_and_database(tmp_path):  # rows 24, 27
    good, hanging = Receiver(), Receiver()
    hanging.behave = lambda *_: hanging.stopping.wait(120)
    env = destinations(
        tmp_path,
        good=good.url,
        hanging=hanging.url,
        refused="http://127.0.0.1:1/",
        no_name="http://receiver.invalid/hook",
    )
    path = tagged(tmp_path, env)
    with running_node(tmp_path / "data", env=env) as node:
        assert click(node.web, path) < 0.25 + SLACK
        database = sqlite3.connect(tmp_path / "data" / "sendback.sqlite", timeout=30)
        database.execute("begin exclusive")
        assert click(node.web, path, 50) < 0.25 + SLACK
        assert until(lambda: len(delivered(good)) >= 51, 60)
        database.close()
        assert len(node.wait_events(51)) == 51

        def counted() -> bool:
            rows = json.loads(node.cli("events", "status", "--json").stdout)
            return all(r["backlog"] == 0 for r in rows if r["destination"] == "statistics")

        assert until(counted, 60)
        assert "Traceback" not in node.log()
        hanging.stopping.set()
    for receiver in (good, hanging):
        receiver.close()


@pytest.mark.strace
def test_a_slow_disk_delays_a_click_by_its_deadline_at_most(tmp_path):  # row 9
    path = tagged(tmp_path, {})
    calls = "fdatasync,fsync"
    strace = ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"]
    strace += ["-e", f"trace={calls}", "-e", f"inject={calls}:delay_enter=300000"]
    with running_node(tmp_path / "data", under=strace) as node:
        assert click(node.web, path, 30) < 0.25 + SLACK
        assert len(node.wait_events(30)) == 30


@pytest.mark.parametrize("level", ["disk", "os"])
def test_a_disk_that_hangs_for_ever_holds_no_answer(tmp_path, level):  # row 9
    """No clock: a sync that began does not come back before the test is over.

    So nobody who got an answer has waited for the disk, and what was answered was written: it is
    there after a kill -9.
    """
    disk = slow_disk(tmp_path)
    if disk is None:
        pytest.skip("needs a C compiler")
    env = {**FREE_PORTS, "SENDBACK_JOURNAL__CLICK": level}
    path = tagged(tmp_path, env)
    with running_node(tmp_path / "data", env={**env, **disk.environment}) as node:
        click(node.web, path)
        disk.begin(3_600_000)
        click(node.web, path, 20)
        threads = [threading.Thread(target=click, args=(node.web, path, 5)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        node.kill()
    with running_node(tmp_path / "data", env=env) as node:
        clicks = node.wait_events(1 + 20 + 100)
    assert len(clicks) == 1 + 20 + 100
    assert len({event["event_unique_id"] for event in clicks}) == len(clicks)


@pytest.mark.postgres
def test_a_click_while_postgres_is_frozen(tmp_path, postgres_server):  # row 16
    env = {
        "SENDBACK_DATABASE_CONNECTION": json.dumps(
            [{"name": "tracking", "dsn": postgres_server.new_database()}]
        ),
        "SENDBACK_EXTERNAL_METADATA_EVENT_TRACKING_DATABASE": "tracking",
        "SENDBACK_DEFAULT_EVENT_TRACKING_METADATA_STORAGE": "external",
    }
    run_cli("metadata", "init", "--data-dir", str(tmp_path / "data"), env=env)
    with running_node(tmp_path / "data", env=env) as node:
        send(node, SAMPLE.read_bytes(), ["ada@example.org"])
        ada = clicks_in(newest_copy(node))[0]
        send(node, SAMPLE.read_bytes(), ["bob@example.net"])
        bob = clicks_in(newest_copy(node))[0]
        assert click(node.web, ada) < 1.0 + SLACK  # the link row, which both share, is cached
        assert len(node.wait_events(1)) == 1
        with postgres_server.frozen():
            # the message row of bob was never read
            assert click(node.web, bob) < 1.0 + SLACK
            assert until(
                lambda: statuses(node.data_dir)["worker"]["counters"]["finishing_pending"] == 1, 30
            )
            assert len(node.events()) == 1
        events = node.wait_events(2)
        assert [(e["email"], e["unresolved"]) for e in events] == [
            ("ada@example.org", False),
            ("bob@example.net", False),
        ]
        assert events[0]["click_url"] == events[1]["click_url"]
        assert events[1]["sendid"] == events[0]["sendid"] != ""


def test_the_web_process_without_descriptors(tmp_path):  # row 13
    path = tagged(tmp_path, {})
    with running_node(tmp_path / "data") as node:
        click(node.web, path)
        pid = statuses(node.data_dir)["web"]["pid"]
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 8, used + 8))
        held = []
        with contextlib.suppress(OSError):
            while len(held) < 64:
                held.append(socket.create_connection(node.address("web"), 5))
        for connection in held:
            connection.close()

        def answers() -> bool:
            with contextlib.suppress(OSError, http.client.HTTPException):
                return fetch(node.web + path)[0] == 302
            return False

        assert until(answers, 30)
        assert statuses(node.data_dir)["web"]["pid"] == pid
        assert node.wait_events(2)


def test_a_worker_without_memory_loses_nothing(tmp_path):  # row 14
    with running_node(tmp_path / "data") as node:
        send(node, SAMPLE.read_bytes(), ["ada@example.org"])
        (copy,) = copies_of(node).values()
        link = re.search(r"/click\?[\w-]+", html_of(copy))[0]
        click(node.web, link)
        assert node.wait_events(1)
        pid = statuses(node.data_dir)["worker"]["pid"]
        resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, 1 << 20))
        click(node.web, link, 20)
        with smtplib.SMTP(*node.address("smtp"), timeout=30) as smtp:
            bounce = dsn(copy, "ada@example.org") + b"x" * 3_000_000
            smtp.sendmail("", [return_path(copy)], bounce)
        # it dies, or it goes on as far as it can: then it is helped to die
        if not until(lambda: not Path(f"/proc/{pid}").exists(), 8):
            os.kill(pid, signal.SIGKILL)
        events = node.wait_events(22, seconds=90)
        assert sum(e["event_type"] == "engine_click" for e in events) == 21
        assert any(e["event_type"] == "bounce_all" for e in events)
        assert len({e["event_unique_id"] for e in events}) == len(events)


def test_nobody_reads_the_log(tmp_path):  # row 39
    path = tagged(tmp_path, {})
    ready = tmp_path / "ready"
    process = subprocess.Popen(
        [sys.executable, "-m", "sendback", "serve",
         "--data-dir", str(tmp_path / "data"), "--ready-file", str(ready)],
        env={**os.environ, **FREE_PORTS},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        process.stdout.close()  # from now on every line meets a closed pipe
        assert until(ready.exists, 60)
        web = json.loads(ready.read_text())["web"]
        click(web, path)
        worker = statuses(tmp_path / "data")["worker"]["pid"]
        os.kill(worker, signal.SIGKILL)  # the supervisor says so, into nothing
        assert until(lambda: statuses(tmp_path / "data").get("worker", {}).get("pid") != worker)
        click(web, path, 5)
        data = ("--data-dir", str(tmp_path / "data"))

        def events() -> list:
            return json.loads(run_cli("events", "list", "--json", *data).stdout)

        assert until(lambda: len(events()) == 6, 60)
        assert process.poll() is None
    finally:
        process.terminate()
        try:
            assert process.wait(30) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_journal_above_its_cap_is_emptied_all_the_same(tmp_path):
    """Found by reading: a full journal made finishing wait, which alone empties it."""
    path = tagged(tmp_path, {})
    journal = Journal(tmp_path / "data" / "journal", "web")
    now = int(time.time() * 1000)
    for n in range(3000):
        token = path.partition("?")[2].encode()
        visit = Visit(uuid7(now), now, VisitKind.CLICK, token, "203.0.113.9", f"{n}." + "x" * 400)
        journal.append(msgspec.msgpack.encode(visit), level=Level.OS)
    journal.close()
    held = sum(segment.stat().st_size for segment in (tmp_path / "data" / "journal").glob("*.seg"))
    assert held > 1 << 20
    with running_node(tmp_path / "data", env={"SENDBACK_JOURNAL__MAX_BYTES": "1048576"}) as node:
        assert len(node.wait_events(3000)) == 3000


def test_the_table_of_faults_names_tests_that_exist():
    root = Path(__file__).resolve().parents[2]
    table = (root / "docs" / "reference" / "faults.md").read_text()
    assert [int(n) for n in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(range(1, 41))
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", table)
    assert len(named) > 40
    for path, name in named:
        assert f"def {name}(" in (root / path).read_text(), (path, name)
