"""What a check says of one thing it looked at."""

from typing import Literal

import msgspec

State = Literal["ok", "warning", "problem", "skipped"]


class Finding(msgspec.Struct, frozen=True):
    """What was found about one thing, and what to do about it.

    Made by the four functions below, so that `ok` and `state` never contradict each other.
    """

    check: str
    subject: str
    """What was looked at."""
    ok: bool
    """False for a problem alone: what scripts ask."""
    detail: str
    """What was seen."""
    cure: str = ""
    state: State = "ok"


def fine(check: str, subject: str, detail: str) -> Finding:
    """It is as it should be."""
    return Finding(check, subject, True, detail)


def warning(check: str, subject: str, detail: str, cure: str) -> Finding:
    """It works now, or may be meant so; somebody should look."""
    return Finding(check, subject, True, detail, cure, "warning")


def problem(check: str, subject: str, detail: str, cure: str) -> Finding:
    """It does not work, or loses events."""
    return Finding(check, subject, False, detail, cure, "problem")


def skipped(check: str, subject: str, detail: str, cure: str = "") -> Finding:
    """It could not, or need not, be looked at; `detail` says why."""
    return Finding(check, subject, True, detail, cure, "skipped")
