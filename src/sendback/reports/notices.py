"""Bounces and complaints that come as JSON in the body: Amazon SES notices through SNS."""

import json
from typing import Any, NamedTuple

from sendback.reports.dsn import mta_name


class Notice(NamedTuple):
    """One notice: kind bounce, complaint or delivered; (address, action, status, diagnostic)s."""

    kind: str
    recipients: tuple[tuple[str, str, str, str], ...]
    reporting_mta: str
    feedback_type: str
    subtype: str


def read_notice(text: str) -> Notice | None:
    """The notice of a body that is SES JSON, or None."""
    start = text.find("{")
    if start < 0 or ('"notificationType' not in text.replace("\\", "") and "eventType" not in text):
        return None
    try:
        data = json.JSONDecoder().raw_decode(text[start:].replace("\n", " "))[0]
        if isinstance(data.get("Message"), str):
            data = json.loads(data["Message"])
        return _notice(data)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None


def _notice(data: dict[str, Any]) -> Notice | None:
    kind = str(data.get("notificationType") or data.get("eventType") or "").lower()
    if kind == "bounce":
        bounce = data["bounce"]
        rows = tuple(
            (
                str(r.get("emailAddress", "")),
                str(r.get("action") or "failed"),
                str(r.get("status") or ""),
                str(r.get("diagnosticCode") or ""),
            )
            for r in bounce.get("bouncedRecipients", [])[:100]
        )
        subtype = f"{bounce.get('bounceType', '')} {bounce.get('bounceSubType', '')}".strip()
        return Notice("bounce", rows, mta_name(str(bounce.get("reportingMTA") or "")), "", subtype)
    if kind == "complaint":
        complaint = data["complaint"]
        rows = tuple(
            (str(r.get("emailAddress", "")), "", "", "")
            for r in complaint.get("complainedRecipients", [])[:100]
        )
        return Notice(
            "complaint", rows, "", str(complaint.get("complaintFeedbackType") or "abuse"), ""
        )
    if kind == "delivery":
        delivery = data["delivery"]
        text = str(delivery.get("smtpResponse") or "")
        rows = tuple((str(a), "delivered", "", text) for a in delivery.get("recipients", [])[:100])
        return Notice("delivered", rows, mta_name(str(delivery.get("reportingMTA") or "")), "", "")
    return None
