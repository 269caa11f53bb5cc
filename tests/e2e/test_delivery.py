"""Clicks on a real node, killed again and again: every acknowledged one reaches its webhook."""

import json
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from fixtures.node import run_cli, running_node
from fixtures.receiver import Receiver, answer

MESSAGE = (
    "From: a@example.com\r\nTo: joe@example.net\r\nSubject: hi\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/html; charset=utf-8\r\n\r\n"
    '<html><body><a href="https://www.example.com/x">go</a></body></html>\r\n'
)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def click(web: str, path: str) -> bool:
    """True when the redirect was given."""
    try:
        _OPENER.open(f"{web}{path}", timeout=10).close()
    except urllib.error.HTTPError as found:
        with found:
            return found.code == 302
    except OSError:
        return False
    return False


def delivered(receiver: Receiver) -> list[dict]:
    return [e for r in list(receiver.requests) for e in json.loads(r.body) if e["seq"]]


def test_a_node_killed_under_load_delivers_every_acknowledged_click(tmp_path) -> None:
    # facts/reliability.md faults 1 and 25
    data = tmp_path / "data"
    receiver = Receiver()
    (tmp_path / "node.toml").write_text(
        f'[[destination]]\nname = "app"\ntype = "webhook"\nurl = "{receiver.url}"\n'
        'events = ["engine_click"]\nallow_private_networks = true\nmax_batch_size = 7\n'
    )
    env = {"SENDBACK_CONFIG": str(tmp_path / "node.toml")}
    message = tmp_path / "message.eml"
    message.write_bytes(MESSAGE.encode())
    tagged = run_cli(
        "rewrite", str(message), "--rcpt", "joe@example.net", "--data-dir", str(data), env=env
    ).stdout
    path = re.search(r"(/click\?[A-Za-z0-9_-]+)", tagged)[1]
    acknowledged = 0
    lock = threading.Lock()

    def visitor(web: str, stop: threading.Event) -> None:
        nonlocal acknowledged
        while not stop.is_set():
            if click(web, path):
                with lock:
                    acknowledged += 1

    for turn in range(3):
        receiver.behave = answer(500 if turn == 1 else 200)
        with running_node(data, env=env) as node:
            stop = threading.Event()
            threads = [threading.Thread(target=visitor, args=(node.web, stop)) for _ in range(6)]
            for thread in threads:
                thread.start()
            goal = acknowledged + 60
            deadline = time.monotonic() + 60
            while acknowledged < goal and time.monotonic() < deadline:
                time.sleep(0.01)
            node.kill()
            stop.set()
            for thread in threads:
                thread.join()

    receiver.behave = answer()
    with running_node(data, env=env) as node:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            ids = {event["event_unique_id"] for event in delivered(receiver)}
            state = json.loads(node.cli("events", "status", "--json").stdout)
            backlog = next(row["backlog"] for row in state if row["destination"] == "app")
            if len(ids) >= acknowledged and not backlog:
                break
            time.sleep(0.2)
        logged = [event for event in node.events() if event["event_type"] == "engine_click"]
    receiver.close()

    assert acknowledged >= 180
    assert len(ids) >= acknowledged
    assert ids == {event["event_unique_id"] for event in logged}
    by_id = {event["event_unique_id"]: event for event in logged}
    assert all(by_id[event["event_unique_id"]] == event for event in delivered(receiver))


def test_a_receiver_that_hangs_does_not_hold_up_the_end_of_the_node(tmp_path) -> None:
    """Found by trying: with `parallel` the worker waited for it, and was killed."""
    data = tmp_path / "data"
    receiver = Receiver()
    receiver.behave = lambda *_: receiver.stopping.wait(60)
    (tmp_path / "node.toml").write_text(
        f'[[destination]]\nname = "app"\ntype = "webhook"\nurl = "{receiver.url}"\n'
        "allow_private_networks = true\nparallel = 4\n"
    )
    env = {"SENDBACK_CONFIG": str(tmp_path / "node.toml")}
    message = tmp_path / "message.eml"
    message.write_bytes(MESSAGE.encode())
    with running_node(data, env=env) as node:
        tagged = node.cli("rewrite", str(message), "--rcpt", "joe@example.net").stdout
        assert click(node.web, re.search(r"(/click\?[A-Za-z0-9_-]+)", tagged)[1])
        deadline = time.monotonic() + 60
        while not receiver.requests:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    receiver.close()

    assert node.process.returncode == 0
    assert "killed" not in node.log()


def test_capture_and_worker_killed_together_again_and_again() -> None:
    # facts/reliability.md fault 1, in small; the benchmark does it a thousand times
    bench = Path(__file__).parents[1] / "bench" / "bench_faults.py"
    command = [sys.executable, str(bench), "15", "2", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)

    counted = re.findall(r"([\d,]+) acknowledged, ([\d,]+) recovered, 0 lost, 0 twice", done.stdout)
    assert len(counted) == 2, done.stdout
    assert all(int(acknowledged.replace(",", "")) > 100 for acknowledged, _ in counted)
    assert done.stdout.endswith("missed: nothing\n")
