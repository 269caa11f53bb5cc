"""aiosmtpd, hardened: one connection of a `Server`, whatever it is for.

The library reads commands, upgrades to TLS and runs the AUTH exchange. What it lacks stands here:
bodies in bounded memory with lines of any length, an answer to our own faults that is never
permanent, limits on junk, our replies in place of its own. `SubmissionSession` adds the commands.
"""

import asyncio
import collections
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, TLSSetupException
from aiosmtpd.smtp import Session as LibrarySession

from sendback.smtp import replies
from sendback.smtp.arriving import Arriving, Endless
from sendback.smtp.server import Server

MAX_LINE = 2048
#: A command line while AUTH goes on (RFC 4954 section 4).
MAX_LOGIN_LINE = 12288
_CHUNK = 65536
_OFFERED = ["250-PIPELINING", "250-DSN", "250 ENHANCEDSTATUSCODES"]
#: What the library says, by its beginning, and what we say instead; the last that fits.
INSTEAD = {
    "220 Ready": replies.TLS_READY,
    "221 Bye": replies.BYE,
    "250 OK": replies.OK,
    "500 Command line too long": b"500 5.5.2 Line too long\r\n",
    "500 Error: ": replies.UNKNOWN,
    '500 Error: command "LHLO"': replies.SAY_EHLO,
    '500 Error: command "EHLO"': b"500 5.5.1 Say LHLO\r\n",
    '500 Error: command "HELO"': b"500 5.5.1 Say LHLO\r\n",
    "501 5.5.2 Can't": b"501 5.5.2 Not valid base64\r\n",
    "501 5.7.0 Auth aborted": b"501 5.7.0 Authentication cancelled\r\n",
    "501 Not enough value": b"504 5.5.4 Use PLAIN or LOGIN\r\n",
    "501 Syntax: ": b"501 5.5.4 Syntax: ",  # what follows is kept
    "501 Too many values": b"501 5.5.2 Not valid base64\r\n",
    "502 5.5.1 Too many": replies.TOO_MANY_ERRORS,
    "503 Already authenticated": replies.AUTH_ONCE,
    "503 Error: send": replies.HELLO_FIRST,
    "504 5.5.4": b"504 5.5.4 Use PLAIN or LOGIN\r\n",
    "538 5.7.11": b"538 5.7.11 Encryption required: STARTTLS first\r\n",
}


