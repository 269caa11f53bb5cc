"""What the submission process is built from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sendback.bootstrap.core import Core
from sendback.bootstrap.external import degraded
from sendback.bootstrap.processes import child_settings, journal_of
from sendback.bootstrap.status import StatusWriter
from sendback.config import Settings

if TYPE_CHECKING:
    from sendback.journal import Journal
    from sendback.relay import Relay
    from sendback.tagging import Tagging


@dataclass
class SubmissionParts:
    """What the process of the submission port serves with."""

    settings: Settings
    tagging: Tagging
    relay: Relay
    journal: Journal
    deferred: Path
    is_suppressed: Callable[[str, str], bool] | None
    counters: Callable[[Mapping[str, int]], None]
    """Hand over the server's live counters, for the status file."""
    close: Callable[[], None]


def build_submission() -> SubmissionParts:
    """The parts of the process that takes messages to be tagged and relayed."""
    from sendback.relay import Outbox, build_relay

    settings = child_settings("submission")
    core = Core(settings)
    journal = journal_of(core, "submission")
    tagging = core.tagging_by(core.snapshot)
    relay = build_relay(
        settings.smtp_route, hostname=settings.server_id, outbox=Outbox(core.path / "outbox")
    )
    handed: list[Mapping[str, int]] = [{}]

    def sample() -> dict[str, Any]:
        stored = core.metadata(writes=True).counters()
        counters = {f"metadata_{name}": value for name, value in stored.items()}
        counters |= {**handed[-1], **tagging.counters()}
        return {"counters": counters, "degraded": degraded(stored)}

    status = StatusWriter(core.path / "control", "submission", sample).start()

    def close() -> None:
        journal.close()
        core.metadata(writes=True).close()
        status.close()

    return SubmissionParts(
        settings=settings,
        tagging=tagging,
        relay=relay,
        journal=journal,
        deferred=core.path / "deferred",
        is_suppressed=_fail_open(core) if settings.submission.suppress == "refuse" else None,
        counters=handed.append,
        close=close,
    )


def _fail_open(core: Core) -> Callable[[str, str], bool]:
    """Suppression that lets mail out while the main database does not answer."""
    from sendback.errors import Unavailable

    log = logging.getLogger("sendback.smtp")

    def is_suppressed(email: str, listid: str) -> bool:
        try:
            return core.suppression.is_suppressed(email, listid)
        except Unavailable:
            log.warning("suppression can't be asked, mail goes out")
            return False

    return is_suppressed
