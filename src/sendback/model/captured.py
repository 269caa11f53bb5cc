"""What a process puts into the journal before it answers; finishing makes events of it.

A visit keeps the verified token as it came, not what it stands for: no address in clear reaches
the journal, and the hot path encodes nothing twice.
"""

import enum
from random import getrandbits

import msgspec


class VisitKind(enum.IntEnum):
    """Which answer was given. The numbers are on disk: only add."""

    CLICK = 1
    OPEN = 2
    UNSUB = 3


class Hint(enum.IntFlag):
    """What the request said about itself. The numbers are on disk: only add."""

    NONE = 0
    PREFETCH = 1
    """Sec-Purpose, Purpose or X-Moz names a prefetch or preview."""
    ONE_CLICK = 2
    """An RFC 8058 POST."""
    CONFIRMED = 4
    """The button of our own unsubscribe page."""
    UNIVERSAL = 8
    """Came in under /uni/."""
    MAILTO = 16
    """A mail to the signed unsubscribe address."""


class Visit(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """One click, open or unsubscribe, as answered."""

    record_id: bytes
    """16 bytes, a UUIDv7: the id of the event that it becomes."""
    time_ms: int
    kind: int
    token: bytes
    """The token's text, verified under its purpose."""
    ip: str
    user_agent: str
    hints: int = 0
    host: str = ""


class CapturedMail(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """One message taken in for one recipient on the smtp port, as received."""

    record_id: bytes
    time_ms: int
    mail_from: str
    rcpt_to: str
    """The mailbox as the client named it, token included."""
    mailbox: str
    """"bounce", "complaint", "postmaster", "abuse" or "unsubscribe": what was recognised."""
    peer_ip: str
    raw: bytes
    """The message, cut at `bouncemaxbytes`."""
    size: int = 0
    """Bytes of the whole message before the cut."""


_RANDOM_BITS = 0x0FFF_3FFF_FFFF_FFFF_FFFF
_VERSION_AND_VARIANT = 0x7000_8000_0000_0000_0000


def uuid7(time_ms: int, entropy: bytes | None = None) -> bytes:
    """16 bytes of a UUIDv7 (RFC 9562 section 5.7); `entropy`: 10 bytes, random unless given.

    Ids must never meet, and nobody gains by guessing one: so the generator of this process, seeded
    by the system and again after a fork, serves without a system call.
    """
    tail = getrandbits(80) if entropy is None else int.from_bytes(entropy, "big")
    return (time_ms << 80 | tail & _RANDOM_BITS | _VERSION_AND_VARIANT).to_bytes(16, "big")
