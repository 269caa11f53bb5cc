"""What the worker process is built from: finishing, consumers, destinations, chores."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sendback.bootstrap.core import Core
from sendback.bootstrap.processes import child_settings
from sendback.bootstrap.status import StatusWriter
from sendback.delivery import Delivery, Filter, Following
from sendback.errors import Malformed, NotFound, Unavailable
from sendback.eventlog import EventLog
from sendback.finishing import Finishing, Unparsed
from sendback.model import Destination

if TYPE_CHECKING:
    from sendback.agents import Observation, Rules, Verdict
    from sendback.bounces import Counting

log = logging.getLogger("sendback.worker")

_DAY_MS = 86_400_000


@dataclass
class WorkerParts:
    """What `sendback.worker` runs."""

    finishing: Finishing
    event_log: EventLog
    destinations: Callable[[], tuple[Destination, ...]]
    deliver_to: Callable[[Destination], Delivery]
    consumers: list[Following]
    chores: list[tuple[str, float, Callable[[], object]]]
    """Name, seconds between two runs, what is done."""
    say: Callable[[str], None]
    close: Callable[[], None]


def build_worker() -> WorkerParts:
    """The parts of the one process that finishes, counts and delivers."""
    settings = child_settings("worker")
    core = Core(settings)
    event_log = core.event_log(readonly=False)
    counting = _counting(core)
    unparsed = Unparsed(core.path / "unparsed")
    chores = Chores(core, event_log, unparsed)
    finishing = _finishing(core, event_log, counting, unparsed, must_wait=chores.log_is_full)
    consumers = [
        Following("statistics", event_log, core.statistics, say=log.warning),
        Following("suppression", event_log, core.suppression, say=log.warning),
        Following("counting", event_log, counting, say=log.warning),
    ]

    def sample() -> dict[str, Any]:
        return {"counters": event_log.counters(), "degraded": chores.degraded()}

    status = StatusWriter(core.path / "control", "worker", sample).start()

    def close() -> None:
        event_log.close()
        status.close()

    return WorkerParts(
        finishing=finishing,
        event_log=event_log,
        destinations=lambda: core.snapshot().destinations,
        deliver_to=partial(delivery_of, core, event_log),
        consumers=consumers,
        chores=chores.all([consumer.name for consumer in consumers]),
        say=log.warning,
        close=close,
    )


def delivery_of(core: Core, event_log: EventLog, destination: Destination) -> Delivery:
    """The delivery to one destination; Malformed or Misconfigured for what can't work."""
    from sendback.sinks.build import build_sink

    from_file = {item.name for item in core.settings.file_catalog.destinations}
    sink = build_sink(destination, data_dir=core.path, is_from_file=destination.name in from_file)
    wanted = Filter(
        types=destination.events, mail_classes=destination.mail_classes, bots=destination.bots
    )
    return Delivery(
        destination.name,
        event_log,
        sink,
        wanted,
        max_batch=destination.max_batch_size,
        parallel=destination.parallel,
        window_hours=destination.max_retry_hours,
        say=log.warning,
    )


def _counting(core: Core) -> Counting:
    from sendback.bounces import Counting, CountingRules
    from sendback.database.counts import BounceCounts

    rules = CountingRules(core.path / "control" / "counting.toml")
    return Counting(BounceCounts(core.upgraded_database(), core.settings.server_id), rules)


def _finishing(
    core: Core,
    event_log: EventLog,
    counting: Counting,
    unparsed: Unparsed,
    *,
    must_wait: Callable[[], bool],
) -> Finishing:
    from sendback.finishing.history import History
    from sendback.finishing.returned import Returned
    from sendback.finishing.visits import Visits
    from sendback.journal import JournalReader
    from sendback.reports import parse

    settings = core.settings
    metadata = core.metadata(writes=False, include_retired=True)
    rules = OperatorRules(core.path / "control")
    return Finishing(
        JournalReader(core.path / "journal"),
        event_log,
        Visits(metadata, rules.classify, settings.server_id, History()),
        Returned(
            metadata,
            parse,
            counting.count,
            unparsed,
            settings.server_id,
            lambda: settings.local_server_names,
        ),
        record=settings.events.record,
        verdict_hold_seconds=settings.events.verdict_hold_seconds,
        must_wait=must_wait,
        say=log.warning,
    )


