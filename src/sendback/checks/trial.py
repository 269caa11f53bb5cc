"""The messages of the self-test: one that goes out, and two that come back about it.

Everything names an address that can't exist (RFC 2606, `.invalid`): whatever the events lead to,
a suppression above all, no person is touched. Not even the one whose mailbox took the copy.
"""

from __future__ import annotations

import re
import secrets
from email.utils import formatdate

import msgspec

DOMAIN = "selftest.invalid"
_BOUNDARY = b"=_sendback_selftest"
#: Fields that delivery wrote: they name whose mailbox the copy lay in.
_DELIVERY = re.compile(
    rb"^(?:return-path|delivered-to|(?:x-)?(?:original|envelope)-to|received|x-received):"
    rb"[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)


class Trial(msgspec.Struct, frozen=True):
    """One run: its nonce is in every address and URL, so that runs never meet."""

    nonce: str
    now: float

    @classmethod
    def made(cls, now: float) -> Trial:
        """A new one; `now` in seconds since the epoch."""
        return cls(secrets.token_hex(8), now)

    @property
    def address(self) -> str:
        """The recipient that all events will name."""
        return f"selftest-{self.nonce}@{DOMAIN}"

    @property
    def sender(self) -> str:
        """Who sends it."""
        return f"sender-{self.nonce}@{DOMAIN}"

    @property
    def message_id(self) -> str:
        """By which the copy is found."""
        return f"<selftest.{self.nonce}@{DOMAIN}>"

    @property
    def page(self) -> str:
        """Where the link leads; nobody goes there."""
        return f"https://{DOMAIN}/{self.nonce}/page?a=1&b=2"

    @property
    def goodbye(self) -> str:
        """Where the unsubscribe link leads."""
        return f"https://{DOMAIN}/{self.nonce}/goodbye"

    def message(self, rcpt: str, *, mail_class: str = "") -> bytes:
        """HTML with a link and an unsubscribe link (seed 000, "Testing", step 1).

        `rcpt`, when it is another than the made-up address, stands in the envelope alone: events
        name the made-up one all the same.
        """
        fields = [
            f"From: sendback self-test <{self.sender}>",
            f"To: {self.address}",
            f"Subject: sendback self-test {self.nonce}",
            f"Date: {formatdate(self.now)}",
            f"Message-ID: {self.message_id}",
            "MIME-Version: 1.0",
            "Content-Type: text/html; charset=utf-8",
            f"X-GreenArrow-Click-Tracking-ID: selftest-{self.nonce}",
        ]
        if rcpt != self.address:
            fields.append(f"X-GreenArrow-Obscured-Email: {self.address}")
        if mail_class:
            fields.append(f"X-GreenArrow-MailClass: {mail_class}")
        page = self.page.replace("&", "&amp;")
        body = (
            "<!doctype html>\n<html><body><p>A message of <b>sendback selftest</b>: nobody needs "
            f'to do anything.</p>\n<p><a href="{page}">A link</a>,\n'
            f'<a href="##unsubscribetag##{self.goodbye}">a way off the list</a>.</p>\n'
            "</body></html>\n"
        )
        return "\r\n".join([*fields, "", *body.splitlines(), ""]).encode()

    def returned(self, copy: bytes, rcpt: str) -> bytes:
        """The copy as mail servers give it back, without any trace of who really got it."""
        text = copy.replace(b"\r\n", b"\n")
        head = _head(text)
        fields = _DELIVERY.sub(b"", head + b"\n")
        person = re.compile(re.escape(rcpt.encode()), re.IGNORECASE)
        return person.sub(self.address.encode(), fields) + text[len(head) + 1 :]

    def complaint(self, copy: bytes, mailbox: str) -> bytes:
        """A mail with the raw headers of the `returned` copy as its text (step 5)."""
        head = _head(copy)
        fields = self._fields(mailbox, "Fwd: sendback self-test", "text/plain; charset=utf-8")
        return _crlf(fields + b"Somebody complains about this message:\n\n" + head + b"\n")

    def bounce(self, copy: bytes, return_path: str) -> bytes:
        """A delivery status notification, "no such user", with the `returned` copy (step 6)."""
        about = self.address.encode()
        text = b"550 5.1.1 <" + about + b">: no such user here"
        dash = b"\n--" + _BOUNDARY
        return _crlf(
            self._fields(
                return_path,
                "Undelivered Mail Returned to Sender",
                "multipart/report; report-type=delivery-status;"
                f' boundary="{_BOUNDARY.decode()}"',
            )
            + dash + b"\nContent-Type: text/plain\n\nYour message could not be delivered: "
            + text + b"\n"
            + dash + b"\nContent-Type: message/delivery-status\n\n"
            + b"Reporting-MTA: dns; mx." + DOMAIN.encode() + b"\n\nFinal-Recipient: rfc822; "
            + about + b"\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; " + text + b"\n"
            + dash + b"\nContent-Type: message/rfc822\n\n" + copy
            + dash + b"--\n"
        )  # fmt: skip

    def _fields(self, rcpt: str, subject: str, content_type: str) -> bytes:
        return (
            f"From: Mail Delivery System <MAILER-DAEMON@mx.{DOMAIN}>\nTo: {rcpt}\n"
            f"Subject: {subject}\nDate: {formatdate(self.now)}\n"
            f"Message-ID: <{secrets.token_hex(8)}@mx.{DOMAIN}>\nMIME-Version: 1.0\n"
            f"Content-Type: {content_type}\n\n"
        ).encode()


def _head(text: bytes) -> bytes:
    return text.partition(b"\n\n")[0]


def _crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
