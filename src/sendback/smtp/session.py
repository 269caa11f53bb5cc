"""The commands of the listener: one transaction after another, each with its exact reply.

What an address or a message *means* is the `Handler`'s business. Sources: RFC 5321, 2920, 3207,
3461, 6531; enhanced codes by RFC 3463.
"""

import asyncio
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from sendback.smtp import replies, syntax
from sendback.smtp.arriving import Arriving
from sendback.smtp.envelope import Envelope
from sendback.smtp.wire import Wire

if TYPE_CHECKING:
    from sendback.smtp.server import Server

_EXTENSIONS = (b"8BITMIME", b"SMTPUTF8", b"DSN", b"ENHANCEDSTATUSCODES")
_EARLY = b"554 5.5.0 Data sent before it was asked for\r\n"
#: What HTTP clients say first: a browser must not be made to speak SMTP.
_NOT_SMTP = frozenset((b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"HOST:"))


class Handler(Protocol):
    """What the door behind the session does. Replies are whole lines, CR LF included."""

    def mail(self, session: "Session", address: str) -> bytes | None:
        """None takes the sender ("" is the null one); else the refusal."""

    def rcpt(self, session: "Session", address: str) -> object:
        """Bytes refuse the recipient; anything else is its note and takes it."""

    async def message(self, session: "Session", envelope: Envelope) -> bytes:
        """The answer after the final dot.

        Runs to its end even when the client is gone. What it raises becomes 451 or 452.
        """


