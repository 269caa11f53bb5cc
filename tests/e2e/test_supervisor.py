"""The node as its operator meets it: signals, locks, ports, broken files, dying processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from fixtures.node import FREE_PORTS, run_cli, running_node


def statuses(data_dir: Path) -> dict[str, dict]:
    """Part -> its newest status."""
    found = [json.loads(p.read_bytes()) for p in (data_dir / "control/status").glob("*.json")]
    return {status["part"]: status for status in sorted(found, key=lambda s: s["started"])}


def until(condition, seconds: float = 30.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def group(pgid: int) -> list[int]:
    """Every living process of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == pgid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def test_sigterm_drains_and_ends_0(tmp_path):  # fault matrix 3
    with running_node(tmp_path / "data") as node:
        assert set(node.ready) == {"web", "admin", "smtp", "submission", "data_dir", "pid"}
        assert node.ready["pid"] == node.process.pid
        node.process.terminate()
        assert node.process.wait(30) == 0
        assert "Traceback" not in node.log()
        assert group(node.process.pid) == []


def test_sigterm_to_the_whole_group_ends_0_too(tmp_path):
    with running_node(tmp_path / "data") as node:
        os.killpg(node.process.pid, signal.SIGTERM)
        assert node.process.wait(30) == 0


def test_every_process_ends_when_the_supervisor_is_killed(tmp_path):
    with running_node(tmp_path / "data") as node:
        assert len(group(node.process.pid)) >= 5
        node.process.kill()
        node.process.wait()
        assert until(lambda: not group(node.process.pid))


def test_a_part_that_dies_is_started_again(tmp_path):
    with running_node(tmp_path / "data") as node:
        before = statuses(node.data_dir)["smtp"]["pid"]
        os.kill(before, signal.SIGKILL)
        assert until(
            lambda: statuses(node.data_dir).get("smtp", {}).get("pid") not in (None, before)
        )
        host, port = node.address("smtp")

        def banner():
            try:
                with socket.create_connection((host, port), 5) as connection:
                    return connection.recv(3)
            except OSError:
                return b""

        assert until(banner) == b"220"


def test_a_second_node_on_the_same_data_directory_is_refused(tmp_path):  # fault matrix 29
    with running_node(tmp_path / "data") as node:
        second = run_cli("serve", "--data-dir", str(node.data_dir), env=FREE_PORTS, check=False)

    assert second.returncode == 1
    assert f"another sendback node uses it (pid {node.ready['pid']})" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_port_in_use_is_one_line_and_1(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_cli(
            *("serve", "--data-dir", str(tmp_path / "data")),
            env={**FREE_PORTS, "SENDBACK_SMTP__LISTEN": address},
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"sendback: smtp.listen: {address} is in use by another program"
    ]


def test_a_wrong_key_is_78_with_file_line_key_and_nearest_name(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("[web]\nlissten = '127.0.0.1:0'\n")
    places = ("--config", str(file), "--data-dir", str(tmp_path / "d"))
    for command in ("serve", "config check", "events list", "stats sends", "url-domain list"):
        done = run_cli(*command.split(), *places, check=False)

        assert done.returncode == 78, command
        assert f"{file}:2: unknown key 'lissten' in [web]" in done.stderr
        assert "did you mean 'listen'?" in done.stderr
        assert "Traceback" not in done.stderr


def test_errors_are_json_with_json(tmp_path):
    done = run_cli(
        "config", "check", "--json", "--config", str(tmp_path / "none.toml"), check=False
    )

    assert done.returncode == 78
    assert json.loads(done.stdout)["error"]["code"] == "misconfigured"


def test_flask_runs_the_same_tree(tmp_path):
    environ = {**os.environ, "FLASK_APP": "sendback"}
    flask = Path(sys.executable).with_name("flask")
    done = subprocess.run(
        [flask, "config", "check", "--json", "--data-dir", str(tmp_path)],
        capture_output=True, text=True, env=environ, timeout=60, check=True,
    )  # fmt: skip

    assert json.loads(done.stdout)["ok"] is True


def test_sighup_reloads_and_a_broken_file_keeps_the_old_one(tmp_path):  # fault matrix 30
    file = tmp_path / "sendback.toml"
    file.write_text("server_id = 'before'\n")
    with running_node(tmp_path / "data", arguments=["--config", str(file)]) as node:
        key = json.loads(node.cli("api-key", "create", "t", "--scope", "read", "--json").stdout)
        status = urllib.request.Request(
            node.admin + "/api/v1/status", headers={"Authorization": f"Bearer {key['key']}"}
        )

        def server() -> str:
            with urllib.request.urlopen(status, timeout=30) as answer:
                return json.load(answer)["facts"]["Server"]

        assert server() == "before"
        file.write_text("server_id = \n")
        node.process.send_signal(signal.SIGHUP)
        assert until(lambda: "configuration not reloaded" in node.log())
        assert f"{file}:1" in node.log()
        assert server() == "before"
        file.write_text("server_id = 'after'\n")
        node.process.send_signal(signal.SIGHUP)
        assert until(lambda: "configuration reloaded" in node.log())
        assert server() == "after"
        with urllib.request.urlopen(node.web + "/robots.txt", timeout=30) as robots:
            assert robots.status == 200


def test_only_a_part_may_run(tmp_path):
    with running_node(tmp_path / "data", arguments=["--only", "web,worker"]) as node:
        assert set(node.ready) == {"web", "data_dir", "pid"}
        assert node.cli("health", "--json").returncode == 0
    assert run_cli("health", "--data-dir", str(tmp_path / "data"), check=False).returncode == 1
    wrong = run_cli("serve", "--only", "web,wroker", "--data-dir", str(tmp_path / "d"), check=False)
    assert wrong.returncode == 2
    assert "wroker" in wrong.stderr


def test_the_admin_port_says_what_runs(tmp_path):
    with running_node(tmp_path / "data") as node:

        def get(path: str) -> tuple[int, str]:
            try:
                with urllib.request.urlopen(node.admin + path, timeout=30) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code, refused.read().decode()

        assert get("/healthz") == (200, "ok\n")
        assert get("/readyz") == (200, "ready\n")
        status, metrics = get("/metrics")
        assert status == 200
        for part in ("web", "admin", "smtp", "submission", "worker"):
            assert f'sendback_up{{part="{part}"}} 1.0' in metrics
        assert "<h1>sendback</h1>" in get("/")[1]  # led to /login
        assert "Everything runs." not in get("/")[1]
        assert get("/ask?domain=localhost")[0] == 200
        assert get("/ask?domain=evil.example")[0] == 404
        assert get("/ask?domain=")[0] == 404
