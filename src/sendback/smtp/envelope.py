"""One transaction: who sends, who receives, what; and the strict reading of MAIL and RCPT.

Both doors use it, so both take and refuse the same commands with the same words. Pure.
"""

from typing import Self

from sendback.smtp import syntax

_BAD_SENDER = b"501 5.1.7 Bad sender address syntax\r\n"
_BAD_RECIPIENT = b"501 5.1.3 Bad recipient address syntax\r\n"
_NEEDS_UTF8 = b"553 5.6.7 This address needs SMTPUTF8\r\n"


class Envelope:
    """What one transaction holds; `notes` is the door's, one entry a recipient."""

    __slots__ = ("is_8bit", "mail_from", "message", "notes", "recipients", "size", "utf8")

    def __init__(self, mail_from: str, *, is_8bit: bool = False, utf8: bool = False) -> None:
        self.mail_from = mail_from
        self.recipients: list[str] = []
        self.notes: list[object] = []
        self.is_8bit = is_8bit
        self.utf8 = utf8
        self.message = b""
        """Cut at the server's `keep_bytes`."""
        self.size = 0
        """Octets before the cut."""

    @classmethod
    def begun_by(cls, argument: bytes, *, max_size: int, has_login: bool = False) -> Self:
        """The transaction that MAIL's argument begins; `BadArgument` with the refusal."""
        address, parameters = syntax.path_and_parameters(argument, b"FROM:", _BAD_SENDER)
        is_8bit, utf8 = syntax.check_mail_parameters(parameters, max_size, auth=has_login)
        # Senders are noted, not trusted: forwarders make local parts longer than 64 octets.
        if address and not syntax.is_mailbox(address, max_local_part=syntax.MAX_PATH):
            raise syntax.BadArgument(_BAD_SENDER)
        if not (utf8 or address.isascii()):
            raise syntax.BadArgument(_NEEDS_UTF8)
        return cls(address, is_8bit=is_8bit, utf8=utf8)

    def recipient(self, argument: bytes) -> str:
        """The address of RCPT's argument, not yet taken; `BadArgument` with the refusal."""
        address, parameters = syntax.path_and_parameters(argument, b"TO:", _BAD_RECIPIENT)
        syntax.check_rcpt_parameters(parameters)
        # RFC 5321 section 4.1.1.3: bare "postmaster" is the one path without a domain.
        if not syntax.is_mailbox(address) and address.lower() != "postmaster":
            raise syntax.BadArgument(_BAD_RECIPIENT)
        if not (self.utf8 or address.isascii()):
            raise syntax.BadArgument(_NEEDS_UTF8)
        return address
