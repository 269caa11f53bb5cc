"""One web process of a node: how soon it answers, and what it weighs.

    .venv/bin/python tests/bench/bench_web_process.py [starts]

The clock runs from the start of the server's process, as the supervisor starts it, to the first
answer to a click; the weight is the resident memory of granian's worker, at rest and after load.
"""

import http.client
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL_S, GOAL_MB = 0.3, 60


def main() -> None:
    """One line, and what was missed."""
    starts = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[0] == __file__ else 5
    took, rest, loaded = [], [], []
    with tempfile.TemporaryDirectory(prefix="bench-web-process-") as folder:
        data = Path(folder) / "data"
        command = [sys.executable, "-m", "sendback", "--data-dir", str(data)]
        subprocess.run(
            [*command[:3], "secret-constants", "list", *command[3:]],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for _ in range(starts):
            first, small, big = _one_start(data)
            took.append(first)
            rest.append(small)
            loaded.append(big)
    first, small, big = (statistics.median(values) for values in (took, rest, loaded))
    print(
        f"\na web process: first answer after {first:.2f} s (goal {GOAL_S}),"
        f" {small:.0f} MB at rest, {big:.0f} MB after load (goal {GOAL_MB})"
    )
    if first > GOAL_S or big > GOAL_MB:
        print("missed: the web process")


def _one_start(data: Path) -> tuple[float, float, float]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        "PATH": os.environ["PATH"],
        "SENDBACK_DATA_DIR": str(data),
        "SENDBACK_CHILD_LISTEN": f"127.0.0.1:{port}",
    }
    command = [sys.executable, "-m", "sendback.supervisor.web_server"]
    began = time.monotonic()
    server = subprocess.Popen(
        [*command, "sendback.web.serving:application"], env=env, start_new_session=True
    )
    try:
        while not _answers(port):
            assert time.monotonic() < began + 20, "the web process did not start"
            time.sleep(0.002)
        first = time.monotonic() - began
        rest = _megabytes(server.pid)
        if shutil.which("wrk"):
            load = ["wrk", "-t1", "-c64", "-d2s", f"http://127.0.0.1:{port}/click?{'A' * 150}"]
            subprocess.run(load, check=True, stdout=subprocess.DEVNULL)
        return first, rest, _megabytes(server.pid)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/click?x")
        return connection.getresponse().status == 404
    except OSError:
        return False
    finally:
        connection.close()


def _megabytes(parent: int) -> float:
    """The biggest child's resident memory."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    sizes = [
        int(line.split()[1])
        for pid in children
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS:")
    ]
    return max(sizes) / 1024


if __name__ == "__main__":
    main()
