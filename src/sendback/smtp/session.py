"""The commands of SMTP and LMTP: one transaction after another, each with its exact reply.

What an address or a message *means* is the `Handler`'s business. Sources: RFC 5321, 2033, 2920,
3207, 3461, 4954, 6531; enhanced codes by RFC 3463.
"""

import asyncio
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from sendback.smtp import syntax
from sendback.smtp.sasl import Exchange
from sendback.smtp.wire import MAX_LINE, MAX_LOGIN_LINE, Wire

if TYPE_CHECKING:
    from sendback.smtp.server import Server

OK = b"250 2.0.0 Ok\r\n"
STORAGE_FULL = b"452 4.3.1 Insufficient system storage, try again later\r\n"
_BAD_SENDER = b"501 5.1.7 Bad sender address syntax\r\n"
_BAD_RECIPIENT = b"501 5.1.3 Bad recipient address syntax\r\n"
_EARLY = b"554 5.5.0 Data sent before it was asked for\r\n"
#: What HTTP clients say first: a browser must not be made to speak SMTP.
_NOT_SMTP = frozenset((b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"HOST:"))


class Envelope:
    """What one transaction holds; `notes` is the handler's, one entry a recipient."""

    __slots__ = ("is_8bit", "mail_from", "message", "notes", "recipients", "size", "utf8")

    def __init__(self, mail_from: str, *, is_8bit: bool, utf8: bool) -> None:
        self.mail_from = mail_from
        self.recipients: list[str] = []
        self.notes: list[object] = []
        self.is_8bit = is_8bit
        self.utf8 = utf8
        self.message = b""
        """Cut at the server's `keep_bytes`."""
        self.size = 0
        """Octets before the cut."""


class Handler(Protocol):
    """What the door behind the session does. Replies are whole lines, CR LF included."""

    def mail(self, session: "Session", address: str) -> bytes | None:
        """None takes the sender ("" is the null one); else the refusal."""

    def rcpt(self, session: "Session", address: str) -> object:
        """Bytes refuse the recipient; anything else is its note and takes it."""

    async def message(self, session: "Session", envelope: Envelope) -> bytes:
        """The answer after the final dot (LMTP: one a recipient, in order).

        Runs to its end even when the client is gone. What it raises becomes 451 or 452.
        """

    async def login(self, user: str, password: str) -> object | None:
        """An identity, or None for wrong credentials."""


