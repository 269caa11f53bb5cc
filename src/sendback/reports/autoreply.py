"""Mail that answers by itself and is no bounce: vacations, acknowledgements, challenges."""

import re

from sendback.reports.signals import alternatives, signal

_SUBJECT = re.compile(
    r"^\s*(?:(?:re|aw|sv|vs|odp|antw?)\s*:\s*)?[\[(*<]{0,3}\s*"
    rf"(?:{alternatives('automatic_subject')})",
    re.IGNORECASE,
)
_UNSUBSCRIBE = re.compile(rf"^\s*(?:{alternatives('unsubscribe_subject')})\b", re.IGNORECASE)
_MARKING_HEADERS = (
    "x-autoreply",
    "x-autorespond",
    "x-autoresponder",
    "x-auto-reply",
    "x-autoreply-from",
    "x-mail-autoreply",
    "x-vacation",
    "x-zoho-autoreply",
    "x-away",
    "x-oof",
    "x-ms-exchange-inbox-rules-loop",
    "x-google-auto-reply",
    "x-gm-auto-reply",
    "x-yahoo-autoreply",
)


def is_challenge(subject: str, prose: str) -> bool:
    """Whether a person, or a program, wants the sender to prove itself first."""
    words = signal("challenge").count(prose[:8192].lower())
    return words >= 2 or (
        words == 1 and signal("challenge_subject").search(subject.lower()) is not None
    )


def is_marked(headers: dict[str, str], subject: str) -> str:
    """Why the header says auto-reply (bounces excluded before), or ""."""
    for name in _MARKING_HEADERS:
        value = headers.get(name)
        if value is not None and value.strip().lower() not in ("no", "false", "0"):
            return f"header {name}"
    precedence = headers.get("precedence", "").strip().lower().replace("-", "_")
    if precedence == "auto_reply":
        return "Precedence: auto_reply"
    if headers.get("x-apple-action", "").strip().upper() == "VACATION":
        return "X-Apple-Action: VACATION"
    if "oof" in headers.get("x-auto-response-suppress", "").lower() and signal(
        "automatic_anywhere"
    ).search(subject.lower()):
        return "X-Auto-Response-Suppress"
    if _SUBJECT.match(subject):
        return "the subject"
    return ""


def is_automatic(headers: dict[str, str], subject: str, prose: str) -> str:
    """Weaker signs, for mail that nothing else explains: why it is an automatic answer, or ""."""
    submitted = headers.get("auto-submitted", "").strip().lower()
    answers = "in-reply-to" in headers or "references" in headers
    if submitted.startswith("auto-replied"):
        return "Auto-Submitted: auto-replied"
    if submitted.startswith(("auto-generated", "auto-notified")) and (
        answers or signal("automatic_anywhere").search(subject.lower())
    ):
        return "Auto-Submitted with In-Reply-To"
    if "x-auto-response-suppress" in headers and (
        answers or signal("away").search(prose[:4096].lower())
    ):
        return "X-Auto-Response-Suppress"
    if (
        (answers or signal("automatic_anywhere").search(subject.lower()))
        and signal("away").search(prose[:1024].lower())
        and len(prose) < 3000
    ):
        return "the text of an answer"
    return ""


def is_unsubscribe(headers: dict[str, str], subject: str) -> bool:
    """A mail client's (Apple's X-Apple-Unsubscribe) or a person's request by mail."""
    if headers.get("x-apple-unsubscribe", "").strip().lower() == "true":
        return True
    return bool(_UNSUBSCRIBE.match(subject)) and len(subject) < 60