class Hardened(SMTP):
    """A `Connection`; made for a `Server` and owned by it."""

    command_size_limit = MAX_LINE
    #: Of the stream, not of a body's lines: those are taken whatever their length.
    line_length_limit = _CHUNK
    AuthLoginUsernameChallenge = "Username:"
    AuthLoginPasswordChallenge = "Password:"

    def __init__(self, server: Server, *, has_login: bool) -> None:
        super().__init__(
            _Extensions(has_login=has_login),
            data_size_limit=server.limits.max_size,
            enable_SMTPUTF8=True,
            hostname=server.hostname.decode(),
            ident="ESMTP sendback",
            tls_context=server.tls,
            # The server's sweep watches the time, and says so when it is up.
            timeout=server.limits.session_seconds + 60,
            authenticator=_unjudged,
            loop=asyncio.get_running_loop(),
        )
        # The library's is one table for all connections, and EHLO lets it grow.
        self.command_size_limits = collections.defaultdict(lambda: MAX_LINE, AUTH=MAX_LOGIN_LINE)
        self.peer_ip = ""
        self.counted_ip: str | None = None
        self.arriving: Arriving | None = None
        self.is_busy = self.is_leaving = False
        self.started = self.last_read = 0.0
        self.server = server
        self._errors = self._junk = 0

    # -- connection ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit and greet; called again when TLS is on."""
        if self.transport is not None:
            super().connection_made(transport)
            return
        server = self.server
        peer = transport.get_extra_info("peername")
        self.peer_ip = peer[0] if isinstance(peer, tuple) else ""
        self.started = self.last_read = server.now()
        refusal = server.enter(self) or server.admit(self)
        if refusal is None:
            super().connection_made(transport)
        elif isinstance(transport, asyncio.Transport):
            server.leave(self)
            transport.set_protocol(asyncio.Protocol())
            transport.write(refusal)
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Forget what has not arrived whole; what is being committed runs on."""
        if self.transport is not None:
            self.server.leave(self)
            super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Note the time, for the idle limit."""
        self.last_read = self.server.now()
        super().data_received(data)

    def eof_received(self) -> bool | None:
        """Stay half-open while an answer is due (`printf ... | nc`), not longer."""
        if self.is_busy and not self.is_tls:
            self._reader.feed_eof()
            return True
        return super().eof_received()

    @property
    def is_closing(self) -> bool:
        """True once nothing further is read or answered."""
        return self.transport is None or self.transport.is_closing()

    @property
    def is_tls(self) -> bool:
        """True once STARTTLS succeeded."""
        return self.session is not None and self.session.ssl is not None

    def close(self, reply: bytes = b"") -> None:
        """Say goodbye and close; nothing further is read, nor run of what was read already."""
        if not self.is_closing:
            self._writer.write(reply)
            self._writer.close()
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()

    def abort(self) -> None:
        """End now."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()

    # -- replies ------------------------------------------------------------------------------

    async def say(self, reply: bytes) -> None:
        """Answer, unless the goodbye has been said; waits for a client that does not read."""
        if not self.is_closing:
            self._writer.write(reply)
        await self._writer.drain()

    async def refuse(self, reply: bytes) -> None:
        """Answer to what the client did wrong; too many in a row end the session."""
        self._errors += 1
        await self.say(reply)
        if self._errors >= self.server.limits.max_errors:
            self.server.count("too_many_errors")
            self.close(replies.TOO_MANY_ERRORS)

    async def push(self, status: str | bytes) -> None:
        """Say what the library wants to say, in our words."""
        text = status if isinstance(status, str) else status.decode("utf-8", "replace")
        reply = f"{text}\r\n".encode()
        for words, ours in INSTEAD.items():
            if text.startswith(words):
                reply = ours if ours.endswith(b"\r\n") else ours + reply[len(words) :]
        if self.is_closing or text.startswith("250-"):  # all but the last line of EHLO's reply
            await self.say(reply)
        elif reply.startswith((b"4", b"5")):
            await self.refuse(reply)
        else:
            await self._say_without_mail(reply)

    async def _say_without_mail(self, reply: bytes) -> None:
        """Answer a command that brings no mail nearer; so many in a row end the session."""
        self._junk += 1
        await self.say(reply)
        if self._junk >= self.server.limits.max_junk_commands:
            self.server.count("too_many_junk_commands")
            self.close(replies.TOO_MUCH_JUNK)

    def forgive(self) -> None:
        """A message was taken: errors and junk count from zero."""
        self._errors = self._junk = 0

    async def handle_exception(self, error: Exception) -> str:
        """Never permanent, never with a detail; nothing for a client that is gone."""
        if isinstance(error, EOFError | TLSSetupException):
            self.close()
            return ""
        return self.server.answer_to(error).decode().rstrip()

    # -- what the library lacks, or does too readily ------------------------------------------

    async def read_message(self) -> tuple[bytes | None, int]:
        """What comes behind 354, None when memory ran out; its size, what was cut off included."""
        self.arriving = arriving = Arriving(self.server)
        try:
            while (rest := arriving.feed(await self._reader.read(_CHUNK))) is None:
                if self._reader.at_eof():
                    raise EOFError
            # A stream can't take octets back; the library empties its buffer the same way.
            self._reader._buffer[:0] = rest  # type: ignore[attr-defined]  # noqa: SLF001
            return arriving.take(), arriving.size
        except Endless:
            self.close(replies.TOO_BIG)
            raise asyncio.CancelledError from None
        finally:
            self.arriving = None
            arriving.drop()

    async def smtp_STARTTLS(self, arg: str | None) -> None:  # noqa: N802  the library's names
        """Once, and only with a certificate."""
        if self.server.tls is None or self.is_tls:
            await self.refuse(replies.NO_STARTTLS)
        else:
            await super().smtp_STARTTLS(arg or "")

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: N802, ARG002
        """Tells nothing."""
        await self._say_without_mail(replies.VRFY)

    async def smtp_HELP(self, arg: str | None) -> None:  # noqa: N802, ARG002
        """Names the standard."""
        await self._say_without_mail(replies.HELP)

    async def smtp_EXPN(self, arg: str | None) -> None:  # noqa: N802, ARG002
        """Refused."""
        await self.refuse(replies.NO_EXPN)

    async def smtp_BDAT(self, arg: str | None) -> None:  # noqa: N802, ARG002
        """Not offered; its payload would be read as commands, so there is no going on."""
        self.close(replies.NO_BDAT)

    async def smtp_POST(self, arg: str | None) -> None:  # noqa: N802, ARG002
        """A browser must not be made to speak SMTP."""
        self.close(replies.NOT_SMTP)

    smtp_GET = smtp_PUT = smtp_HEAD = smtp_OPTIONS = smtp_CONNECT = smtp_POST  # noqa: N815


class _Extensions:
    """The library's hook for EHLO: what else we offer, and no AUTH where nobody can log in."""

    def __init__(self, *, has_login: bool) -> None:
        self._has_login = has_login

    async def handle_EHLO(  # noqa: N802
        self,
        _server: object,
        session: LibrarySession,
        _envelope: object,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        """Called with the library's lines, whose last is HELP."""
        session.host_name = hostname
        lines = [line for line in responses[:-1] if self._has_login or "-AUTH " not in line]
        return [*lines, *_OFFERED]


def _unjudged(_server: Any, _session: Any, _envelope: Any, _how: str, data: Any) -> AuthResult:
    """The library can't wait for a judgement, and a password hash takes its time: not yet."""
    return AuthResult(success=False, handled=False, auth_data=data)
