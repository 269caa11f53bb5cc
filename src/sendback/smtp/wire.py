"""Bytes of one connection of the listener: lines, the message after DATA, replies, flow control.

The hardened floor: a command is a line that ends in CR LF and holds no control character, and a
client that doesn't read can't send. Knows no command: `Session` does.
"""

import asyncio
from typing import TYPE_CHECKING, cast

from sendback.smtp import proxy
from sendback.smtp.arriving import Arriving, Endless
from sendback.smtp.replies import ENDLESS_LINE, SHUTTING_DOWN, TOO_BIG

if TYPE_CHECKING:
    from sendback.smtp.server import Server

MAX_LINE = 2048
#: Octets of one over-long line, or of pipelined input behind a slow command, that we put up with.
MAX_SKIPPED = 65536
_CONTROLS = bytes([*range(32), 127])


class Wire(asyncio.Protocol):
    """One connection below the commands; `Server` owns it."""

    __slots__ = (
        "_buffer",
        "_has_ended",
        "_is_paused",
        "_out",
        "_skipped",
        "_transport",
        "arriving",
        "counted_ip",
        "is_busy",
        "is_leaving",
        "last_read",
        "peer_ip",
        "server",
        "started",
    )

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.peer_ip = ""
        self.counted_ip: str | None = None
        """Under what the per-address cap counts it; None until it is admitted."""
        self.arriving: Arriving | None = None
        """Set between DATA's 354 and the final dot."""
        self.is_busy = False
        """A command that takes time runs; what comes meanwhile waits."""
        self.is_leaving = False
        """The server drains: close after the answer that is due."""
        self.started = self.last_read = 0.0
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._buffer = b""
        self._skipped = -1
        """Octets thrown away of a line that is too long; -1 outside such a line."""
        self._is_paused = self._has_ended = False

    def on_admitted(self) -> None:
        """Greet."""
        raise NotImplementedError

    def on_line(self, line: bytes) -> None:
        """Take one line, without its CR LF and without control characters."""
        raise NotImplementedError

    def on_bad_line(self, reply: bytes) -> None:
        """Take note of a line that can't be a command."""
        raise NotImplementedError

    def on_message(self, message: bytes | None, size: int) -> None:
        """Take the message, or None when memory ran out; `size` counts what was cut off too."""
        raise NotImplementedError

    # -- connection ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit and greet, unless a PROXY header must come first."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self.peer_ip = peer[0] if isinstance(peer, tuple) else ""
        self.started = self.last_read = self.server.now()
        refusal = self.server.enter(self)
        if refusal is not None:
            self.close(refusal)
        elif self.server.expects_proxy_header(self.peer_ip):
            self.is_busy = True
        else:
            self._admit()

    def _admit(self) -> None:
        self.is_busy = False
        refusal = self.server.admit(self)
        if refusal is not None:
            self.close(refusal)
        else:
            self.on_admitted()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Forget an unfinished message; one that is being committed runs on."""
        self._transport = None
        self._buffer = b""
        if self.arriving is not None:
            self.arriving.drop()
            self.arriving = None
        self.server.leave(self)

    def eof_received(self) -> bool:
        """Stay half-open while an answer is due (`printf ... | nc`), not longer."""
        self._has_ended = True
        transport = self._transport
        return self.is_busy and transport is not None and not transport.get_extra_info("sslcontext")

    def pause_writing(self) -> None:
        """A client that does not read its replies may not send either."""
        self.pause()

    def resume_writing(self) -> None:
        """It reads again."""
        if not self.is_busy:
            self.resume()

    def pause(self) -> None:
        """Read nothing for now."""
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._is_paused and not self.is_closing:
            self._is_paused = False
            cast("asyncio.Transport", self._transport).resume_reading()

    @property
    def is_closing(self) -> bool:
        """True once nothing further is read or answered."""
        return self._transport is None or self._transport.is_closing()

    def reply(self, reply: bytes) -> None:
        """Answer; replies of one packet of commands leave together (RFC 2920)."""
        self._out.append(reply)

    def flush(self) -> None:
        """Send what `reply` gathered."""
        if self._out:
            data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
            self._out.clear()
            if not self.is_closing:
                cast("asyncio.Transport", self._transport).write(data)

    def close(self, reply: bytes = b"") -> None:
        """Say goodbye and close; nothing further is read."""
        self._buffer = b""
        if not self.is_closing:
            self._out.append(reply)
            self.flush()
            cast("asyncio.Transport", self._transport).close()

    def abort(self) -> None:
        """End now."""
        if self._transport is not None:
            self._transport.abort()

    def go_on(self) -> None:
        """After something that took time: answer, then read what came meanwhile."""
        self.is_busy = False
        if self.is_leaving:
            self.close(SHUTTING_DOWN)
            return
        self.resume()
        self._lines()
        self.flush()
        if self._has_ended and not self.is_busy:
            self.close()

    # -- input --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Commands or a message, as they come."""
        if self.is_closing:
            return
        self.last_read = self.server.now()
        if self.arriving is not None:
            self._collect(self.arriving, data)
        else:
            self._buffer = self._buffer + data if self._buffer else data
            if not self.is_busy:
                self._lines()
            elif self.counted_ip is None:
                self._read_proxy_header()
            elif len(self._buffer) > MAX_SKIPPED:
                self.pause()
        self.flush()

    def _read_proxy_header(self) -> None:
        try:
            header = proxy.parse(self._buffer)
        except proxy.BadHeader:
            self.server.count("proxy_refused")
            self.close()
            return
        if header is not None:
            length, address = header
            self._buffer = self._buffer[length:]
            self.peer_ip = address or self.peer_ip
            self._admit()
            self._lines()

    def _lines(self) -> None:
        """Every whole line of the buffer, until one needs time or a message begins."""
        while self._buffer and not self.is_busy and self.arriving is None:
            end = self._buffer.find(b"\n", 0, MAX_LINE)
            if end < 0:
                if len(self._buffer) < MAX_LINE or self._skip_long_line():
                    return
                continue
            line, self._buffer = self._buffer[: end + 1], self._buffer[end + 1 :]
            if self._skipped >= 0:
                self._skipped = -1
                self.on_bad_line(b"500 5.5.2 Line too long\r\n")
            elif line[-2:] != b"\r\n":
                self.on_bad_line(b"500 5.5.2 A line ends in CR LF\r\n")
            elif line.translate(None, _CONTROLS) != line[:-2]:
                self.on_bad_line(b"500 5.5.2 Control character in command\r\n")
                if line[:1] == b"\x16":  # a TLS hello on a port that speaks first
                    self.close()
            else:
                self.on_line(line[:-2])

    def _skip_long_line(self) -> bool:
        """Throw away what is there of a line too long to be a command; True: wait for more."""
        end = self._buffer.find(b"\n")
        dropped = len(self._buffer) if end < 0 else end
        self._skipped = max(self._skipped, 0) + dropped
        self._buffer = self._buffer[dropped:]
        if self._skipped > MAX_SKIPPED:
            self.close(ENDLESS_LINE)
            return True
        return end < 0

    def _collect(self, arriving: Arriving, data: bytes) -> None:
        try:
            rest = arriving.feed(data)
        except Endless:
            self.close(TOO_BIG)
            return
        if rest is not None:
            self.arriving = None
            self._buffer = rest
            self.on_message(arriving.take(), arriving.size)
            self._lines()
