"""All connections of one process: caps, time limits, memory budget, TLS, draining.

One sweep a second over the sessions in place of a timer for each. Nothing here knows a command, nor
what mail is about: both doors bring their own protocol. Several processes share a port by
SO_REUSEPORT.
"""

import asyncio
import collections
import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from sendback.errors import Misconfigured, Unavailable
from sendback.smtp.arriving import Arriving
from sendback.smtp.limits import Limits
from sendback.smtp.replies import FAULT, SHUTTING_DOWN, STORAGE_FULL, TIMEOUT

log = logging.getLogger("sendback.smtp")
_Result = TypeVar("_Result")
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Connection(Protocol):
    """What the server must know of a session, whichever protocol class it is."""

    peer_ip: str
    counted_ip: str | None
    """Under what the per-address cap counts it; None until it is admitted."""
    arriving: Arriving | None
    """Set between DATA's 354 and the final dot."""
    is_busy: bool
    """A command that takes time runs; what comes meanwhile waits."""
    is_leaving: bool
    """The server drains: close after the answer that is due."""
    started: float
    last_read: float

    @property
    def is_closing(self) -> bool:
        """True once nothing further is read or answered."""

    def close(self, reply: bytes = b"") -> None:
        """Say goodbye and close; nothing further is read."""

    def abort(self) -> None:
        """End now."""


class Server:
    """Holds a process's sessions of one door. Use: `await Server(...).serve(sock, stop)`."""

    def __init__(
        self,
        session: Callable[["Server"], asyncio.BaseProtocol],
        *,
        hostname: str,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
        trusted_proxies: Iterable[str] = (),
        counters: collections.Counter[str] | None = None,
    ) -> None:
        """`session` makes the protocol of one connection, a `Connection`; `counters` to add to."""
        self.hostname = hostname.encode("ascii", "replace")
        self.limits = limits
        self.tls = tls
        self.buffered = 0
        """Octets of messages that are arriving."""
        self.counters = collections.Counter[str]() if counters is None else counters
        self._session = session
        self._proxies: list[_Network] = [
            ipaddress.ip_network(text, strict=False) for text in trusted_proxies
        ]
        self._sessions: set[Connection] = set()
        self._by_ip: collections.Counter[str] = collections.Counter()
        self._tasks: set[asyncio.Task[object]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def serve(self, sock: socket.socket, stop: asyncio.Event) -> None:
        """Answer on a bound socket until `stop` is set; then drain and return."""
        self._loop = loop = asyncio.get_running_loop()
        sock.setblocking(False)
        listener = await loop.create_server(lambda: self._session(self), sock=sock, backlog=1024)
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

    def spawn(self, work: Coroutine[object, object, _Result]) -> asyncio.Task[_Result]:
        """Run `work` to its end, whatever becomes of the connection that asked for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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
        return FAULT

    # -- who may come in ----------------------------------------------------------------------

    def enter(self, session: Connection) -> bytes | None:
        """Count a connection; the refusal when the process is full."""
        self._sessions.add(session)
        if len(self._sessions) > self.limits.max_connections:
            self.count("too_many_connections")
            return b"421 4.7.0 " + self.hostname + b" Too many connections, try again later\r\n"
        return None

    def admit(self, session: Connection) -> bytes | None:
        """Count it under the client's address; the refusal when that has too many."""
        self.count("connections")
        session.counted_ip = key = client_key(session.peer_ip)
        self._by_ip[key] += 1
        if self._by_ip[key] > self.limits.max_connections_per_ip:
            self.count("too_many_connections_per_ip")
            return b"421 4.7.0 " + self.hostname + b" Too many connections from your address\r\n"
        return None

    def leave(self, session: Connection) -> None:
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
                    session.close(TIMEOUT if session.counted_ip is not None else b"")

    def _is_overdue(self, session: Connection, now: float) -> bool:
        limits = self.limits
        if session.counted_ip is None:
            return now - session.started > limits.proxy_header_seconds
        if session.is_busy:
            return False  # it is we who are slow
        if now - session.last_read > limits.idle_seconds:
            return True
        if now - session.started > limits.session_seconds:
            return True
        arriving = session.arriving
        if arriving is None:
            return False
        elapsed = now - arriving.since
        return (
            elapsed > limits.data_grace_seconds and arriving.total < limits.min_data_rate * elapsed
        )

    async def _drain(self) -> None:
        """Let messages under way finish, tell the rest to come back, wait for the commits."""
        for session in tuple(self._sessions):
            session.is_leaving = True
            if not session.is_busy and session.arriving is None:
                session.close(SHUTTING_DOWN)
        deadline = self.now() + self.limits.drain_seconds
        while (self._tasks or self._sessions) and self.now() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)  # two sets to wait for, once in a life
        for session in tuple(self._sessions):
            session.close(SHUTTING_DOWN)
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


def client_key(ip: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 one."""
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


__all__ = ["Connection", "Limits", "Server", "bind", "client_key", "is_within", "tls_context"]
