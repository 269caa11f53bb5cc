"""CPU of the public side: microseconds a request over all processes of the server.

    .venv/bin/python tests/bench/bench_web.py [rounds] [seconds a run] [parts of names]

Each round runs every target once, one after the other, so that all see the same machine; the
figure is the median over the rounds, and what counts is its ratio to bare Flask on the same
server (facts/hotpath.md section 1: CPU repeats within 10-25 %, requests a second do not). KA:
kept-alive connections; NC: a new one for every request. Server and load have a core each. After
each run the journal is read back: every answered visit must be in it.

wrk asks as fast as it is answered, so its p99 is time spent in a queue. What a visitor feels
stands in the second table: `CALM_RATE` requests a second over up to 64 connections, each counted
from the time it was due. Then a web process of a node: what it weighs, how soon it answers.

pytracking is measured where it is found: `pip install --target SOMEWHERE --no-deps pytracking
django-ipware python-ipware`, and BENCH_PACKAGES=SOMEWHERE.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import bench_web_process
import pytracking_target
from web_targets import issued

from sendback.journal import JournalReader

HERE = Path(__file__).parent
CONNECTIONS = 64
CALM_RATE = 1_500
FORGED = "A" * 110
PACKAGES = os.environ.get("BENCH_PACKAGES", "")
sys.path.append(PACKAGES)
TICK = os.sysconf("SC_CLK_TCK")
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@dataclass
class Target:
    """One server with one path; `level` is the journal's, "" for none."""

    name: str
    server: str
    app: str = ""
    path: str = "/click"
    level: str = ""
    threads: int = 16
    slow_sync_ms: int = 0
    """Added to each fdatasync; the rate is what counts then."""
    goal: tuple[float, float] | None = None
    module: str = "web_targets"
    script: str = ""
    """Path of a wrk script that makes the requests."""
    is_calm: bool = False
    """Also asked at a fixed rate."""
    environment: dict[str, str] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=lambda: {"KA": [], "NC": []})
    rate: dict[str, list[float]] = field(default_factory=lambda: {"KA": [], "NC": []})
    p99: dict[str, list[float]] = field(default_factory=lambda: {"KA": [], "NC": []})
    calm: list[dict[str, float]] = field(default_factory=list)
    """p50, p99, max in ms at the fixed rate, one for each round."""


def targets() -> list[Target]:
    """What is measured; goals are ratios to bare Flask on granian (issue 5, hotpath.md 9)."""
    made = issued()
    click = f"/click?{made.link_tokens[0][1]}"
    opened = f"/open?{made.open_token}"
    page = f"/unsub?{made.link_tokens[1][1]}"
    app = "public_side"
    return [
        Target("nginx return 302", "nginx"),
        Target("bare WSGI, granian", "granian", "bare_wsgi"),
        Target("bare Flask, granian", "granian", "bare_flask", is_calm=True),
        Target("click, no journal", "granian", app, click),
        Target("click os", "granian", app, click, "os", goal=(0.20, 0.25), is_calm=True),
        Target("click disk", "granian", app, click, "disk", goal=(0.35, 0.42), is_calm=True),
        Target("click disk + 2 ms", "granian", app, click, "disk", slow_sync_ms=2, is_calm=True),
        Target("pixel os", "granian", app, opened, "os", goal=(0.20, 0.25), is_calm=True),
        Target("unsubscribe page", "granian", app, page, "os", goal=(0.42, 0.42)),
        Target("forged token", "granian", app, f"/click?{FORGED}", "os"),
        Target("click os, Flask views", "granian", "views", click, "os"),
        *_pytracking(),
        Target("bare Flask, gunicorn", "gunicorn", "bare_flask"),
        Target("click disk, gunicorn", "gunicorn", app, click, "disk"),
    ]


