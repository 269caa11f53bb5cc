"""All connections of one process: caps, time limits, memory budget, TLS, draining.

One sweep a second over the sessions in place of a timer for each. Nothing here knows what mail
is about; `Handler` does. Several processes share a port by SO_REUSEPORT.
"""

import asyncio
import collections
import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path

from sendback.errors import Misconfigured, Unavailable
from sendback.smtp.session import STORAGE_FULL, Handler, Session
from sendback.smtp.wire import Wire

log = logging.getLogger("sendback.smtp")
_FAULT = b"451 4.3.0 Temporary fault here, try again later\r\n"
_TIMEOUT = b"421 4.4.2 Timeout, closing connection\r\n"
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one process and one client may use. Times in seconds, sizes in octets."""

    max_size: int = 52_428_800
    """Of a message; the SIZE we announce."""
    keep_bytes: int = 52_428_800
    """Of a message's beginning that is kept; the rest is counted only."""
    max_buffered: int = 268_435_456
    """Over all messages that are arriving; beyond it 452."""
    max_connections: int = 1000
    max_connections_per_ip: int = 50
    """Per IPv4 address or IPv6 /64."""
    max_recipients: int = 1000
    max_errors: int = 20
    max_junk_commands: int = 100
    idle_seconds: float = 60.0
    session_seconds: float = 1200.0
    data_grace_seconds: float = 30.0
    min_data_rate: float = 500.0
    """Octets a second over the whole DATA phase, after the grace."""
    proxy_header_seconds: float = 5.0
    drain_seconds: float = 10.0


