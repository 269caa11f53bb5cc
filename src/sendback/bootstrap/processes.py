"""What each process of a node is built from. Each builder imports only its own back-ends."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sendback.bootstrap.core import Core
from sendback.bootstrap.external import degraded
from sendback.bootstrap.lifeline import watch_lifeline
from sendback.bootstrap.logs import configure_logs
from sendback.bootstrap.readings import ConsumerReading, consumer_readings
from sendback.bootstrap.status import StatusWriter, read_statuses
from sendback.config import Settings, load
from sendback.errors import SendbackError, Unavailable
from sendback.model import Catalog, VisitKind

if TYPE_CHECKING:
    from sendback.journal import Journal
    from sendback.recording import Recording

log = logging.getLogger("sendback.bootstrap")


def child_settings(part: str) -> Settings:
    """The settings of a process that the supervisor started, its logs and its lifeline set up."""
    configure_logs(part)
    watch_lifeline()
    return load()


def prepare_node(settings: Settings, *, web_port: int) -> None:
    """Make or check what every process needs: keys, schema, the first catalog snapshot.

    Misconfigured for keys, schema or names that can't serve. A main database elsewhere that does
    not answer only delays: the last snapshot serves until the worker can write a new one.
    """
    from sendback.database.snapshot import write_snapshot

    core = Core(settings, web_port=web_port)
    core.keyring  # noqa: B018 - made now, so that two processes don't both make it
    core.metadata(writes=True).close()
    core.event_log(readonly=False).close()
    try:
        write_snapshot(core.snapshot_path, core.catalog_store.load())
    except Unavailable as error:
        log.warning("the main database does not answer", extra={"reason": str(error)})
    core.database.close()


def journal_of(core: Core, name: str) -> Journal:
    """The journal of this process; made after any fork."""
    from sendback.journal import Journal

    return Journal(core.path / "journal", name, log=logging.getLogger("sendback.journal").error)


@dataclass
class WebParts:
    """What `sendback.web.serving` builds its application from."""

    recording: Recording
    catalog: Callable[[], Catalog]
    trusted_proxies: Sequence[str]
    strict_hosts: bool
    strict_one_click: bool
    fast_path: bool
    log: Callable[[str], None]
    closing: list[Callable[[], None]] = field(default_factory=list)


def build_web() -> WebParts:
    """The parts of a web worker process."""
    from sendback.journal import Level
    from sendback.recording import Recording

    settings = child_settings("web")
    core = Core(settings)
    journal = journal_of(core, "web")
    levels = {
        VisitKind.CLICK: Level[settings.journal.click.upper()],
        VisitKind.OPEN: Level[settings.journal.open.upper()],
        VisitKind.UNSUB: Level[settings.journal.unsub.upper()],
    }
    metadata = core.metadata(writes=False)
    recording = Recording(metadata, journal, levels, core.snapshot)

    def sample() -> dict[str, Any]:
        stored = metadata.counters()
        slow = ["the journal's disk is slow or full"] if journal.degraded else []
        return {
            "counters": {
                **recording.counters(),
                **_named("journal", journal.counters()),
                **_named("metadata", stored),
            },
            "degraded": slow + degraded(stored),
        }

    StatusWriter(core.path / "control", "web", sample).start()
    return WebParts(
        recording=recording,
        catalog=core.snapshot,
        trusted_proxies=settings.http_trusted_proxy_ips,
        strict_hosts=settings.web.strict_hosts,
        strict_one_click=settings.web.strict_one_click,
        fast_path=settings.web.fast_path,
        log=logging.getLogger("sendback.web").error,
        closing=[journal.close, metadata.close],
    )


def _named(prefix: str, counters: dict[str, int]) -> dict[str, int]:
    return {f"{prefix}_{name}": value for name, value in counters.items()}


@dataclass
class AdminParts:
    """What `sendback.admin.serving` builds its application from."""

    core: Core
    statuses: Callable[[], list[dict[str, Any]]]
    expected: frozenset[str]
    backlogs: Callable[[], list[ConsumerReading]]
    last_seq: Callable[[], int]
    catalog: Callable[[], Catalog]
    facts: dict[str, str]


def build_admin() -> AdminParts:
    """The parts of the admin process."""
    from importlib.metadata import version

    settings = child_settings("admin")
    core = Core(settings)
    control = core.path / "control"
    StatusWriter(control, "admin", lambda: {"counters": {}, "degraded": []}).start()
    event_log = core.event_log()

    def backlogs() -> list[ConsumerReading]:
        """None while the log does not answer: the page and the metrics come without."""
        try:
            return consumer_readings(event_log, core.snapshot().destinations)
        except SendbackError:
            return []

    return AdminParts(
        core=core,
        statuses=lambda: read_statuses(control),
        expected=frozenset(os.environ.get("SENDBACK_CHILD_PARTS", "").split(",")) - {""},
        backlogs=backlogs,
        last_seq=event_log.last_seq,
        catalog=core.snapshot,
        facts={
            "Version": version("sendback"),
            "Server": settings.server_id,
            "Data directory": str(core.path),
            "Key fingerprint": core.keyring.fingerprint,
            "Default storage": settings.storage.value,
        },
    )