def _pytracking() -> list[Target]:
    """pytracking's Django view on both servers; nothing where it is not installed."""
    try:
        path = pytracking_target.path()
    except ImportError as missing:
        print(f"pytracking is left out: {missing}")
        return []
    module = "pytracking_target"
    return [
        Target(f"pytracking, {server}", server, "django", path, module=module)
        for server in ("granian", "gunicorn")
    ]


def main() -> None:
    """Print the table, then the goals that were missed."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    if not shutil.which("wrk"):
        sys.exit("bench_web needs wrk")
    only = sys.argv[3].split(",") if len(sys.argv) > 3 else []
    chosen = [
        t
        for t in targets()
        if (t.server != "nginx" or _nginx())
        and (not only or t.app == "bare_flask" or any(o in t.name for o in only))
    ]
    for _ in range(rounds):
        for target in chosen:
            for mode in ("KA", "NC"):
                measure(target, mode, seconds)
            if target.is_calm:
                measure_calm(target, seconds)
    report(chosen)
    report_calm(chosen)
    bench_web_process.main()


@contextlib.contextmanager
def _served(target: Target, scratch: str) -> Iterator[tuple[int, int]]:
    """(port, process group) of a server that answers."""
    port = _free_port()
    process = _serve(target, port, Path(scratch))
    try:
        _wait_until_ready(port, target.path)
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def measure_calm(target: Target, seconds: int) -> None:
    """One run at the fixed rate."""
    script = str(HERE / "fault_load.py")
    with (
        tempfile.TemporaryDirectory(prefix="bench-web-") as scratch,
        _served(target, scratch) as (port, _),
    ):
        command = [*_on_core(1), sys.executable, script, f"http://127.0.0.1:{port}{target.path}"]
        command += [str(CALM_RATE), str(seconds), str(CONNECTIONS)]
        target.calm.append(json.loads(subprocess.check_output(command)))


def measure(target: Target, mode: str, seconds: int) -> None:
    """One run of one target: CPU, rate and p99 noted, and the journal checked."""
    with tempfile.TemporaryDirectory(prefix="bench-web-") as scratch:
        with _served(target, scratch) as (port, group):
            before = _cpu_s(group)
            answered, p99 = _load(port, target, mode, seconds)
            spent = _cpu_s(group) - before
        target.cpu[mode].append(spent / answered * 1e6)
        target.rate[mode].append(answered / seconds)
        target.p99[mode].append(p99)
        if target.level and FORGED not in target.path and "unsub" not in target.path:
            recorded = _recorded(Path(scratch) / "journal")
            # what was on its way when wrk stopped is recorded and not counted by it
            assert answered < recorded <= answered + 1 + CONNECTIONS, (answered, recorded)


def report(chosen: list[Target]) -> None:
    """Microseconds of CPU and the ratio to bare Flask on granian, KA and NC."""
    flask = next(t for t in chosen if t.app == "bare_flask" and t.server == "granian")
    base = {mode: statistics.median(flask.cpu[mode]) for mode in ("KA", "NC")}
    print(f"{'':24}{'CPU us KA / NC':>18}{'x Flask':>16}{'goal':>14}{'requests/s':>18}{'p99':>12}")
    missed = []
    for target in chosen:
        cpu, rate, p99 = (
            [statistics.median(values[mode]) for mode in ("KA", "NC")]
            for values in (target.cpu, target.rate, target.p99)
        )
        ratio = [cpu[0] / base["KA"], cpu[1] / base["NC"]]
        goal = f"{target.goal[0]:.2f} / {target.goal[1]:.2f}" if target.goal else ""
        print(
            f"{target.name:24}{cpu[0]:9.1f} /{cpu[1]:7.1f}{ratio[0]:9.2f} /{ratio[1]:5.2f}"
            f"{goal:>14}{rate[0]:9.0f} /{rate[1]:7.0f}{p99[0]:6.1f} /{p99[1]:4.1f}"
        )
        if target.goal and (ratio[0] > target.goal[0] * 1.25 or ratio[1] > target.goal[1] * 1.25):
            missed.append(target.name)
    print("missed by more than 25 %:", ", ".join(missed) or "nothing")


def report_calm(chosen: list[Target]) -> None:
    """Latencies at the fixed rate: medians over the rounds, and the longest of all."""
    print(f"\n{f'at {CALM_RATE:,} requests/s, ms':24}{'p50':>9}{'p99':>9}{'longest':>9}")
    for target in chosen:
        if target.calm:
            p50, p99 = (statistics.median(one[at] for one in target.calm) for at in ("p50", "p99"))
            longest = max(one["max"] for one in target.calm)
            print(f"{target.name:24}{p50:9.2f}{p99:9.2f}{longest:9.1f}")


def _serve(target: Target, port: int, scratch: Path) -> subprocess.Popen[bytes]:
    if target.server == "nginx":
        command = _nginx_command(port, scratch)
    else:
        module = f"{target.module}:app_{target.app}"
        command = [sys.executable, "-m", "sendback.supervisor.web_server", module]
    # a small environment: granian copies it into every request
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{HERE}:{PACKAGES}".rstrip(":"),
        "BENCH_LEVEL": target.level,
        "BENCH_JOURNAL": str(scratch / "journal"),
        "BENCH_SLOW_SYNC_MS": str(target.slow_sync_ms),
        "SENDBACK_CHILD_LISTEN": f"127.0.0.1:{port}",
        "SENDBACK_CHILD_SERVER": target.server,
        "SENDBACK_CHILD_THREADS": str(target.threads),
        **target.environment,
    }
    (scratch / "journal").mkdir()
    command = [*_on_core(0), *command]
    return subprocess.Popen(command, cwd=HERE, env=env, start_new_session=True)


def _on_core(number: int) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[number % len(cores)])] if shutil.which("taskset") else []


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


def _nginx_command(port: int, scratch: Path) -> list[str]:
    (scratch / "nginx.conf").write_text(
        f"daemon off; pid {scratch}/pid; error_log stderr crit; worker_processes 1;\n"
        "events { worker_connections 1024; }\n"
        "http { access_log off; keepalive_requests 100000000;\n"
        f"  client_body_temp_path {scratch}/a; proxy_temp_path {scratch}/b;\n"
        f"  fastcgi_temp_path {scratch}/c; uwsgi_temp_path {scratch}/d;\n"
        f"  scgi_temp_path {scratch}/e;\n"
        f"  server {{ listen 127.0.0.1:{port}; return 302 https://shop.example.com/; }} }}\n"
    )
    return [_nginx() or "nginx", "-p", str(scratch), "-c", str(scratch / "nginx.conf")]


def _load(port: int, target: Target, mode: str, seconds: int) -> tuple[int, float]:
    command = [*_on_core(1), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    command += ["-H", f"User-Agent: {BROWSER}", "-H", "Host: links.example.com"]
    if mode == "NC":
        command += ["-H", "Connection: close"]
    if target.script:
        command += ["-s", target.script]
    command.append(f"http://127.0.0.1:{port}{target.path}")
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in", out)
    p99 = re.search(r"^\s+99%\s+([\d.]+)(us|ms|s)", out, re.MULTILINE)
    assert found, out
    assert p99, out
    assert ("Non-2xx or 3xx" in out) == (FORGED in target.path), out
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]]
    return int(found[1]), float(p99[1]) * scale


def _cpu_s(group: int) -> float:
    """CPU seconds of every process of a group, finished children included."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                total += sum(map(int, fields[11:15]))
    return total / TICK


def _recorded(journal: Path) -> int:
    reader, total = JournalReader(journal), 0
    while records := reader.read(limit=50_000):
        total += len(records)
    return total


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, path: str) -> None:
    class _Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_args: object) -> None:
            return None

    opener = urllib.request.build_opener(_Stay)
    deadline = time.monotonic() + 20
    while True:
        try:
            opener.open(f"http://127.0.0.1:{port}{path}", timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        else:
            return


if __name__ == "__main__":
    main()
