"""What a returned message says: the values that `parse` gives. No logic but the wire forms.

Names are those of CONTRACT.md sections 5 and 8; reasons carry Sisimai's names.
"""

from typing import Any

import msgspec

#: Longest text that leaves this package in one field (the event's bounce_text).
MAX_TEXT = 1000


class ReportedRecipient(msgspec.Struct, frozen=True):
    """One address of the report, and the verdict on it.

    `address` is the one the report is about (Final-Recipient where it is usable), `original` the
    one that was mailed, where the report says so; "" when not stated. `status` is RFC 3463 text
    or "". `hard`: the address or its domain is permanently undeliverable. `bad_address`: stop
    mailing it (hard, or the account is suspended). A reason that can't be told is soft.
    """

    address: str
    original: str = ""
    status: str = ""
    action: str = ""
    reason: str = "undefined"
    hard: bool = False
    bad_address: bool = False
    bounce_type: str = "s"
    bounce_code: int = 90
    diagnostic_code: str = ""
    text: str = ""
    reporting_mta: str = ""
    remote_mta: str = ""


class Report(msgspec.Struct, frozen=True):
    """One message that came back. Identity evidence is raw text: nothing here is authenticated.

    `kind` is bounce, delivery-delay, complaint, auto-reply, delivered, unsubscribe or other.
    `mailer_info` and `mailer_info_extra` are the values of X-Mailer-Info (with its `1.`) and
    X-Mailer-Info-Extra wherever they stand in the message, white space removed, in order of
    appearance; mangled copies may stand beside good ones, so try each.
    """

    kind: str = "other"
    recipients: tuple[ReportedRecipient, ...] = ()
    reporting_mta: str = ""
    is_local: bool = False
    feedback_type: str = ""
    reported_domain: str = ""
    source_ip: str = ""
    feedback_recipients: tuple[str, ...] = ()
    challenge: bool = False
    mailer_info: tuple[str, ...] = ()
    mailer_info_extra: tuple[str, ...] = ()
    feedback_ids: tuple[str, ...] = ()
    return_paths: tuple[str, ...] = ()
    message_id: str = ""
    subject: str = ""
    explain: tuple[str, ...] = ()


def as_prediction(report: Report) -> dict[str, Any]:
    """The JSON line of `bounces parse` without "file" (CONTRACT.md section 5).

    The top values are those of the first failed recipient, else of the first one.
    """
    kind = "other" if report.kind == "unsubscribe" else report.kind
    recipients = report.recipients
    first = next((r for r in recipients if r.action == "failed"), next(iter(recipients), None))
    reason = first.reason if first and kind in {"bounce", "delivery-delay"} else None
    if kind == "complaint":
        reason = "feedback"
    elif kind == "auto-reply":
        reason = "vacation"
    addresses = [r.address for r in recipients if r.address]
    return {
        "kind": kind,
        "recipients": addresses or list(report.feedback_recipients),
        "status": (first.status if first else "") or None,
        "action": (first.action if first else "") or None,
        "reason": reason,
        "hard": bool(first and first.hard),
        "bad_address": bool(first and first.bad_address),
        "feedback_type": report.feedback_type or None,
        "per_recipient": [
            {
                "recipient": r.address,
                "status": r.status or None,
                "action": r.action or None,
                "reason": r.reason,
                "hard": r.hard,
                "bad_address": r.bad_address,
            }
            for r in recipients
        ],
    }
