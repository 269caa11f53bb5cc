"""What the process of the smtp port is built from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sendback.bootstrap.core import Core
from sendback.bootstrap.processes import child_settings, journal_of
from sendback.bootstrap.status import StatusWriter
from sendback.config import Settings
from sendback.config.load import parse_listen

if TYPE_CHECKING:
    from sendback.inbound import Inbound


def listen_address() -> tuple[str, int]:
    """The address that the supervisor claimed for this process."""
    return parse_listen(os.environ["SENDBACK_CHILD_LISTEN"])


@dataclass
class SmtpParts:
    """What the process of the smtp port serves with."""

    settings: Settings
    inbound: Inbound
    is_full: Callable[[], bool]
    counters: Callable[[Mapping[str, int]], None]
    """Hand over the server's live counters, for the status file."""
    close: Callable[[], None]


def build_smtp() -> SmtpParts:
    """The parts of a process that takes in bounces and complaints."""
    from sendback.inbound import Inbound
    from sendback.journal import Pressure

    settings = child_settings("smtp")
    core = Core(settings)
    journal = journal_of(core, "smtp")
    inbound = Inbound(
        core.metadata(writes=False),
        journal,
        core.snapshot,
        server_names=(settings.server_id,),
        max_bytes=settings.bouncemaxbytes,
    )
    handed: list[Mapping[str, int]] = [{}]

    def sample() -> dict[str, Any]:
        counters = {**handed[-1], **{f"journal_{k}": v for k, v in journal.counters().items()}}
        stored = core.metadata(writes=False).counters()
        counters |= {f"metadata_{k}": v for k, v in stored.items()}
        bad = ["the journal's disk is slow or full"] if journal.degraded else []
        if pressure.is_high:
            bad.append("answers 452: journal or event log is nearly full")
        return {
            "counters": counters,
            "degraded": bad,
            "gauges": {"pressure": pressure.current()},
        }

    pressure = Pressure(
        core.path / "control" / "pressure", core.path / "journal", settings.journal.max_bytes
    )
    status = StatusWriter(core.path / "control", "smtp", sample).start()

    def close() -> None:
        journal.close()
        status.close()

    return SmtpParts(
        settings=settings,
        inbound=inbound,
        is_full=lambda: pressure.is_high,
        counters=handed.append,
        close=close,
    )
