"""The option type of times: RFC 3339 or seconds since the epoch, as CONTRACT section 5 says."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import click


class _Time(click.ParamType[int]):
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds since the epoch. A time without a zone is UTC."""
        if isinstance(value, int):
            return value
        try:
            return milliseconds(str(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither RFC 3339 nor seconds since the epoch", param, ctx)


TIME = _Time()


def milliseconds(text: str) -> int:
    """The moment that `text` names; ValueError or OverflowError."""
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,11}(\.[0-9]{1,9})?", text, re.ASCII):
        return int(float(text) * 1000)
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return int(moment.timestamp() * 1000)


def rfc3339(time_ms: int) -> str:
    """The moment in UTC, for people; "" for one that no calendar has."""
    try:
        moment = dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