class Session(Wire):
    """One connection; made by `Server` and owned by it."""

    __slots__ = (
        "_envelope",
        "_errors",
        "_exchange",
        "_junk",
        "_login_failures",
        "greeted",
        "identity",
        "is_tls",
    )

    def __init__(self, server: "Server") -> None:
        super().__init__(server)
        self.greeted = b""
        """What the client called itself; empty until EHLO."""
        self.identity: object | None = None
        """What `Handler.login` gave."""
        self.is_tls = False
        self._envelope: Envelope | None = None
        self._exchange: Exchange | None = None
        self._errors = self._junk = self._login_failures = 0

    def on_admitted(self) -> None:
        """Greet."""
        self.reply(b"220 " + self.server.hostname + b" ESMTP sendback\r\n")
        self.flush()

    def on_line(self, line: bytes) -> None:
        """Run one command."""
        if self._exchange is not None:
            self._continue_login(line)
            return
        verb, _, argument = line.partition(b" ")
        method = self._METHODS.get(verb.upper())
        if method is not None:
            method(self, argument)
        elif verb.upper() in _NOT_SMTP:
            self.close(b"500 5.5.1 This is SMTP, not HTTP\r\n")
        else:
            self._error(b"500 5.5.1 Unknown command\r\n")

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
            self.close(b"421 4.7.0 Too many errors, closing connection\r\n")

    def _no_mail(self, reply: bytes) -> None:
        """Answer a command that brings no mail nearer; so many in a row end the session."""
        self._junk += 1
        self.reply(reply)
        if self._junk >= self.server.limits.max_junk_commands:
            self.server.count("too_many_junk_commands")
            self.close(b"421 4.7.0 Too many commands without mail, closing connection\r\n")

    # -- greeting -----------------------------------------------------------------------------

    def _hello(self, argument: bytes, verb: bytes) -> bool:
        if self.server.is_lmtp != (verb == b"LHLO"):
            self._error(b"500 5.5.1 Say " + (b"LHLO" if self.server.is_lmtp else b"EHLO") + b"\r\n")
        elif not argument.strip():
            self._error(b"501 5.5.4 Syntax: " + verb + b" hostname\r\n")
        else:
            self._envelope = None
            self.greeted = argument.strip()
            return True
        return False

    def _ehlo(self, argument: bytes) -> None:
        if self._hello(argument, b"EHLO"):
            self._no_mail(self.server.ehlo_reply(self))

    def _lhlo(self, argument: bytes) -> None:
        if self._hello(argument, b"LHLO"):
            self._no_mail(self.server.ehlo_reply(self))

    def _helo(self, argument: bytes) -> None:
        if self._hello(argument, b"HELO"):
            self._no_mail(b"250 " + self.server.hostname + b"\r\n")

    # -- the transaction ----------------------------------------------------------------------

    def _mail(self, argument: bytes) -> None:
        if not self.greeted:
            self._error(b"503 5.5.1 Say hello first\r\n")
            return
        if self._envelope is not None:
            self._error(b"503 5.5.1 Nested MAIL command\r\n")
            return
        try:
            address, parameters = syntax.path_and_parameters(argument, b"FROM:", _BAD_SENDER)
            is_8bit, utf8 = syntax.check_mail_parameters(
                parameters, self.server.limits.max_size, auth=self.server.has_login
            )
        except syntax.BadArgument as refusal:
            self._error(refusal.reply)
            return
        # Senders are noted, not trusted: forwarders make local parts longer than 64 octets.
        if address and not syntax.is_mailbox(address, max_local_part=syntax.MAX_PATH):
            self._error(_BAD_SENDER)
        elif not (utf8 or address.isascii()):
            self._error(b"553 5.6.7 This address needs SMTPUTF8\r\n")
        elif (refusal_reply := self.server.handler.mail(self, address)) is not None:
            self._error(refusal_reply)
        else:
            self._envelope = Envelope(address, is_8bit=is_8bit, utf8=utf8)
            self.reply(b"250 2.1.0 Ok\r\n")

    def _rcpt(self, argument: bytes) -> None:
        envelope = self._envelope
        if envelope is None:
            self._error(b"503 5.5.1 MAIL first\r\n")
            return
        if len(envelope.recipients) >= self.server.limits.max_recipients:
            self._error(b"452 4.5.3 Too many recipients\r\n")
            return
        try:
            address, parameters = syntax.path_and_parameters(argument, b"TO:", _BAD_RECIPIENT)
            syntax.check_rcpt_parameters(parameters)
        except syntax.BadArgument as refusal:
            self._error(refusal.reply)
            return
        # RFC 5321 section 4.1.1.3: bare "postmaster" is the one path without a domain.
        if not syntax.is_mailbox(address) and address.lower() != "postmaster":
            self._error(_BAD_RECIPIENT)
        elif not (envelope.utf8 or address.isascii()):
            self._error(b"553 5.6.7 This address needs SMTPUTF8\r\n")
        elif isinstance(note := self.server.handler.rcpt(self, address), bytes):
            self._error(note)
        else:
            envelope.recipients.append(address)
            envelope.notes.append(note)
            self.reply(b"250 2.1.5 Ok\r\n")

    def _data(self, argument: bytes) -> None:
        if argument.strip():
            self._error(b"501 5.5.4 Syntax: DATA\r\n")
        elif self._envelope is None:
            self._error(b"503 5.5.1 MAIL first\r\n")
        elif not self._envelope.recipients:
            self._error(b"554 5.5.1 No valid recipients\r\n")
        elif self._buffer:  # RFC 2920 section 3.1: DATA is the last of a group
            self.server.count("early_data")
            self.close(_EARLY)
        else:
            self.start_collecting()
            self.reply(b"354 End data with <CR><LF>.<CR><LF>\r\n")

    def on_message(self, message: bytes | None, size: int) -> None:
        """The final dot has come."""
        envelope = cast("Envelope", self._envelope)
        self._envelope = None
        if message is None or size > self.server.limits.max_size:
            refusal = STORAGE_FULL if message is None else syntax.TOO_BIG
            self._error(refusal * (len(envelope.recipients) if self.server.is_lmtp else 1))
            return
        envelope.message, envelope.size = message, size
        self.is_busy = True
        self.server.spawn(self._commit(envelope))

    async def _commit(self, envelope: Envelope) -> None:
        try:
            reply = await self.server.handler.message(self, envelope)
        except Exception as error:  # noqa: BLE001  our fault must never be a permanent answer
            reply = self.server.answer_to(error)
            if self.server.is_lmtp:
                reply *= len(envelope.recipients)
        if reply.startswith(b"2"):
            self._errors = self._junk = 0
        self.reply(reply)
        self.go_on()

    def _bdat(self, argument: bytes) -> None:  # noqa: ARG002
        # Not offered, and its payload would be read as commands: there is no going on.
        self.close(b"502 5.5.1 BDAT is not offered here\r\n")

    def _rset(self, argument: bytes) -> None:  # noqa: ARG002
        self._envelope = None
        self._no_mail(OK)

    def _noop(self, argument: bytes) -> None:  # noqa: ARG002
        self._no_mail(OK)

    def _vrfy(self, argument: bytes) -> None:  # noqa: ARG002
        self._no_mail(b"252 2.1.5 Send some mail, then it will be seen\r\n")

    def _help(self, argument: bytes) -> None:  # noqa: ARG002
        self._no_mail(b"214 2.0.0 See RFC 5321\r\n")

    def _expn(self, argument: bytes) -> None:  # noqa: ARG002
        self._error(b"502 5.5.1 Not offered\r\n")

    def _quit(self, argument: bytes) -> None:  # noqa: ARG002
        self.close(b"221 2.0.0 Bye\r\n")

    # -- TLS and AUTH -------------------------------------------------------------------------

    def _starttls(self, argument: bytes) -> None:
        if self.server.tls is None or self.is_tls:
            self._error(b"502 5.5.1 STARTTLS is not offered\r\n")
        elif argument.strip():
            self._error(b"501 5.5.4 Syntax: STARTTLS\r\n")
        elif self._buffer:  # a command injected before the handshake (CVE-2011-0411)
            self.server.count("early_data")
            self.close(_EARLY)
        else:
            self.is_busy = True
            self.reply(b"220 2.0.0 Ready to start TLS\r\n")
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
        self._envelope, self.identity, self.greeted = None, None, b""
        self.is_tls, self._is_paused = True, False
        self.go_on()

    def _auth(self, argument: bytes) -> None:
        if not self.server.has_login:
            self._error(b"502 5.5.1 AUTH is not offered\r\n")
        elif not self.is_tls:
            self._error(b"538 5.7.11 Encryption required: STARTTLS first\r\n")
        elif self.identity is not None or self._envelope is not None or not self.greeted:
            self._error(b"503 5.5.1 AUTH comes once, after EHLO and before MAIL\r\n")
        else:
            mechanism, _, initial = argument.partition(b" ")
            if mechanism.upper() not in (b"PLAIN", b"LOGIN"):
                self._error(b"504 5.5.4 Use PLAIN or LOGIN\r\n")
                return
            self._exchange = Exchange(mechanism.upper())
            self._max_line = MAX_LOGIN_LINE
            self._continue_login(initial.strip() or None)

    def _continue_login(self, line: bytes | None) -> None:
        exchange = cast("Exchange", self._exchange)
        try:
            step = exchange.step(line)
        except ValueError:
            step = None
        if isinstance(step, bytes):
            self.reply(step)
            return
        self._exchange, self._max_line = None, MAX_LINE
        if line == b"*":
            self._error(b"501 5.7.0 Authentication cancelled\r\n")
        elif step is None:
            self._error(b"501 5.5.2 Not valid base64\r\n")
        else:
            self.is_busy = True
            self.server.spawn(self._login(*step))

    async def _login(self, user: str, password: str) -> None:
        self.identity = await self.server.handler.login(user, password)
        if self.identity is not None:
            self.reply(b"235 2.7.0 Authentication successful\r\n")
        else:
            self._login_failures += 1
            self.server.count("login_failed")
            self._error(b"535 5.7.8 Authentication credentials invalid\r\n")
            if self._login_failures >= 3:
                self.close(b"421 4.7.0 Too many failed logins, closing connection\r\n")
        self.go_on()

    _METHODS: ClassVar = {
        b"EHLO": _ehlo,
        b"LHLO": _lhlo,
        b"HELO": _helo,
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
        b"AUTH": _auth,
    }
