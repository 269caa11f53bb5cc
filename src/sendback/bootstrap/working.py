"""What the worker process is built from."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sendback.bootstrap.agent_rules import AgentRules
from sendback.bootstrap.core import Core
from sendback.bootstrap.external import degraded, look_at
from sendback.bootstrap.processes import child_settings
from sendback.bootstrap.readings import HOUSE
from sendback.bootstrap.status import StatusWriter
from sendback.errors import NotFound
from sendback.model import Catalog, Destination

if TYPE_CHECKING:
    from sendback.agents import Observation, Verdict
    from sendback.delivery import Delivery, Following
    from sendback.eventlog import EventLog
    from sendback.finishing import Finishing
    from sendback.journal import JournalReader

log = logging.getLogger("sendback.worker")

Chore = tuple[str, float, Callable[[], object]]


@dataclass
class WorkerParts:
    """What `sendback.worker.Worker` is made of; `chores`: name, every so many seconds, what."""

    finishing: Finishing
    log: EventLog
    destinations: Callable[[], Sequence[Destination]]
    deliver_to: Callable[[Destination], Delivery]
    consumers: Sequence[Following]
    chores: Sequence[Chore]
    say: Callable[[str], None]
    close: Callable[[], None]


def build_worker() -> WorkerParts:
    """The parts of the worker process of this node."""
    core = Core(child_settings("worker"))
    look_at(core)
    return WorkerBuilder(core).build()


class WorkerBuilder:
    """Holds what the parts share while they are made, and the catalog as it changes."""

    def __init__(self, core: Core) -> None:
        from sendback.delivery import Room
        from sendback.eventlog import EventLog
        from sendback.finishing import Unparsed
        from sendback.journal import JournalReader, PressureGauge

        self._core, self._settings = core, core.settings
        self._log = EventLog(core.path / "events.sqlite")
        self._reader = JournalReader(core.path / "journal", log=say)
        self._unparsed = Unparsed(core.path / "unparsed")
        self._gauge = PressureGauge(core.path / "control" / "pressure")
        events = core.settings.events
        self._room = Room(
            self._log,
            max_bytes=events.max_bytes,
            keep_days=events.retention_days,
            disk_reserve_bytes=events.disk_reserve_bytes,
            say=say,
        )
        self._pressure = self._in_log = 0.0
        self._is_refusing = False
        self._file_catalog = self._settings.file_catalog
        self._catalog: Catalog = core.snapshot()
        self._version: int | None = None

    def build(self) -> WorkerParts:
        """Everything wired; nothing runs yet."""
        finishing = self._finishing(self._reader)
        consumers = self._consumers()
        status = StatusWriter(self._core.path / "control", "worker", self._sample).start()

        def close() -> None:
            status.close()
            self._log.close()

        return WorkerParts(
            finishing=finishing,
            log=self._log,
            destinations=lambda: self._catalog.destinations,
            deliver_to=self.deliver_to,
            consumers=consumers,
            chores=self._chores(),
            say=say,
            close=close,
        )

    # -- finishing ---------------------------------------------------------------------------

    def _finishing(self, reader: JournalReader) -> Finishing:
        from sendback.agents import classify
        from sendback.bounces import Counting, CountingRules
        from sendback.database.counts import BounceCounts
        from sendback.finishing import Finishing
        from sendback.finishing.history import History
        from sendback.finishing.returned import Returned
        from sendback.finishing.visits import Visits
        from sendback.reports import parse

        core, settings = self._core, self._settings
        metadata = core.metadata(writes=False, include_retired=True)
        rules = AgentRules(core.path / "control", say)

        def judge(seen: Observation) -> Verdict:
            return classify(seen, rules.current())

        # Not `upgraded_database`: the worker starts while the main database is down. Whether its
        # schema fits was asked when the node started.
        counts = BounceCounts(core.database, settings.server_id)
        counting = Counting(counts, CountingRules(core.path / "control" / "bounce-counting.toml"))
        self._counting = counting
        return Finishing(
            reader,
            self._log,
            Visits(
                metadata,
                judge,
                settings.server_id,
                History(),
            ),
            Returned(
                metadata,
                parse,
                counting.count,
                self._unparsed,
                settings.server_id,
                # Its own refusals in submission are reported under this node's name.
                lambda: settings.local_server_names | {settings.server_id.lower()},
            ),
            record=settings.events.record,
            verdict_hold_seconds=settings.events.verdict_hold_seconds,
            # a full journal must not stop the one who empties it
            must_wait=lambda: self._room.is_blocked,
            say=say,
        )

    # -- consumers and destinations ----------------------------------------------------------

    def _consumers(self) -> list[Following]:
        from sendback.database.statistics import Statistics
        from sendback.database.suppression import Suppression
        from sendback.delivery import Consumer, Following

        server_id = self._settings.server_id
        self._statistics = Statistics(self._core.database, server_id)
        consumers: tuple[Consumer, ...] = (
            self._statistics,
            Suppression(self._core.database, server_id),
            self._counting,
        )
        return [
            Following(name, self._log, consumer, say=say)
            for name, consumer in zip(HOUSE, consumers, strict=True)
        ]

    def deliver_to(self, destination: Destination) -> Delivery:
        """The delivery of one destination. Malformed or Misconfigured when it can't work."""
        return delivery_of(
            destination,
            self._log,
            self._core.path,
            is_from_file=destination in self._file_catalog.destinations,
        )

    # -- chores ------------------------------------------------------------------------------

    def _chores(self) -> list[Chore]:
        return [
            ("catalog", 1.0, self._follow_catalog),
            ("links", 2.0, self._copy_links),
            ("pressure", 1.0, self._measure),
            ("prune", 10.0, self._prune),
            ("tidy", 600.0, self._log.retention.tidy),
            ("unparsed", 600.0, self._unparsed.prune),
            ("counts", 3600.0, self._counting.prune),
            ("statistics", 3600.0, self._prune_statistics),
        ]

    def _follow_catalog(self) -> None:
        """Write the snapshot whenever the main database has a new version of the catalog."""
        from sendback.database.snapshot import write_snapshot

        store = self._core.catalog_store
        version = store.version()
        if version != self._version:
            self._catalog = store.load(self._file_catalog)
            write_snapshot(self._core.snapshot_path, self._catalog)
            self._version = version

    def _copy_links(self) -> None:
        """New links of local storage are listed in the statistics, clicked or not."""
        local = self._core.metadata(writes=False, include_retired=True).local
        if local is None:
            return
        with contextlib.suppress(NotFound):  # no message was tagged here yet
            source = local.store_id.hex()
            after = self._statistics.links_cursor(source)
            while rows := local.links_after(after):
                after = rows[-1].id
                keys = [(row.sendid, row.listid, row.url) for row in rows]
                self._statistics.copy_links(keys, source=source, up_to=after)

    def _measure(self) -> None:
        from sendback.delivery.room import EXPIRE_FROM
        from sendback.journal.pressure import journal_bytes

        self._in_log = self._room.fullness()
        if self._in_log >= EXPIRE_FROM:
            self._prune()
        in_journal = journal_bytes(self._core.path / "journal") / self._settings.journal.max_bytes
        self._pressure = max(self._in_log, in_journal)
        was_refusing, self._is_refusing = self._is_refusing, self._gauge.write(self._pressure)
        if self._is_refusing != was_refusing:
            state = "SMTP answers 452" if self._is_refusing else "SMTP takes mail again"
            say(f"WARNING journal or event log is {self._pressure:.0%} full: {state}")

    def _prune(self) -> None:
        windows = {d.name: d.max_retry_hours for d in self._catalog.destinations}
        self._in_log = self._room.prune(HOUSE, windows)

    def _prune_statistics(self) -> None:
        from sendback.database.pruning import prune_statistics

        before = time.time() - self._settings.events.statistics_days * 86_400
        prune_statistics(self._core.database, before=int(before))

    def _sample(self) -> dict[str, Any]:
        counters = {f"finishing_{k}": v for k, v in self._log.counters().items()}
        counters |= {f"journal_read_{k}": v for k, v in self._reader.counters().items()}
        stored = self._core.metadata(writes=False, include_retired=True).counters()
        counters |= {f"metadata_{k}": v for k, v in stored.items()}
        reasons = ["journal or event log is nearly full"] if self._is_refusing else []
        if self._room.is_blocked:
            reasons.append("event log and disk are full: no new event is finished")
        reasons += degraded(stored)
        return {"counters": counters, "degraded": reasons, "gauges": {"pressure": self._pressure}}


def delivery_of(
    destination: Destination, event_log: EventLog, data_dir: Path, *, is_from_file: bool
) -> Delivery:
    """The delivery of one destination. Malformed or Misconfigured when it can't work."""
    from sendback.delivery import Delivery, Filter
    from sendback.sinks import build_sink

    return Delivery(
        destination.name,
        event_log,
        build_sink(destination, data_dir=data_dir, is_from_file=is_from_file),
        Filter(
            types=destination.events, mail_classes=destination.mail_classes, bots=destination.bots
        ),
        max_batch=destination.max_batch_size,
        parallel=destination.parallel,
        window_hours=destination.max_retry_hours,
        say=say,
    )


def say(line: str) -> None:
    """One log line; its first word is its level."""
    level, _, rest = line.partition(" ")
    if level in ("ERROR", "WARNING"):
        log.log(getattr(logging, level), rest)
    else:
        log.info(line)
