"""What is known of a message, and of one link in it: the metadata of event tracking (seed 004).

These values are what a token stands for. Where they live (inside the link, in a row of this node,
in an external Postgres) is the business of `sendback.metadata`.
"""

import enum
import hashlib

import msgspec


class Storage(enum.StrEnum):
    """Where metadata lives: seed 004, "Event Tracking Metadata Storage"."""

    LOCAL = "local"
    STATELESS = "stateless"
    EXTERNAL = "external"


class Privacy(enum.StrEnum):
    """How much of a visitor an event may keep."""

    FULL = "full"
    TRUNCATE_IP = "truncate_ip"
    ANONYMOUS = "anonymous"


class LinkKind(enum.IntEnum):
    """What a link was in the message. The numbers are stored in links for ever: only add."""

    CLICK = 0
    UNSUB_BODY_REDIRECT = 1
    UNSUB_BODY_CONFIRM = 2
    UNSUB_HEADER = 3
    HONEYPOT = 4

    @property
    def is_unsubscribe(self) -> bool:
        """True for the three links that take a recipient off a list."""
        return LinkKind.UNSUB_BODY_REDIRECT <= self <= LinkKind.UNSUB_HEADER


class MessageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one recipient. SendID and ListID are lower-case already."""

    email: str
    """The address as the message had it, or its X-GreenArrow-Obscured-Email."""
    listid: str = ""
    sendid: str = ""
    click_tracking_id: str = ""
    mail_class: str = ""
    url_domain: str = ""
    instance_id: str = ""
    tagged_at: int = 0
    """Seconds since the epoch, UTC, when the message was tagged."""
    privacy: Privacy = Privacy.FULL
    html_links: int = 0
    """Links with a position in its HTML parts; 0: nobody counted. Not part of what names it."""
    text_links: int = 0
    """The same in its text parts."""

    @property
    def key(self) -> bytes:
        """Eight bytes that name this message: equal for every link, open and report of it."""
        parts = (self.email, self.listid, self.sendid, self.click_tracking_id, str(self.tagged_at))
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()


class LinkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One link of a message."""

    url: str
    """The destination; "" for a List-Unsubscribe header link."""
    kind: LinkKind = LinkKind.CLICK
    link_id: str = ""
    """`data-ga-linkid`, "" when the link has none."""
    pos: int = 0
    """Position among the links of the message, from 1; 0 where that means nothing."""
    universal: bool = False
    html_or_text: str = "h"


class TrackingData(msgspec.Struct, frozen=True):
    """What a verified token stands for; `link` is None for opens, bounces and complaints."""

    message: MessageFacts
    link: LinkFacts | None = None
