"""`python -m sendback.smtp smtp|submission`: one of the two SMTP processes of a node."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from sendback.bootstrap import mail, sending


def main() -> None:
    """Serve until SIGTERM; the address comes from the supervisor."""
    serve = _submission if sys.argv[1:] == ["submission"] else _listener
    asyncio.run(serve())


async def _listener() -> None:
    from sendback.smtp.listener import serve_listener
    from sendback.smtp.server import bind

    parts = mail.build_smtp()
    settings = parts.settings
    trusted = settings.smtp_trusted_proxy_ips
    try:
        await serve_listener(
            parts.inbound,
            bind(*mail.listen_address()),
            _stop_on_signals(),
            hostname=settings.server_id,
            is_full=parts.is_full,
            max_connections=settings.smtp.max_connections,
            max_connections_per_ip=settings.smtp.max_connections_per_ip,
            keep_bytes=settings.bouncemaxbytes,
            trusted_proxies=trusted if settings.incoming_smtp_accept_proxy_protocol else (),
            tls_certificate=_path(settings.smtp.tls_certificate),
            tls_key=_path(settings.smtp.tls_key),
            on_server=lambda server: parts.counters(server.counters),
        )
    finally:
        parts.close()


async def _submission() -> None:
    from sendback.smtp.server import bind
    from sendback.smtp.submission import Submission, serve_submission

    parts = sending.build_submission()
    settings = parts.settings.submission
    submission = Submission(
        parts.tagging,
        parts.relay,
        parts.journal,
        parts.deferred,
        hostname=parts.settings.server_id,
        allowed_networks=settings.allowed_networks,
        users=settings.users,
        user_mail_classes=settings.user_mail_classes,
        is_suppressed=parts.is_suppressed,
    )
    try:
        await serve_submission(
            submission,
            bind(*mail.listen_address()),
            _stop_on_signals(),
            hostname=parts.settings.server_id,
            protocol=settings.protocol,
            max_message_bytes=settings.max_message_bytes,
            tls_certificate=_path(settings.tls_certificate),
            tls_key=_path(settings.tls_key),
            on_server=lambda server: parts.counters(server.counters),
        )
    finally:
        parts.close()


def _stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _path(text: str) -> Path | None:
    return Path(text) if text else None


if __name__ == "__main__":
    main()