class Session(Wire):
    """One connection; made for a `Server` and owned by it."""

    __slots__ = ("_envelope", "_errors", "_handler", "_junk", "greeted", "is_tls")

    def __init__(self, server: "Server", handler: Handler) -> None:
        super().__init__(server)
        self.greeted = b""
        """What the client called itself; empty until EHLO."""
        self.is_tls = False
        self._handler = handler
        self._envelope: Envelope | None = None
        self._errors = self._junk = 0

    def on_admitted(self) -> None:
        """Greet."""
        self.reply(b"220 " + self.server.hostname + b" ESMTP sendback\r\n")
        self.flush()

    def on_line(self, line: bytes) -> None:
        """Run one command."""
        verb, _, argument = line.partition(b" ")
        method = self._METHODS.get(verb.upper())
        if method is not None:
            method(self, argument)
        elif verb.upper() in _NOT_SMTP:
            self.close(replies.NOT_SMTP)
        else:
            self._error(replies.UNKNOWN)

    def on_bad_line(self, reply: bytes) -> None:
        """Refuse it, and count."""
        self._error(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the transaction."""
        self._envelope = None
        super().connection_lost(exc)

    def _error(self, reply: bytes) -> None:
        self._errors += 1
        self.reply(reply)
        if self._errors >= self.server.limits.max_errors:
            self.server.count("too_many_errors")
            self.close(replies.TOO_MANY_ERRORS)

    def _no_mail(self, reply: bytes) -> None:
        """Answer a command that brings no mail nearer; so many in a row end the session."""
        self._junk += 1
        self.reply(reply)
        if self._junk >= self.server.limits.max_junk_commands:
            self.server.count("too_many_junk_commands")
            self.close(replies.TOO_MUCH_JUNK)

    # -- greeting -----------------------------------------------------------------------------

    def _hello(self, argument: bytes, verb: bytes) -> bool:
        if not argument.strip():
            self._error(b"501 5.5.4 Syntax: " + verb + b" hostname\r\n")
            return False
        self._envelope = None
        self.greeted = argument.strip()
        return True

    def _ehlo(self, argument: bytes) -> None:
        if self._hello(argument, b"EHLO"):
            server = self.server
            size = b"SIZE %d" % server.limits.max_size
            lines = [server.hostname, b"PIPELINING", size, *_EXTENSIONS]
            if server.tls is not None and not self.is_tls:
                lines.append(b"STARTTLS")
            first = b"".join(b"250-%b\r\n" % line for line in lines[:-1])
            self._no_mail(first + b"250 %b\r\n" % lines[-1])

    def _helo(self, argument: bytes) -> None:
        if self._hello(argument, b"HELO"):
            self._no_mail(b"250 " + self.server.hostname + b"\r\n")

    def _lhlo(self, argument: bytes) -> None:  # noqa: ARG002
        self._error(replies.SAY_EHLO)

    def _auth(self, argument: bytes) -> None:  # noqa: ARG002
        self._error(replies.NO_AUTH)

    # -- the transaction ----------------------------------------------------------------------

    def _mail(self, argument: bytes) -> None:
        if not self.greeted:
            self._error(replies.HELLO_FIRST)
            return
        if self._envelope is not None:
            self._error(replies.NESTED)
            return
        try:
            envelope = Envelope.begun_by(argument, max_size=self.server.limits.max_size)
        except syntax.BadArgument as refusal:
            self._error(refusal.reply)
            return
        refused = self._handler.mail(self, envelope.mail_from)
        if refused is not None:
            self._error(refused)
        else:
            self._envelope = envelope
            self.reply(replies.SENDER_OK)

    def _rcpt(self, argument: bytes) -> None:
        envelope = self._envelope
        if envelope is None:
            self._error(replies.MAIL_FIRST)
            return
        if len(envelope.recipients) >= self.server.limits.max_recipients:
            self._error(replies.TOO_MANY_RECIPIENTS)
            return
        try:
            address = envelope.recipient(argument)
        except syntax.BadArgument as refusal:
            self._error(refusal.reply)
            return
        note = self._handler.rcpt(self, address)
        if isinstance(note, bytes):
            self._error(note)
        else:
            envelope.recipients.append(address)
            envelope.notes.append(note)
            self.reply(replies.RECIPIENT_OK)

    def _data(self, argument: bytes) -> None:
        if argument.strip():
            self._error(b"501 5.5.4 Syntax: DATA\r\n")
        elif self._envelope is None:
            self._error(replies.MAIL_FIRST)
        elif not self._envelope.recipients:
            self._error(replies.NO_RECIPIENTS)
        elif self._buffer:  # RFC 2920 section 3.1: DATA is the last of a group
            self.server.count("early_data")
            self.close(_EARLY)
        else:
            self.arriving = Arriving(self.server)
            self.reply(replies.GO_AHEAD)

    def on_message(self, message: bytes | None, size: int) -> None:
        """The final dot has come."""
        envelope = cast("Envelope", self._envelope)
        self._envelope = None
        if message is None or size > self.server.limits.max_size:
            self._error(replies.STORAGE_FULL if message is None else replies.TOO_BIG)
            return
        envelope.message, envelope.size = message, size
        self.is_busy = True
        self.server.spawn(self._commit(envelope))

    async def _commit(self, envelope: Envelope) -> None:
        try:
            reply = await self._handler.message(self, envelope)
        except Exception as error:  # noqa: BLE001  our fault must never be a permanent answer
            reply = self.server.answer_to(error)
        if reply.startswith(b"2"):
            self._errors = self._junk = 0
        self.reply(reply)
        self.go_on()

    def _bdat(self, argument: bytes) -> None:  # noqa: ARG002
        # Not offered, and its payload would be read as commands: there is no going on.
        self.close(replies.NO_BDAT)

    def _rset(self, argument: bytes) -> None:  # noqa: ARG002
        self._envelope = None
        self._no_mail(replies.OK)

    def _noop(self, argument: bytes) -> None:  # noqa: ARG002
        self._no_mail(replies.OK)

    def _vrfy(self, argument: bytes) -> None:  # noqa: ARG002
        self._no_mail(replies.VRFY)

    def _help(self, argument: bytes) -> None:  # noqa: ARG002
        self._no_mail(replies.HELP)

    def _expn(self, argument: bytes) -> None:  # noqa: ARG002
        self._error(replies.NO_EXPN)

    def _quit(self, argument: bytes) -> None:  # noqa: ARG002
        self.close(replies.BYE)

    # -- TLS ----------------------------------------------------------------------------------

    def _starttls(self, argument: bytes) -> None:
        if self.server.tls is None or self.is_tls:
            self._error(replies.NO_STARTTLS)
        elif argument.strip():
            self._error(b"501 5.5.4 Syntax: STARTTLS\r\n")
        elif self._buffer:  # a command injected before the handshake (CVE-2011-0411)
            self.server.count("early_data")
            self.close(_EARLY)
        else:
            self.is_busy = True
            self.reply(replies.TLS_READY)
            self.flush()
            self.pause()
            self.server.spawn(self._start_tls())

    async def _start_tls(self) -> None:
        plain, tls = self._transport, self.server.tls
        if plain is None or tls is None:
            return
        try:
            secured = await asyncio.get_running_loop().start_tls(
                plain, self, tls, server_side=True, ssl_handshake_timeout=30.0
            )
        except OSError:  # ssl.SSLError and a handshake that never ends are OSErrors
            secured = None
        if secured is None or self._transport is None:
            plain.abort()
            return
        self._transport = secured
        # RFC 3207 section 4.2: whatever was said before the handshake is forgotten.
        self._envelope, self.greeted = None, b""
        self.is_tls, self._is_paused = True, False
        self.go_on()

    _METHODS: ClassVar = {
        b"EHLO": _ehlo,
        b"LHLO": _lhlo,
        b"HELO": _helo,
        b"AUTH": _auth,
        b"MAIL": _mail,
        b"RCPT": _rcpt,
        b"DATA": _data,
        b"BDAT": _bdat,
        b"RSET": _rset,
        b"NOOP": _noop,
        b"VRFY": _vrfy,
        b"EXPN": _expn,
        b"HELP": _help,
        b"QUIT": _quit,
        b"STARTTLS": _starttls,
    }
