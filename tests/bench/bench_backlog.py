"""A dead destination and what piles up behind it: cost, memory, and what is left of the file.

    .venv/bin/python tests/bench/bench_backlog.py [events]      # 100,000; 3,000,000 takes minutes

Clicks are journaled, finished and delivered to a healthy webhook while another one is down; then
that one comes back and takes all of it; then everything is pruned. Rates are events a second of
this process's CPU, of the first and the last tenth: they should not differ. The webhook's other end
is a process of its own.
"""

import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.bench_pipeline import AGENT, Swallower
from bench.fault_kills import finishing_of
from bench.web_targets import KEYRING, LINKS, MESSAGE
from sendback.delivery import Delivery, Filter
from sendback.journal import Journal, Level
from sendback.metadata import Metadata
from sendback.model import Storage, Visit, VisitKind, uuid7
from sendback.sinks import Guard, Outcome, Result
from sendback.sinks.formats import Batch
from sendback.sinks.webhook import WebhookSink

SLICE = 10_000


class _Down:
    """A sink that refuses the connection."""

    max_batch = 0

    def deliver(self, _batch: object) -> Outcome:
        """Nothing is taken."""
        return Outcome(Result.FAILED, None, "connection refused")

    def close(self) -> None:
        """Nothing is held."""


def main(count: int = 100_000) -> None:
    """Fill, drain, prune; one line for each."""
    with tempfile.TemporaryDirectory(prefix="bench-backlog-") as name:
        folder = Path(name)
        finishing, log = finishing_of(folder)
        dead = Delivery("dead", log, _Down(), Filter())
        healthy = Delivery("healthy", log, _webhook(), Filter())
        journal = Journal(folder / "journal", "web")
        made = _Rates()
        for at in range(0, count, SLICE):
            _capture(journal, at)
            with made:
                _all(finishing.step)
                _all(healthy.step)
                dead.step()
        journal.close()
        made.tell(f"{count:,} clicks finished and delivered, one destination dead")
        assert log.last_seq() - log.cursor("dead") == count
        assert log.cursor("healthy") == count
        size = _size(folder)

        dead.close()
        back = Delivery("dead", log, _webhook(), Filter())
        back._has_begun = True  # its outage is over: no need to sit out the last probe
        drained = _Rates()
        for _ in range(0, count, SLICE):
            goal = min(log.cursor("dead") + SLICE, count)
            with drained:
                while log.cursor("dead") < goal:
                    back.step()
        drained.tell("the backlog delivered")
        assert log.cursor("dead") == count

        began = time.process_time()
        while log.retention.prune(
            keep_ms=10**12, max_bytes=0, consumers=["dead", "healthy"], chunks=100
        ):
            pass
        spent = time.process_time() - began
        log.close()
        print(
            f"event log {size / 1e6:,.0f} MB with the backlog, {_size(folder) / 1e6:,.1f} MB after"
            f" pruning, which took {spent / count * 1e6:.1f} us of CPU an event"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB (goal 200)")


class _Rates:
    """CPU of each slice."""

    def __init__(self) -> None:
        self._cpu: list[float] = []
        self._wall = 0.0

    def __enter__(self) -> None:
        self._began = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._cpu.append(time.process_time() - self._began[0])
        self._wall += time.perf_counter() - self._began[1]

    def tell(self, what: str) -> None:
        """Print the rates of the first and last tenth."""
        tenth = max(1, len(self._cpu) // 10)
        middle = len(self._cpu) // 2
        first, half, last = (
            SLICE * len(part) / sum(part)
            for part in (
                self._cpu[:tenth],
                self._cpu[middle : middle + tenth],
                self._cpu[-tenth:],
            )
        )
        rate = SLICE * len(self._cpu) / sum(self._cpu)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        wall = SLICE * len(self._cpu) / self._wall
        print(
            f"{what}: {rate:,.0f}/s of CPU (first tenth {first:,.0f}, middle {half:,.0f},"
            f" last {last:,.0f}: x{last / first:.2f}),"
            f" {wall:,.0f}/s wall; peak memory so far {memory:.0f} MB",
            flush=True,
        )


_METADATA = Metadata(KEYRING)
_TOKENS = [
    _METADATA.issue(
        Storage.STATELESS, msgspec.structs.replace(MESSAGE, email=f"user{n}@example.org"), LINKS
    )
    .link_tokens[0][1]
    .encode()
    for n in range(50_000)
]


def _capture(journal: Journal, at: int) -> None:
    now = int(time.time() * 1000)
    encode = msgspec.msgpack.Encoder().encode
    for n in range(at, at + SLICE):
        ip = f"203.0.{n // 250 % 250}.{n % 250}"
        visit = Visit(uuid7(now), now, VisitKind.CLICK, _TOKENS[n % len(_TOKENS)], ip, AGENT)
        journal.append(encode(visit), level=Level.OS)


def _all(step) -> None:
    while step():
        pass


_CHILDREN: list[int] = []


def _webhook() -> WebhookSink:
    """A sink to a swallower in a process of its own."""
    pipe, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.write(theirs, Swallower().url.encode())
        signal.pause()
    _CHILDREN.append(child)
    url = os.read(pipe, 1000).decode()
    os.close(pipe)
    os.close(theirs)
    return WebhookSink(url, Batch(), Guard(allow_private_networks=True))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("events.sqlite*"))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    finally:
        for pid in _CHILDREN:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
