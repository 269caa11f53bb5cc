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
    event_unique_id: str
    """UUIDv7 text; stable over retries and replays."""
    seq: int = 0
    """Order on the node that recorded it; given by the event log."""
    server_id: str = ""
    email: str = ""
    listid: str = ""
    sendid: str = ""
    click_tracking_id: str = ""
    mail_class: str = ""
    url_domain: str = ""
    instance_id: str = ""


class Visited(EventBase, frozen=True, kw_only=True):
    """What the three events of a visit share."""

    engine_ip: str = ""
    user_agent: str = ""
    agent_class: str = "human"
    """human, prefetch, proxy or scanner: a label, never a drop."""
    agent_reasons: tuple[str, ...] = ()
    is_bot: bool = False
    agent_final: bool = True


class Click(Visited, frozen=True, kw_only=True, tag="engine_click"):
    """A recipient, or a machine, followed a link."""

    click_url: str = ""
    link_id: str = ""
    link_pos: int | None = None
    universal: bool = False
    html_or_text: str = "h"
    unresolved: bool = False
    """True when the external row never came back."""


class Open(Visited, frozen=True, kw_only=True, tag="engine_open"):
    """The open pixel was loaded."""

    is_privacy_open: bool = False


class Unsubscribe(Visited, frozen=True, kw_only=True, tag="engine_unsub"):
    """A recipient left the list; `click_url` is blank when it came from List-Unsubscribe."""

    click_url: str = ""
    link_id: str = ""
    link_pos: int | None = None
    universal: bool = False
    html_or_text: str = "h"
    unresolved: bool = False


class Bounced(EventBase, frozen=True, kw_only=True):
    """What the two bounce events share."""

    bounce_type: str = "o"
    """h hard, s soft, o other."""
    bounce_code: int | None = None
    bounce_text: str = ""
    synchronous: bool = False
    """Made by one of our own sending servers (seed 000)."""
    bounce_reason: str = ""
    bounce_status: str = ""
    bounce_action: str = ""
    reporting_mta: str = ""
    diagnostic_code: str = ""


class BounceAll(Bounced, frozen=True, kw_only=True, tag="bounce_all"):
    """Every processed bounce; never by itself a reason to remove an address."""


class BounceBadAddress(Bounced, frozen=True, kw_only=True, tag="bounce_bad_address"):
    """The removal threshold is met: stop mailing this address."""


class Complaint(EventBase, frozen=True, kw_only=True, tag="scomp"):
    """A recipient called it spam; treat as an unsubscribe."""

    feedback_type: str = ""
    reported_domain: str = ""
    source_ip: str = ""


Event = Click | Open | Unsubscribe | BounceAll | BounceBadAddress | Complaint

EVENT_TYPES = (
    "engine_click",
    "engine_open",
    "engine_unsub",
    "bounce_all",
    "bounce_bad_address",
    "scomp",
)
