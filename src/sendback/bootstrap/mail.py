"""What the two SMTP processes are built from."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from sendback.bootstrap.core import Core
from sendback.bootstrap.processes import child_settings
from sendback.bootstrap.status import StatusWriter
from sendback.config.load import parse_listen


def listen_address() -> tuple[str, int]:
    """The address that the supervisor claimed for this process."""
    return parse_listen(os.environ["SENDBACK_CHILD_LISTEN"])


async def until_stopped(serve: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Run `serve` with SIGTERM and SIGINT setting `stop`."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
    await serve


def run_listener() -> None:
    """Serve bounces and complaints until SIGTERM."""
    from sendback.inbound import Inbound
    from sendback.journal import Journal
    from sendback.smtp.listener import serve_listener
    from sendback.smtp.server import Server, bind

    settings = child_settings("smtp")
    core = Core(settings)
    journal = Journal(
        core.path / "journal", "smtp", log=logging.getLogger("sendback.journal").error
    )
    inbound = Inbound(
        core.metadata(writes=False),
        journal,
        core.snapshot,
        server_names=(settings.server_id,),
        max_bytes=settings.bouncemaxbytes,
    )
    servers: list[Server] = []

    def sample() -> dict[str, Any]:
        counters = dict(servers[0].counters) if servers else {}
        counters |= {f"journal_{k}": v for k, v in journal.counters().items()}
        return {
            "counters": counters,
            "degraded": ["the journal's disk is slow or full"] if journal.degraded else [],
        }

    pressure = Pressure(core.path / "control" / "pressure")
    status = StatusWriter(core.path / "control", "smtp", sample).start()

    async def main() -> None:
        stop = asyncio.Event()
        sock = bind(*listen_address())
        await until_stopped(
            serve_listener(
                inbound,
                sock,
                stop,
                hostname=settings.server_id,
                is_full=pressure.is_high,
                max_connections=settings.smtp.max_connections,
                max_connections_per_ip=settings.smtp.max_connections_per_ip,
                keep_bytes=settings.bouncemaxbytes,
                trusted_proxies=settings.smtp_trusted_proxy_ips
                if settings.incoming_smtp_accept_proxy_protocol
                else (),
                tls_certificate=_path(settings.smtp.tls_certificate),
                tls_key=_path(settings.smtp.tls_key),
                on_server=servers.append,
            ),
            stop,
        )

    try:
        asyncio.run(main())
    finally:
        journal.close()
        status.close()


class Pressure:
    """Whether the worker says that journal or log is nearly full: a file that stands or not."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def is_high(self) -> bool:
        """True while SMTP should answer 452; costs one stat."""
        return self._path.exists()


def _path(text: str) -> Path | None:
    return Path(text) if text else None
