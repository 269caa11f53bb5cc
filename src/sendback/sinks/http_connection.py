"""One HTTP exchange with a deadline over all of it, through the guard.

Timeouts of sockets count each operation, so a watchdog shuts the connection down when the time is
over.
"""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from sendback.errors import SendbackError
from sendback.sinks.guard import Guard
from sendback.sinks.watchdog import watchdog

MAX_ANSWER = 64 * 1024


class Answer(NamedTuple):
    """What came back; the body is cut at 64 KB, and "" when it broke off."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswer(Exception):
    """No status came back: the text says why, for people."""


class _Guarded(HTTPConnection):
    guard: Guard
    wire: socket.socket | None = None
    """The socket below TLS, for the watchdog."""

    def _new_conn(self) -> socket.socket:
        timeout = self.timeout if isinstance(self.timeout, (int, float)) else 15.0
        made = self.guard.connect(self.host, self.port or self.default_port, timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.wire = made.dup()
        return made

    def shut_down(self) -> None:
        """End what is under way, from another thread."""
        wire = self.wire
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        if self.wire is not None:
            self.wire.close()
        self.wire = None


class _GuardedTls(_Guarded, HTTPSConnection):
    pass


class HttpConnection:
    """A kept connection to one URL. For one thread."""

    def __init__(
        self, url: str, guard: Guard, *, seconds: float = 15.0, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        self._is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._is_tls else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._guard, self._seconds, self._tls = guard, seconds, tls
        self._connection: _Guarded | None = None

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post, and read the answer. NoAnswer; redirects are answers like others."""
        is_kept = self._connection is not None
        ends = time.monotonic() + self._seconds
        try:
            return self._exchange(body, headers, ends)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            self.close()
            if not is_kept or time.monotonic() >= ends:
                raise NoAnswer(self._why(error, ends)) from None
        except _FAULTS as error:
            self.close()
            raise NoAnswer(self._why(error, ends)) from None
        # A kept connection that the receiver had closed meanwhile: once more on a new one.
        try:
            return self._exchange(body, headers, ends)
        except _FAULTS as error:
            self.close()
            raise NoAnswer(self._why(error, ends)) from None

    def _why(self, error: Exception, ends: float) -> str:
        if time.monotonic() >= ends - 0.05:
            return f"no answer within {self._seconds:g} s"
        return _text(error)

    def _exchange(self, body: bytes, headers: Mapping[str, str], ends: float) -> Answer:
        connection = self._connection or self._make()
        self._connection = connection
        connection.timeout = max(0.01, ends - time.monotonic())
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        with watchdog.watch(ends, connection.shut_down):
            if connection.sock is None:
                connection.connect()
            is_sent = False
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
                # It may have answered before it had read all, 413 for one, and reads no further.
                connection.request(
                    "POST", self._target, body=body, headers=headers, preload_content=False
                )
                is_sent = True
            response = connection.getresponse()
            try:
                data = response.read(MAX_ANSWER + 1, decode_content=False) or b""
            except _FAULTS:
                data = b""
                self.close()
        if not is_sent or len(data) > MAX_ANSWER or not response.isclosed():
            self.close()
        return Answer(response.status, response.headers, data[:MAX_ANSWER])

    def _make(self) -> _Guarded:
        connection: _Guarded
        if self._is_tls:
            context = self._tls or ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            connection = _GuardedTls(self._host, self._port, ssl_context=context)
        else:
            connection = _Guarded(self._host, self._port)
        connection.guard = self._guard
        return connection

    def close(self) -> None:
        """Hang up; the next post connects again."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = None


_FAULTS = (OSError, HTTPError, http.client.HTTPException, SendbackError, ValueError)


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
