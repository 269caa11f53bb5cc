"""The smtp port: bounces, complaints and unsubscribe mails, for our own mailboxes only.

250 means on disk. What is refused for good is an address that is not ours; everything that is
our own trouble gets 451 or 452, so that the sender keeps the message.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from sendback.errors import NotFound, Unavailable
from sendback.inbound import Inbound
from sendback.smtp.envelope import Envelope
from sendback.smtp.limits import Limits
from sendback.smtp.replies import OK, STORAGE_FULL
from sendback.smtp.server import Server, tls_context
from sendback.smtp.session import Session

_UNKNOWN = b"550 5.1.1 No such mailbox here\r\n"
#: Dot-stuffing adds one octet a line at most; a little more than is kept of the message.
_STUFFING = 4096


class Listener:
    """The session's handler: asks `Inbound`, speaks SMTP."""

    def __init__(self, inbound: Inbound, *, is_full: Callable[[], bool]) -> None:
        """`is_full`: the back-pressure gauge of what waits to be finished; while true, 452."""
        self._inbound = inbound
        self._is_full = is_full

    def mail(self, session: Session, address: str) -> bytes | None:  # noqa: ARG002
        """Any sender, the null one above all; none while the journal is nearly full."""
        return STORAGE_FULL if self._is_full() else None

    def rcpt(self, session: Session, address: str) -> object:
        """The kind of mailbox, or 550: never a relay."""
        try:
            return self._inbound.recognise(address)
        except NotFound:
            session.server.count("unknown_mailbox")
            return _UNKNOWN

    async def message(self, session: Session, envelope: Envelope) -> bytes:
        """250 once the journal holds it for every recipient."""
        try:
            await self._inbound.take(
                mail_from=envelope.mail_from,
                recipients=list(zip(envelope.recipients, map(str, envelope.notes), strict=True)),
                raw=envelope.message,
                size=envelope.size,
                peer_ip=session.peer_ip,
            )
        except Unavailable:
            if self._inbound.is_full:
                session.server.count("storage_full")
                return STORAGE_FULL
            raise
        session.server.count("messages")
        return OK


async def serve_listener(
    inbound: Inbound,
    sock: socket.socket,
    stop: asyncio.Event,
    *,
    hostname: str,
    is_full: Callable[[], bool] = lambda: False,
    max_connections: int = 1000,
    max_connections_per_ip: int = 50,
    keep_bytes: int = 102_400,
    trusted_proxies: Sequence[str] = (),
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    on_server: Callable[[Server], None] = lambda _server: None,
) -> None:
    """Answer on a bound socket until `stop` is set, then drain.

    `trusted_proxies`: addresses that must send a PROXY header; empty when none is accepted.
    `on_server` gets the `Server`, whose `counters` are the figures for /metrics.
    """
    handler = Listener(inbound, is_full=is_full)
    server = Server(
        lambda server: Session(server, handler),
        hostname=hostname,
        limits=Limits(
            keep_bytes=keep_bytes + _STUFFING,
            # RFC 5321 section 4.5.3.1.8; each is a record of its own, so no more than that.
            max_recipients=100,
            max_connections=max_connections,
            max_connections_per_ip=max_connections_per_ip,
        ),
        tls=tls_context(tls_certificate, tls_key) if tls_certificate else None,
        trusted_proxies=trusted_proxies,
    )
    on_server(server)
    await server.serve(sock, stop)
