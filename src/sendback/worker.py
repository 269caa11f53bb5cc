"""The loop of the worker process: finishing, consumers, destinations, chores.

Each consumer and each destination has a thread of its own, so that a dead one delays no other.
SIGTERM-safe: `run` ends when `stop` is set; what was under way comes again at the next start, with
the same ids.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sendback.errors import SendbackError, Unavailable
from sendback.eventlog import Attempt, EventLog
from sendback.finishing import Finishing
from sendback.model import Destination

_IDLE_SECONDS = 0.05
_LOOK_AT_CATALOG_SECONDS = 1.0
_DRAIN_SECONDS = 5.0


class Stepping(Protocol):
    """A `Delivery` or a `Following`."""

    name: str

    def step(self) -> bool:
        """Do a piece of work; False when there was none."""

    def wait(self) -> float:
        """Seconds until there may be some although no event came."""

    def close(self) -> None:
        """Let go of everything."""


@dataclass(slots=True)
class Chore:
    """Something done now and then: pruning, the catalog snapshot, the pressure gauge."""

    name: str
    every_seconds: float
    act: Callable[[], object]
    due: float = field(default=0.0)


class News:
    """Tells waiting threads that the log has new events."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def tell(self) -> None:
        """Wake everybody who waits."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def count(self) -> int:
        """How often there was news."""
        return self._count

    def wait(self, seen: int, seconds: float) -> None:
        """Return when there was news since `seen`, or after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._count != seen, seconds)


class Worker:
    """All of the worker's parts; `run` blocks until `stop`."""

    def __init__(
        self,
        finishing: Finishing,
        log: EventLog,
        *,
        destinations: Callable[[], Sequence[Destination]] = tuple,
        deliver_to: Callable[[Destination], Stepping] | None = None,
        consumers: Sequence[Stepping] = (),
        chores: Sequence[Chore] = (),
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """`destinations`: those of the catalog now, asked for once a second; `deliver_to` makes
        the `Delivery` of one, and may raise Malformed or Misconfigured for what can't work.
        """
        self._finishing, self._log = finishing, log
        self._destinations, self._deliver_to = destinations, deliver_to
        self._consumers, self._chores, self._say = list(consumers), list(chores), say
        self._news = News()
        self._running: dict[str, _Running] = {}
        self._refused: dict[str, Destination] = {}

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; returns within some seconds of that."""
        for consumer in self._consumers:
            self._running[f"consumer {consumer.name}"] = _Running(consumer, self._news, self._say)
        chores = threading.Thread(target=self._run_chores, args=(stop,), name="chores", daemon=True)
        chores.start()
        try:
            self._finish_until(stop)
        finally:
            ends = time.monotonic() + _DRAIN_SECONDS
            chores.join(_DRAIN_SECONDS)
            for running in self._running.values():
                running.stop()
            self._news.tell()
            for running in self._running.values():
                running.join(max(0.0, ends - time.monotonic()))

    def _finish_until(self, stop: threading.Event) -> None:
        fault = ""
        while not stop.is_set():
            try:
                if self._finishing.step():
                    self._news.tell()
                    fault = ""
                else:
                    stop.wait(_IDLE_SECONDS)
            except Unavailable as error:
                if str(error) != fault:
                    self._say(f"ERROR finishing: {error}; trying again")
                fault = str(error)
                stop.wait(1.0)

    def _run_chores(self, stop: threading.Event) -> None:
        looked = float("-inf")
        while not stop.is_set():
            now = time.monotonic()
            if now - looked >= _LOOK_AT_CATALOG_SECONDS:
                looked = now
                self._guarded("destinations", self._follow_catalog)
            for chore in self._chores:
                if now >= chore.due:
                    chore.due = now + chore.every_seconds
                    self._guarded(chore.name, chore.act)
            stop.wait(0.2)

    def _guarded(self, name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - one chore's fault must not stop the others
            self._say(f"ERROR {name}: {type(error).__name__}: {error}")

    def _follow_catalog(self) -> None:
        """Start what was added, end what was removed, start anew what changed."""
        if self._deliver_to is None:
            return
        wanted = {destination.name: destination for destination in self._destinations()}
        for name, running in list(self._running.items()):
            if running.destination is not None and wanted.get(name) != running.destination:
                running.stop()
                self._news.tell()
                running.join(_DRAIN_SECONDS)
                del self._running[name]
        self._refused = {n: d for n, d in self._refused.items() if wanted.get(n) == d}
        for name, destination in wanted.items():
            if name in self._running or name in self._refused:
                continue
            try:
                step = self._deliver_to(destination)
            except Exception as error:  # noqa: BLE001 - a package's fault must not stop the others
                self._refused[name] = destination
                why = str(error) if isinstance(error, SendbackError) else repr(error)
                self._say(f"ERROR destination {name}: {why}")
                self._note_refused(name, why)
                continue
            self._running[name] = _Running(step, self._news, self._say, destination)

    def _note_refused(self, name: str, why: str) -> None:
        """Its events wait, and `events status` says since when: as if it had been tried."""
        now, seq = int(time.time() * 1000), self._log.cursor(name)
        attempt = Attempt(name, now, seq, seq, 0, "failed", None, 0, f"not usable: {why}"[:500])
        self._log.deliveries.note(name, attempts=[attempt], is_retry=True, failing=True)


class _Running:
    """A thread around one consumer or destination."""

    def __init__(
        self,
        work: Stepping,
        news: News,
        say: Callable[[str], None],
        destination: Destination | None = None,
    ) -> None:
        self.destination = destination
        self._work, self._news, self._say = work, news, say
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=work.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the step under way."""
        self._is_stopping = True

    def join(self, seconds: float) -> None:
        """Wait for the end that long."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                seen = self._news.count()
                if not self._step() and not self._is_stopping:
                    self._news.wait(seen, self._work.wait())
        finally:
            self._work.close()

    def _step(self) -> bool:
        try:
            return self._work.step()
        except Exception as error:  # noqa: BLE001 - its thread must not end; it tries again
            self._say(f"ERROR {self._work.name}: {type(error).__name__}: {error}")
            time.sleep(1.0)
            return False


def main() -> None:
    """The worker process that the supervisor starts: `python -m sendback.worker`."""
    from sendback.bootstrap.working import build_worker

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    parts = build_worker()
    try:
        Worker(
            parts.finishing,
            parts.log,
            destinations=parts.destinations,
            deliver_to=parts.deliver_to,
            consumers=parts.consumers,
            chores=[Chore(name, every, act) for name, every, act in parts.chores],
            say=parts.say,
        ).run(stop)
    finally:
        parts.close()


if __name__ == "__main__":
    main()
    # Pools wait for their threads at the end: a receiver or resolver that hangs would hold us up.
    # What is under way comes again, with the same ids.
    logging.shutdown()
    os._exit(0)
