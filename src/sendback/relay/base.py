"""What is sent, what is answered, and the port between submission and the way out."""

from typing import NamedTuple, Protocol


class Answer(NamedTuple):
    """A reply as an MTA gave it: code, and text with its enhanced code; lines end in LF."""

    code: int
    text: str

    @property
    def is_accepted(self) -> bool:
        """Responsibility was taken."""
        return 200 <= self.code < 300

    @property
    def is_deferred(self) -> bool:
        """It may be tried again."""
        return 400 <= self.code < 500

    def as_reply(self) -> bytes:
        """The reply to hand on, unchanged; control characters can't get into it."""
        *first, last = (_printable(line)[:506] for line in self.text.split("\n"))
        lines = [f"{self.code}-{line}\r\n" for line in first]
        return "".join([*lines, f"{self.code} {last}\r\n"]).encode()


def _printable(line: str) -> str:
    text = line.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c >= " " and c != "\x7f" else " " for c in text)


class Outgoing(NamedTuple):
    """One message to one recipient."""

    mail_from: str
    """The envelope sender, "" for the null one."""
    rcpt: str
    message: bytes
    utf8: bool = False
    """The client used SMTPUTF8: header fields may be UTF-8 (RFC 6531)."""


class Relay(Protocol):
    """A way out."""

    async def send(self, outgoing: Outgoing) -> Answer:
        """What became of it. Never raises for what the network does: 4yz then, and not sent.

        After a connection lost behind the final dot nobody knows whether it was sent; that too is
        4yz, as RFC 5321 section 4.5.3.2.6 accepts.
        """

    async def close(self) -> None:
        """End idle connections."""
