"""Delivery status notifications: RFC 3464 fields, however broken. RFC 6533 forms included.

Fields are grouped by recipient even without blank lines between the groups, with blank lines
inside a group, in any order, and outside any MIME part.
"""

import re
from typing import NamedTuple

from sendback.reports.addresses import clean_address, has_domain

#: Recipients of one report at most.
MAX_GROUPS = 100

_FIELD = re.compile(
    r"^[| \t]{0,4}(reporting-mta|received-from-mta|original-envelope-id|arrival-date|dsn-gateway"
    r"|original-recipient|final-recipient|action|status|remote-mta|diagnostic-code|last-attempt-date"
    r"|final-log-id|will-retry-until|x-actual-recipient|x-supplementary-info|x-display-name)[ \t]*:"
    r"[ \t]*([^\n]*(?:\n[ \t]+[^\n]*)*)(\n[ \t]*\n)?",
    re.IGNORECASE | re.MULTILINE,
)
_ABOUT_MESSAGE = {
    "reporting-mta",
    "received-from-mta",
    "original-envelope-id",
    "arrival-date",
    "dsn-gateway",
}
_SINGLE = {
    "original-recipient",
    "final-recipient",
    "action",
    "status",
    "diagnostic-code",
    "remote-mta",
}
_ACTIONS = {
    "failed": "failed",
    "failure": "failed",
    "fail": "failed",
    "failed-permanently": "failed",
    "undeliverable": "failed",
    "error": "failed",
    "denied": "failed",
    "delayed": "delayed",
    "delay": "delayed",
    "deferred": "delayed",
    "warning": "delayed",
    "delivered": "delivered",
    "success": "delivered",
    "relayed": "relayed",
    "deliverable": "delivered",
    "expanded": "expanded",
    "expired": "failed",
    "hardfail": "failed",
    "softfail": "failed",
}
#: Diagnostic types before the semicolon (`smtp; 550 ...`).
_TYPE = re.compile(r"^\s*([A-Za-z][\w.-]{0,30})\s*;\s*")


class Delivery(NamedTuple):
    """One recipient's group of fields; "" where a field is missing."""

    address: str
    original: str
    action: str
    status: str
    diagnostic: str
    remote_mta: str


class Notification(NamedTuple):
    """All groups of a delivery-status part."""

    reporting_mta: str
    deliveries: tuple[Delivery, ...]


def looks_like_dsn(text: bytes) -> bool:
    """Whether the text holds delivery-status fields (cheap: on lower-case bytes)."""
    return (
        b"final-recipient:" in text
        or b"original-recipient:" in text
        or b"final-recipient :" in text
    ) and (b"action:" in text or b"status:" in text or b"diagnostic-code:" in text)


def read_notification(text: str) -> Notification | None:
    """The fields of a delivery-status text, or None when it holds none about a recipient."""
    about: dict[str, str] = {}
    groups: list[dict[str, str]] = []
    current: dict[str, str] = {}
    after_blank = False
    for found in _FIELD.finditer(text):
        name, value = found[1].lower(), " ".join(found[2].split())
        if name in _ABOUT_MESSAGE:
            about.setdefault(name, value)
        else:
            complete = "action" in current and (
                "final-recipient" in current or "original-recipient" in current
            )
            if (name in current and name in _SINGLE) or (
                after_blank and complete and name != "diagnostic-code"
            ):
                groups.append(current)
                current = {}
            current.setdefault(name, value)
            after_blank = bool(found[3])
    if current:
        groups.append(current)
    deliveries = tuple(d for d in map(_delivery, groups[:MAX_GROUPS]) if d)
    if not deliveries and not about:
        return None
    return Notification(mta_name(about.get("reporting-mta", "")), deliveries)


def _delivery(group: dict[str, str]) -> Delivery | None:
    if not group.keys() & {
        "final-recipient",
        "original-recipient",
        "action",
        "status",
        "diagnostic-code",
    }:
        return None
    final = clean_address(group.get("final-recipient", ""))
    original = clean_address(group.get("original-recipient", ""))
    address = final if final and has_domain(final) else original or final
    if not address:
        address = clean_address(group.get("x-actual-recipient", ""))
    action = group.get("action", "").partition(" ")[0].partition("(")[0].strip(" .;").lower()
    diagnostic = group.get("diagnostic-code", "")
    found = _TYPE.match(diagnostic)
    if found:
        kept = found[1].lower() == "x-unix"
        diagnostic = diagnostic if kept else diagnostic[found.end() :]
    return Delivery(
        address,
        original,
        _ACTIONS.get(action, ""),
        group.get("status", ""),
        diagnostic,
        mta_name(group.get("remote-mta", "")),
    )


def mta_name(value: str) -> str:
    """The host of an MTA field: `dns; mx.example.org (192.0.2.1)` gives mx.example.org."""
    kind, semicolon, rest = value.partition(";")
    name = rest if semicolon else kind
    return name.strip().split(" ", 1)[0].strip("[]<>").rstrip(".").lower()
