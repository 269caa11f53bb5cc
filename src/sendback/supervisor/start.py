"""From settings to a running node: directory, lock, addresses, keys, schema, supervisor."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sendback.bootstrap import Core, prepare_node
from sendback.bootstrap.api import first_invitation
from sendback.bootstrap.data_dir import DataDirLock, prepare
from sendback.bootstrap.logs import configure_logs
from sendback.config import Settings, load
from sendback.supervisor.addresses import Claim
from sendback.supervisor.node import Supervisor

log = logging.getLogger("sendback.supervisor")


def serve_node(
    settings: Settings,
    *,
    parts: Sequence[str],
    ready_file: Path | None = None,
    config: Path | None = None,
) -> int:
    """Run the node until it is told to stop; the exit code of `serve`.

    Raises Unavailable for an unusable data directory, a lock held by another node, a port in use,
    and Misconfigured for what the operator has to mend: all before a process is started.
    """
    configure_logs("supervisor")
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    prepare(settings.data_path)
    lock = DataDirLock(settings.data_path)
    claims = {
        part: Claim(part, getattr(settings, part).listen) for part in parts if part != "worker"
    }
    web_port = claims["web"].port if "web" in claims else 0
    prepare_node(settings, web_port=web_port)
    environment = {**os.environ, "SENDBACK_DATA_DIR": str(settings.data_path)}
    environment.pop("SENDBACK_DATA_DIR_FILE", None)
    environment["SENDBACK_CHILD_WEB_PORT"] = str(web_port)
    environment["SENDBACK_CHILD_PARTS"] = ",".join(parts)
    if "submission" in claims:
        environment["SENDBACK_CHILD_SUBMISSION"] = claims["submission"].reachable
    if config is not None:
        environment["SENDBACK_CONFIG"] = str(config.absolute())
    _greet(settings, claims)
    if "admin" in claims:
        _invite(settings, claims["admin"].reachable)
    flags = {"data_dir": str(settings.data_path)}
    supervisor = Supervisor(
        settings,
        parts=parts,
        claims=claims,
        environment=environment,
        reload=lambda: load(config, flags=flags),
        ready_file=ready_file,
    )
    try:
        return supervisor.run()
    finally:
        lock.release()


def _invite(settings: Settings, admin: str) -> None:
    """Print, until there is a user, the one-time link that makes the first administrator."""
    path = first_invitation(Core(settings))
    if path is None:
        return
    if sys.stderr.isatty():
        sys.stderr.write(f"\nThe first administrator begins here:\n  http://{admin}{path}\n\n")
    else:
        log.warning("the first administrator begins here", extra={"link": f"http://{admin}{path}"})


def _greet(settings: Settings, claims: dict[str, Claim]) -> None:
    """On a terminal, say where everything is and what to try next."""
    if not sys.stderr.isatty():
        return
    lines = ["", "sendback is starting:"]
    told = {
        "submission": "send your mail here (SMTP)",
        "web": "recipients come back here",
        "smtp": "bounces and complaints come in here",
        "admin": "status, metrics",
    }
    for part, text in told.items():
        if part in claims:
            scheme = "http://" if part in ("web", "admin") else ""
            lines.append(f"  {scheme + claims[part].reachable:<32} {text}")
    lines.append(f"  {settings.data_path}  data")
    if "submission" in claims:
        if not any(route.domain == "*" for route in settings.smtp_route):
            outbox = settings.data_path / "outbox" / "new"
            lines.append(f"  {outbox}  mail lands here: no smarthost is set")
        command = f"  python3 docs/examples/first_message.py {claims['submission'].reachable}"
        lines += ["", "try, in another terminal:", command, ""]
    print("\n".join(lines), file=sys.stderr, flush=True)  # noqa: T201 - for the person watching