class Server:
    """Holds a process's sessions of one door. Use: `await Server(...).serve(sock, stop)`."""

    def __init__(
        self,
        handler: Handler,
        *,
        hostname: str,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
        trusted_proxies: Iterable[str] = (),
        has_login: bool = False,
        is_lmtp: bool = False,
    ) -> None:
        self.handler = handler
        self.hostname = hostname.encode("ascii", "replace")
        self.limits = limits
        self.tls = tls
        self.has_login = has_login
        self.is_lmtp = is_lmtp
        self.buffered = 0
        """Octets of messages that are arriving."""
        self.counters: collections.Counter[str] = collections.Counter()
        self._proxies: list[_Network] = [
            ipaddress.ip_network(text, strict=False) for text in trusted_proxies
        ]
        self._sessions: set[Wire] = set()
        self._by_ip: collections.Counter[str] = collections.Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sock: socket.socket, stop: asyncio.Event) -> None:
        """Answer on a bound socket until `stop` is set; then drain and return."""
        self._loop = loop = asyncio.get_running_loop()
        sock.setblocking(False)
        listener = await loop.create_server(lambda: Session(self), sock=sock, backlog=1024)
        sweeper = loop.create_task(self._sweep())
        try:
            await stop.wait()
        finally:
            sweeper.cancel()
            listener.close()
            await self._drain()

    def now(self) -> float:
        """The loop's clock."""
        return self._loop.time() if self._loop is not None else 0.0

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run `work` to its end, whatever becomes of the connection that asked for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def count(self, what: str) -> None:
        """One more of `what`, for /metrics."""
        self.counters[what] += 1

    def answer_to(self, error: Exception) -> bytes:
        """The reply to a fault of ours: always one to be retried, never a detail."""
        self.count("faults")
        if _is_disk_full(error):
            log.error("smtp.storage_full")
            return STORAGE_FULL
        log.error("smtp.fault", exc_info=error if not isinstance(error, Unavailable) else None)
        return _FAULT

    # -- who may come in ----------------------------------------------------------------------

    def enter(self, session: Wire) -> bytes | None:
        """Count a connection; the refusal when the process is full."""
        self._sessions.add(session)
        if len(self._sessions) > self.limits.max_connections:
            self.count("too_many_connections")
            return b"421 4.7.0 " + self.hostname + b" Too many connections, try again later\r\n"
        return None

    def admit(self, session: Wire) -> bytes | None:
        """Count it under the client's address; the refusal when that has too many."""
        self.count("connections")
        session.counted_ip = key = _client_key(session.peer_ip)
        self._by_ip[key] += 1
        if self._by_ip[key] > self.limits.max_connections_per_ip:
            self.count("too_many_connections_per_ip")
            return b"421 4.7.0 " + self.hostname + b" Too many connections from your address\r\n"
        return None

    def leave(self, session: Wire) -> None:
        """The connection is gone."""
        self._sessions.discard(session)
        key = session.counted_ip
        if key is not None:
            self._by_ip[key] -= 1
            if self._by_ip[key] <= 0:
                del self._by_ip[key]

    def expects_proxy_header(self, ip: str) -> bool:
        """True for the addresses that must send a PROXY header first."""
        return bool(self._proxies) and is_within(ip, self._proxies)

    def ehlo_reply(self, session: Session) -> bytes:
        """The greeting with what is offered now."""
        lines = [
            self.hostname,
            b"PIPELINING",
            b"SIZE %d" % self.limits.max_size,
            b"8BITMIME",
            b"SMTPUTF8",
            b"DSN",
            b"ENHANCEDSTATUSCODES",
        ]
        if self.tls is not None and not session.is_tls:
            lines.append(b"STARTTLS")
        if self.has_login and session.is_tls:
            lines.append(b"AUTH PLAIN LOGIN")
        return b"".join(b"250-%b\r\n" % line for line in lines[:-1]) + b"250 %b\r\n" % lines[-1]

    # -- time ---------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = self.now()
            for session in tuple(self._sessions):
                if session.is_closing:
                    # A client that doesn't read its goodbye would keep the connection for ever.
                    if now - session.last_read > self.limits.idle_seconds:
                        session.abort()
                elif self._is_overdue(session, now):
                    self.count("timeouts")
                    # Whoever owes a PROXY header is no SMTP client yet: nothing is said.
                    session.close(_TIMEOUT if session.counted_ip is not None else b"")

    def _is_overdue(self, session: Wire, now: float) -> bool:
        limits = self.limits
        if session.counted_ip is None:
            return now - session.started > limits.proxy_header_seconds
        if session.is_busy:
            return False  # it is we who are slow
        if now - session.last_read > limits.idle_seconds:
            return True
        if now - session.started > limits.session_seconds:
            return True
        if session.collecting_since is None:
            return False
        elapsed = now - session.collecting_since
        return (
            elapsed > limits.data_grace_seconds
            and session.received() < limits.min_data_rate * elapsed
        )

    async def _drain(self) -> None:
        """Let messages under way finish, tell the rest to come back, wait for the commits."""
        for session in tuple(self._sessions):
            session.is_leaving = True
            if not session.is_busy and session.collecting_since is None:
                session.close(b"421 4.3.2 Service shutting down\r\n")
        deadline = self.now() + self.limits.drain_seconds
        while (self._tasks or self._sessions) and self.now() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # two sets to wait for, once in a life
        for session in tuple(self._sessions):
            session.close(b"421 4.3.2 Service shutting down\r\n")
        await asyncio.sleep(0)
        for session in tuple(self._sessions):
            session.abort()
        if self._tasks:
            # Not answered yet, so the client keeps the message; a commit ends by itself.
            await asyncio.wait(self._tasks, timeout=self.limits.drain_seconds)


def is_within(ip: str, networks: Iterable[_Network]) -> bool:
    """True when the address lies in one of the networks; IPv4-mapped counts as IPv4."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or better with this certificate; Misconfigured when it can't be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"tls_certificate {certificate} can't be loaded: {error}",
            hint="a PEM file with the chain, and tls_key with its private key",
        ) from None
    return context


def bind(host: str, port: int) -> socket.socket:
    """A listening socket that further processes may share (SO_REUSEPORT); OSError if taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _client_key(ip: str) -> str:
    if ":" not in ip:
        return ip
    try:
        address = ipaddress.IPv6Address(ip.partition("%")[0])
    except ValueError:
        return ip
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


__all__ = ["Limits", "Server", "bind", "is_within", "tls_context"]
