"""The commands of the submission port that matter: MAIL, RCPT, DATA and AUTH, for SMTP and LMTP.

Each with its exact reply. Who may send and what becomes of a message, `Submitting` says.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import AuthResult

from sendback.smtp import replies, syntax
from sendback.smtp.envelope import Envelope
from sendback.smtp.hardened import Hardened
from sendback.smtp.logins import Logins
from sendback.smtp.server import Server, client_key

MAX_WRONG_PASSWORDS = 3


class Submitting(Protocol):
    """Who may send, and what becomes of a message."""

    logins: Logins

    def refusal(self, user: str | None, peer_ip: str) -> bytes | None:
        """The reply to MAIL for those who may not send; None for those who may."""

    async def message(self, envelope: Envelope, *, user: str | None, is_lmtp: bool) -> bytes:
        """The reply, or with LMTP one for each recipient, of a whole message.

        Runs to its end even when the client is gone. What it raises becomes 451 or 452.
        """


class SubmissionSession(Hardened):
    """One connection that speaks SMTP."""

    def __init__(self, server: Server, submission: Submitting) -> None:
        super().__init__(server, has_login=bool(submission.logins))
        self._submission = submission
        self._mail: Envelope | None = None
        self._wrong_passwords = 0

    @property
    def is_lmtp(self) -> bool:
        """True when each recipient gets an answer."""
        return isinstance(self, LMTP)

    # -- the transaction ----------------------------------------------------------------------

    def _set_post_data_state(self) -> None:
        """The library's word for: no transaction; at RSET, a greeting, STARTTLS."""
        super()._set_post_data_state()  # type: ignore[no-untyped-call]
        self._mail = None

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802  the library's names
        """Begin a transaction, for those who may send."""
        if await self.check_helo_needed():
            return
        if self._mail is not None:
            await self.refuse(replies.NESTED)
            return
        has_login = bool(self._submission.logins)
        try:
            mail = Envelope.begun_by(
                _octets(arg), max_size=self.server.limits.max_size, has_login=has_login
            )
        except syntax.BadArgument as refusal:
            await self.refuse(refusal.reply)
            return
        refused = self._submission.refusal(self._user, self.peer_ip)
        if refused is not None:
            await self.refuse(refused)
        else:
            self._mail = mail
            await self.say(replies.SENDER_OK)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """Anybody with an address; who that is, the server behind us knows better."""
        mail = self._mail
        if mail is None:
            await self.refuse(replies.MAIL_FIRST)
        elif len(mail.recipients) >= self.server.limits.max_recipients:
            await self.refuse(replies.TOO_MANY_RECIPIENTS)
        else:
            try:
                mail.recipients.append(mail.recipient(_octets(arg)))
            except syntax.BadArgument as refusal:
                await self.refuse(refusal.reply)
            else:
                await self.say(replies.RECIPIENT_OK)

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """The message, and what `Submission` answers; that is said even when the node drains."""
        mail = self._mail
        if arg:
            await self.refuse(b"501 5.5.4 Syntax: DATA\r\n")
        elif mail is None:
            await self.refuse(replies.MAIL_FIRST)
        elif not mail.recipients:
            await self.refuse(replies.NO_RECIPIENTS)
        else:
            await self.say(replies.GO_AHEAD)
            message, mail.size = await self.read_message()
            self._mail = None
            if message is None or mail.size > self.server.limits.max_size:
                refusal = replies.STORAGE_FULL if message is None else replies.TOO_BIG
                await self.refuse(refusal * (len(mail.recipients) if self.is_lmtp else 1))
            else:
                mail.message = message
                await self._commit(mail)
            if self.is_leaving:
                self.close(replies.SHUTTING_DOWN)

    async def _commit(self, mail: Envelope) -> None:
        self.is_busy = True
        work = self.server.spawn(self._answer(mail, self._user))
        try:
            reply = await asyncio.shield(work)  # a client that is gone cancels us, not the work
        finally:
            self.is_busy = False
        if reply.startswith(b"2"):
            self.forgive()
        await self.say(reply)

    async def _answer(self, mail: Envelope, user: str | None) -> bytes:
        try:
            return await self._submission.message(mail, user=user, is_lmtp=self.is_lmtp)
        except Exception as error:  # noqa: BLE001  our fault must never be a permanent answer
            reply = self.server.answer_to(error)
            return reply * len(mail.recipients) if self.is_lmtp else reply

    # -- AUTH ---------------------------------------------------------------------------------

    @property
    def _user(self) -> str | None:
        """Who has logged in on this connection."""
        session = self.session
        return session.auth_data if session is not None and session.authenticated else None

    async def smtp_AUTH(self, arg: str | None) -> None:  # noqa: N802
        """PLAIN and LOGIN, over TLS, before MAIL; who guesses is put off."""
        if not self._submission.logins:
            await self.refuse(replies.NO_AUTH)
        elif self._mail is not None:
            await self.refuse(replies.AUTH_ONCE)
        elif self._submission.logins.must_wait(client_key(self.peer_ip)):
            self.server.count("login_throttled")
            await self.refuse(b"454 4.7.0 Too many failed logins, try again later\r\n")
        else:
            mechanism, _, initial = (arg or "").partition(" ")
            await super().smtp_AUTH(f"{mechanism.upper()} {initial}".strip())
            if self._wrong_passwords >= MAX_WRONG_PASSWORDS:
                self.close(b"421 4.7.0 Too many failed logins, closing connection\r\n")

    async def auth_PLAIN(self, _: Any, args: list[str]) -> AuthResult:  # noqa: N802
        """The library's exchange, judged by us."""
        return await self._judged(super().auth_PLAIN(_, args))

    async def auth_LOGIN(self, _: Any, args: list[str]) -> AuthResult:  # noqa: N802
        """The library's exchange, judged by us."""
        return await self._judged(super().auth_LOGIN(_, args))

    async def _judged(self, exchange: Awaitable[AuthResult]) -> AuthResult:
        try:
            result = await exchange
        except ValueError:  # a line longer than the stream's limit
            self.close(replies.ENDLESS_LINE)
            return AuthResult(success=False)
        if result.auth_data is None:  # it went wrong, and that has been said
            return result
        name, password = result.auth_data
        client = client_key(self.peer_ip)
        user = await self._submission.logins.user_of(name, password, client)
        if user is not None:
            return AuthResult(success=True, auth_data=user)
        self._wrong_passwords += 1
        self.server.count("login_failed")
        return AuthResult(success=False, handled=False)


class LmtpSession(SubmissionSession, LMTP):
    """The same for LMTP (RFC 2033): LHLO, and an answer for each recipient."""


def _octets(arg: str | None) -> bytes:
    """The argument as it came."""
    return (arg or "").encode("utf-8", "surrogateescape")
