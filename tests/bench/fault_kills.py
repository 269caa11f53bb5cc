"""`kill -9` under load, again and again: what was acknowledged against what is recovered.

`bare_rounds` kills a capture process (Journal and Recording, eight threads) and a worker
(Finishing, log) at the same moment: forked, so that a round takes a tenth of a second.
`web_rounds` kills a granian that serves the public side. Acknowledged is what came out of the
process: a number in a pipe, or a whole 302.
"""

import contextlib
import http.client
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.web_targets import KEYRING, issued
from sendback.agents import classify, load_rules
from sendback.eventlog import EventLog
from sendback.finishing import Finishing, Unparsed
from sendback.finishing.history import History
from sendback.finishing.returned import Returned
from sendback.finishing.visits import Visits
from sendback.journal import Journal, JournalReader, Level
from sendback.metadata import Metadata
from sendback.model import Catalog, VisitKind
from sendback.recording import Recording, Visitor
from sendback.reports import parse
from sendback.secret_constants import Purpose

HERE = Path(__file__).parent
THREADS = 8
_NUMBER = struct.Struct("<IHI")


class Tally(NamedTuple):
    """What came of some rounds."""

    rounds: int
    acknowledged: int
    recovered: int
    lost: int
    twice: int
    """Visits with more than one event, or events with one id."""


def bare_rounds(rounds: int, seed: int = 1) -> Tally:
    """Kill capture and worker together, at a moment of chance, so many times."""
    chance = random.Random(seed)
    acknowledged: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="bench-kill-") as name:
        folder = Path(name)
        for number in range(rounds):
            level = Level.DISK if number % 2 else Level.OS
            acknowledged |= _one_round(folder, number, level, chance.uniform(0.0, 0.15))
        return _tally(rounds, acknowledged, _recovered(folder))


def _one_round(folder: Path, number: int, level: Level, seconds: float) -> set[str]:
    pipe, theirs = os.pipe()
    children = [
        _forked(lambda: _capture(folder, number, level, theirs)),
        _forked(lambda: _work(folder, theirs)),
    ]
    os.close(theirs)
    got = bytearray(os.read(pipe, 65536))  # the first answer: it is up
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0]:
            got += os.read(pipe, 65536)
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    while more := os.read(pipe, 65536):
        got += more
    os.close(pipe)
    whole = len(got) - len(got) % _NUMBER.size
    return {"{}.{}.{}".format(*found) for found in _NUMBER.iter_unpack(got[:whole])}


def _forked(run) -> int:
    """A child without threads of its parent's: nothing here has started one."""
    child = os.fork()
    if child:
        return child
    try:
        run()
    finally:
        os._exit(1)


def _capture(folder: Path, number: int, level: Level, pipe: int) -> None:
    journal = Journal(folder / "journal", "web")
    catalog = Catalog()
    recording = Recording(
        Metadata(KEYRING), journal, dict.fromkeys(VisitKind, level), lambda: catalog
    )
    token = issued().link_tokens[0][1].encode()

    def click(thread: int) -> None:
        for n in range(1 << 30):
            visitor = Visitor("203.0.113.9", f"{number}.{thread}.{n}")
            recording.click(Purpose.CLICK, token, visitor)
            os.write(pipe, _NUMBER.pack(number, thread, n))
            time.sleep(0.001)

    for thread in range(1, THREADS):
        threading.Thread(target=click, args=(thread,), daemon=True).start()
    click(0)


def _work(folder: Path, pipe: int) -> None:
    os.close(pipe)
    finishing, _log = finishing_of(folder)
    while True:
        if not finishing.step():
            time.sleep(0.005)


def finishing_of(folder: Path) -> tuple[Finishing, EventLog]:
    """Finishing and the log of `folder`, as the worker has them."""
    metadata, rules = Metadata(KEYRING), load_rules()
    log = EventLog(folder / "events.sqlite")
    finishing = Finishing(
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
    return finishing, log


class _Recovered(msgspec.Struct):
    event_unique_id: str
    user_agent: str


def _recovered(folder: Path) -> list[_Recovered]:
    finishing, log = finishing_of(folder)
    while finishing.step():
        pass
    found, after = [], 0
    decode = msgspec.json.Decoder(_Recovered).decode
    while page := log.read(after, 10_000):
        after = page[-1].seq
        found += [decode(event.body) for event in page]
    log.close()
    return found


def _tally(rounds: int, acknowledged: set[str], recovered: list[_Recovered]) -> Tally:
    visits = Counter(event.user_agent for event in recovered)
    ids = {event.event_unique_id for event in recovered}
    return Tally(
        rounds,
        len(acknowledged),
        len(recovered),
        len(acknowledged - visits.keys()),
        max(len(recovered) - len(visits), len(recovered) - len(ids)),
    )


# -- a real web process ------------------------------------------------------------------------


def web_rounds(rounds: int, seed: int = 2) -> Tally:
    """Kill granian and its worker under the load of four browsers, so many times."""
    chance = random.Random(seed)
    acknowledged: set[str] = set()
    path = f"/click?{issued().link_tokens[0][1]}"
    with tempfile.TemporaryDirectory(prefix="bench-kill-") as name:
        folder = Path(name)
        (folder / "journal").mkdir()
        for number in range(rounds):
            port = free_port()
            process = granian(folder, port, "disk" if number % 2 else "os")
            stop = threading.Event()
            answered: list[set[str]] = [set() for _ in range(4)]
            browsers = [
                threading.Thread(target=_browse, args=(port, path, f"{number}.{n}", stop, found))
                for n, found in enumerate(answered)
            ]
            for browser in browsers:
                browser.start()
            deadline = time.monotonic() + 30
            while not any(answered) and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(chance.uniform(0.0, 0.3))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            stop.set()
            for browser in browsers:
                browser.join()
            acknowledged.update(*answered)
        return _tally(rounds, acknowledged, _recovered(folder))


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def granian(folder: Path, port: int, level: str, slow_sync_ms: int = 0) -> subprocess.Popen[bytes]:
    """The public side under granian, its journal in `folder`."""
    module = "web_targets:app_public_side"
    return subprocess.Popen(
        [sys.executable, "-m", "sendback.supervisor.web_server", module],
        cwd=HERE,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}",
            "BENCH_LEVEL": level,
            "BENCH_JOURNAL": str(folder / "journal"),
            "BENCH_SLOW_SYNC_MS": str(slow_sync_ms),
            "SENDBACK_CHILD_LISTEN": f"127.0.0.1:{port}",
        },
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )


def _browse(port: int, path: str, name: str, stop: threading.Event, found: set[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    n = 0
    while not stop.is_set():
        agent = f"{name}.{n}"
        try:
            connection.request("GET", path, headers={"User-Agent": agent})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()  # not up yet, or gone
            time.sleep(0.01)
            n += 1  # it may have been recorded: the next try is another visit
            continue
        if answer.status == 302 and re.match("https://", answer.getheader("Location", "")):
            found.add(agent)
        n += 1
    with contextlib.suppress(OSError):
        connection.close()
