"""Events as they leave: the wire names, fields and empty values of CONTRACT section 8.

The fields listed for a type are always present; unknown is "" for text, null for numbers and
booleans. Consumers must ignore fields they do not know. One struct a wire type; `event_type` is
the tag, so `msgspec.json.encode(event)` is the delivered object.
"""

import msgspec


class EventBase(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="event_type", forbid_unknown_fields=False
):
    """What every event says."""

    event_time: int
    """Seconds since the epoch, of the visit or report."""
    event_time_ms: int
    """The same in milliseconds."""
    event_unique_id: str
    """UUIDv7 text; stable over retries and replays."""
    seq: int = 0
    """Order on the node that recorded it; given by the event log."""
    server_id: str = ""
    """The node that recorded it."""
    email: str = ""
    """The address as the message had it."""
    listid: str = ""
    """ListID of the message, lower case."""
    sendid: str = ""
    """SendID of the message, lower case."""
    click_tracking_id: str = ""
    """X-GreenArrow-Click-Tracking-ID, verbatim."""
    mail_class: str = ""
    """Mail class of the message."""
    url_domain: str = ""
    """Host of the message's tracking links."""
    instance_id: str = ""
    """X-GreenArrow-InstanceID."""


class Visited(EventBase, frozen=True, kw_only=True):
    """What the three events of a visit share."""

    engine_ip: str = ""
    """The visitor's address; cut or blank by the mail class's privacy."""
    user_agent: str = ""
    """The visitor's User-Agent, at most 512 bytes."""
    agent_class: str = "human"
    """human, prefetch, proxy or scanner: a label, never a drop."""
    agent_reasons: tuple[str, ...] = ()
    """Why it is labelled so."""
    is_bot: bool = False
    """True for prefetch and scanner."""
    agent_final: bool = True
    """False while later visits may still change the verdict."""


class Click(Visited, frozen=True, kw_only=True, tag="engine_click"):
    """A recipient, or a machine, followed a link."""

    click_url: str = ""
    """Destination; blank for List-Unsubscribe."""
    link_id: str = ""
    """data-ga-linkid of the link."""
    link_pos: int | None = None
    """Position of the link in the message, from 1."""
    universal: bool = False
    """The link was a universal link."""
    html_or_text: str = "h"
    """h or t: which part held the link."""
    unresolved: bool = False
    """True when the external row never came back."""


class Open(Visited, frozen=True, kw_only=True, tag="engine_open"):
    """The open pixel was loaded."""

    is_privacy_open: bool = False
    """Apple Mail Privacy Protection and alike."""


class Unsubscribe(Visited, frozen=True, kw_only=True, tag="engine_unsub"):
    """A recipient left the list; `click_url` is blank when it came from List-Unsubscribe."""

    click_url: str = ""
    """Destination; blank for List-Unsubscribe."""
    link_id: str = ""
    """data-ga-linkid of the link."""
    link_pos: int | None = None
    """Position of the link in the message, from 1."""
    universal: bool = False
    """The link was a universal link."""
    html_or_text: str = "h"
    """h or t: which part held the link."""
    unresolved: bool = False
    """True when the external row never came back."""


class Bounced(EventBase, frozen=True, kw_only=True):
    """What the two bounce events share."""

    bounce_type: str = "o"
    """h hard, s soft, o other."""
    bounce_code: int | None = None
    """10 = user unknown; the table is in bounces.md."""
    bounce_text: str = ""
    """What the mail system said, at most 1,000 characters."""
    synchronous: bool = False
    """Made by one of our own sending servers (seed 000)."""
    bounce_reason: str = ""
    """Reason name, as in bounces.md."""
    bounce_status: str = ""
    """Enhanced status code (RFC 3463)."""
    bounce_action: str = ""
    """failed, delayed ... (RFC 3464)."""
    reporting_mta: str = ""
    """Who reported it (RFC 3464)."""
    diagnostic_code: str = ""
    """Diagnostic-Code (RFC 3464)."""


class BounceAll(Bounced, frozen=True, kw_only=True, tag="bounce_all"):
    """Every processed bounce; never by itself a reason to remove an address."""


class BounceBadAddress(Bounced, frozen=True, kw_only=True, tag="bounce_bad_address"):
    """The removal threshold is met: stop mailing this address."""


class Complaint(EventBase, frozen=True, kw_only=True, tag="scomp"):
    """A recipient called it spam; treat as an unsubscribe."""

    feedback_type: str = ""
    """abuse, fraud ... (RFC 5965)."""
    reported_domain: str = ""
    """Reported-Domain (RFC 5965)."""
    source_ip: str = ""
    """Source-IP (RFC 5965)."""


Event = Click | Open | Unsubscribe | BounceAll | BounceBadAddress | Complaint

EVENT_TYPES = (
    "engine_click",
    "engine_open",
    "engine_unsub",
    "bounce_all",
    "bounce_bad_address",
    "scomp",
)
