"""Complaints: ARF (RFC 5965, 6591, 6692), its forerunners, XARF, CFBL; masked ones included."""

import re
from typing import NamedTuple

from sendback.reports.addresses import find_address
from sendback.reports.dsn import mta_name

_FIELD = re.compile(
    r"^[> \t]{0,4}([A-Za-z][A-Za-z-]{2,40})[ \t]*:[ \t]*([^\n]*(?:\n[ \t]+[^\n]*)*)", re.MULTILINE
)
_TYPE = re.compile(r"[a-z][a-z0-9-]{1,30}")
_XARF_TYPE = re.compile(r"[\"\s{]report[-_]?type\"?\s*:\s*\"?([\w-]{2,30})", re.IGNORECASE)
_HMX = re.compile(
    r"^[> \t]{0,4}x-hmxmroriginalrecipient[ \t]*:[ \t]*([^\n]+)", re.IGNORECASE | re.MULTILINE
)
_LEGACY = re.compile(
    r"complaint about message|(?:feedback|abuse|spam) (?:report|complaint|loop)|scomp",
    re.IGNORECASE,
)


class Feedback(NamedTuple):
    """What a feedback report states; "" and () where it is silent."""

    feedback_type: str
    recipients: tuple[str, ...] = ()
    reported_domain: str = ""
    source_ip: str = ""
    reporting_mta: str = ""


def read_feedback(text: str) -> Feedback | None:
    """The machine-readable part, or None when it has no Feedback-Type."""
    fields: dict[str, list[str]] = {}
    for name, value in _FIELD.findall(text):
        fields.setdefault(name.lower(), []).append(" ".join(value.split()))
    if "feedback-type" not in fields:
        return None
    kind = _TYPE.search(fields["feedback-type"][0].lower())
    stated = fields.get("original-rcpt-to", []) + fields.get("removal-recipient", [])
    recipients = dict.fromkeys(filter(None, map(unmasked, stated)))
    return Feedback(
        kind[0] if kind else "",
        tuple(recipients),
        _first(fields, "reported-domain"),
        _first(fields, "source-ip").split(" ")[0],
        mta_name(_first(fields, "reporting-mta")),
    )


def _first(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def unmasked(value: str) -> str:
    """The address, or "" where the provider masked it."""
    address = find_address(value)
    local = address.partition("@")[0].lower()
    if not address or "redacted" in value.lower() or set(local) <= set("*x.#?") or "***" in local:
        return ""
    return address


def read_xarf(text: str) -> str:
    """The report type of an XARF document (YAML or JSON), or ""."""
    found = _XARF_TYPE.search(text)
    return found[1].lower() if found else ""


def old_hotmail_recipient(text: str) -> str:
    """X-HmXmrOriginalRecipient of the JMRP reports before June 2026, or ""."""
    found = _HMX.search(text)
    return find_address(found[1]) if found else ""


def sounds_like_complaint(subject: str, sender: str) -> bool:
    """Whether subject or sender say so where the structure does not."""
    return bool(
        _LEGACY.search(subject)
        or sender.partition("@")[0].lower() in ("scomp", "fbl", "feedbackloop")
    )
