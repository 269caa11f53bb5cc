"""The formats that a webhook can speak, and how others are found.

`batch`, `single` and `form` are those of CONTRACT section 8; `anymail` speaks the words of
django-anymail's tracking events. A package adds one by an entry point of group `sendback.formats`
that names a callable without arguments, which gives a `Format`.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import urlencode

from sendback.errors import Misconfigured
from sendback.sinks.base import Format, StoredEvent

_JSON = "application/json"


class Batch:
    """A JSON array of events; any 2xx is success."""

    content_type = _JSON
    max_batch = 0

    def encode(self, batch: Sequence[StoredEvent]) -> bytes:
        """The array, byte for byte the events' own JSON."""
        return b"[" + b",".join([event.body for event in batch]) + b"]"

    def is_success(self, status: int, body: bytes) -> bool:  # noqa: ARG002 - the port's signature
        """Any 2xx."""
        return 200 <= status < 300


class Single(Batch):
    """One JSON object a request."""

    max_batch = 1

    def encode(self, batch: Sequence[StoredEvent]) -> bytes:
        """The event's own JSON."""
        return batch[0].body


class Form:
    """Form fields, one event a request; success is the word `ok` in a 2xx body."""

    content_type = "application/x-www-form-urlencoded"
    max_batch = 1

    def encode(self, batch: Sequence[StoredEvent]) -> bytes:
        """Every field; booleans are 1 and 0, null is empty, lists are joined by commas."""
        fields = json.loads(batch[0].body)
        return urlencode({name: _field(value) for name, value in fields.items()}).encode()

    def is_success(self, status: int, body: bytes) -> bool:
        """The older receivers answer 200 whatever happens, and say `ok` when it went well."""
        return 200 <= status < 300 and b"ok" in body.lower()


def _field(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


#: Our types and reasons in the words of anymail.signals (EventType, RejectReason).
ANYMAIL_TYPES: Mapping[str, str] = {
    "engine_click": "clicked",
    "engine_open": "opened",
    "engine_unsub": "unsubscribed",
    "bounce_all": "bounced",
    "bounce_bad_address": "rejected",
    "scomp": "complained",
}
ANYMAIL_REASONS: Mapping[str, str] = {
    "bounce_all": "bounced",
    "bounce_bad_address": "invalid",
    "engine_unsub": "unsubscribed",
    "scomp": "spam",
}


class Anymail(Batch):
    """The attributes of django-anymail's AnymailTrackingEvent, one object an event, as an array.

    event_type, timestamp (RFC 3339), message_id (our click_tracking_id), event_id, recipient,
    reject_reason, description, mta_response, tags ([sendid, mail_class]), metadata, click_url,
    user_agent, esp_event (the whole event). A soft bounce is `deferred`.
    """

    def encode(self, batch: Sequence[StoredEvent]) -> bytes:
        """The array."""
        return json.dumps([_anymail(event) for event in batch], ensure_ascii=False).encode()


def _anymail(event: StoredEvent) -> dict[str, Any]:
    fields = json.loads(event.body)
    kind = ANYMAIL_TYPES.get(event.type, "unknown")
    is_soft = event.type == "bounce_all" and fields.get("bounce_type") != "h"
    seconds, milliseconds = divmod(int(fields["event_time_ms"]), 1000)
    return {
        "event_type": "deferred" if is_soft else kind,
        "timestamp": _rfc3339(seconds, milliseconds),
        "event_id": event.event_id,
        "message_id": fields.get("click_tracking_id") or None,
        "recipient": fields.get("email", ""),
        "reject_reason": None if is_soft else ANYMAIL_REASONS.get(event.type),
        "description": fields.get("bounce_reason") or fields.get("feedback_type") or "",
        "mta_response": fields.get("diagnostic_code") or fields.get("bounce_text") or "",
        "tags": [tag for tag in (fields.get("sendid"), fields.get("mail_class")) if tag],
        "metadata": {"listid": fields.get("listid", ""), "instance_id": fields.get("instance_id")},
        "click_url": fields.get("click_url") or None,
        "user_agent": fields.get("user_agent") or None,
        "esp_event": fields,
    }


def _rfc3339(seconds: int, milliseconds: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


_OWN: Mapping[str, type[Format]] = {
    "batch": Batch,
    "single": Single,
    "form": Form,
    "anymail": Anymail,
}


def find_format(name: str) -> Format:
    """The format of that name. Misconfigured when there is none."""
    if name in _OWN:
        return _OWN[name]()
    for point in entry_points(group="sendback.formats", name=name):
        made: Format = point.load()()
        return made
    raise Misconfigured(
        f"no such format: {name}",
        hint=f"formats are {', '.join(_OWN)}, and those of installed packages",
    )