class OperatorRules:
    """Verdicts by our rules and the operator's `networks.toml` and `user_agents.toml`.

    The files stand in `control/` and are read again when they change; a broken one keeps the
    rules from before, with one log line.
    """

    def __init__(self, control: Path) -> None:
        from sendback.agents import load_rules

        self._paths = (control / "networks.toml", control / "user_agents.toml")
        self._rules: Rules = load_rules()
        self._seen: tuple[int, ...] = ()
        self.look()

    def look(self) -> None:
        """Read the files again if they changed."""
        from sendback.agents import load_rules

        seen = tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in self._paths)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            texts = [p.read_text(encoding="utf-8") if p.exists() else None for p in self._paths]
            self._rules = load_rules(*texts)
        except (OSError, UnicodeDecodeError, Malformed) as error:
            log.error("verdict rules not read, the old ones stay", extra={"reason": str(error)})  # noqa: TRY400 - the operator's mistake

    def classify(self, observation: Observation) -> Verdict:
        """The verdict on one visit."""
        from sendback.agents import classify

        return classify(observation, self._rules)


class Chores:
    """What the worker does now and then."""

    def __init__(self, core: Core, event_log: EventLog, unparsed: Unparsed) -> None:
        from sendback.journal import PressureGauge

        self._core, self._log, self._unparsed = core, event_log, unparsed
        self._gauge = PressureGauge(core.path / "control" / "pressure")
        self._version: int | None = None
        self._fill = 0.0
        self._database_is_down = False

    def all(self, consumers: list[str]) -> list[tuple[str, float, Callable[[], object]]]:
        """Each with its name and the seconds between two runs."""
        return [
            ("catalog snapshot", 1.0, self.write_snapshot),
            ("local links", 2.0, self.copy_links),
            ("pressure", 1.0, self.measure),
            ("retention", 10.0, lambda: self.prune(consumers)),
            ("unparsed mail", 600.0, self._unparsed.prune),
        ]

    def write_snapshot(self) -> None:
        """Hand the catalog to the other processes whenever the main database has a new one."""
        from sendback.database.snapshot import write_snapshot

        try:
            version = self._core.catalog_store.version()
            if version != self._version:
                write_snapshot(self._core.snapshot_path, self._core.catalog_store.load())
                self._version = version
        except Unavailable:
            self._database_is_down = True
        else:
            self._database_is_down = False

    def copy_links(self) -> None:
        """List the links of local storage, clicked or not, in the main database (seed 004)."""
        local = self._core.metadata(writes=False, include_retired=True).local
        assert local is not None
        try:
            source = local.store_id.hex()
            rows = local.links_after(self._core.statistics.links_cursor(source))
            if rows:
                keys = [(row.sendid, row.listid, row.url) for row in rows]
                self._core.statistics.copy_links(keys, source=source, up_to=rows[-1].id)
        except (NotFound, Unavailable):
            return  # no message was tagged here yet, or the database is down: next time

    def measure(self) -> None:
        """Say how full journal and log are; from 90 % on SMTP answers 452."""
        from sendback.journal.pressure import journal_bytes

        settings = self._core.settings
        journal = journal_bytes(self._core.path / "journal") / settings.journal.max_bytes
        before, self._fill = self._fill, self._log.retention.size() / settings.events.max_bytes
        self._gauge.write(max(journal, self._fill if self._fill > 1 else 0.0))
        if self._fill >= 1 > before:
            log.critical("the event log is full; mail waits", extra={"key": "events.max_bytes"})

    def log_is_full(self) -> bool:
        """True while finishing has to wait for destinations to take their events."""
        return self._fill >= 1.05

    def prune(self, consumers: list[str]) -> None:
        """Keep the log within its time and size."""
        settings = self._core.settings.events
        names = consumers + [item.name for item in self._core.snapshot().destinations]
        self._log.retention.prune(
            keep_ms=int(settings.retention_days * _DAY_MS),
            max_bytes=settings.max_bytes,
            consumers=names,
        )

    def degraded(self) -> list[str]:
        """What an operator should know."""
        found = ["the main database does not answer"] if self._database_is_down else []
        return found + (["the event log is full"] if self._fill >= 1 else [])
