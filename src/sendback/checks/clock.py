"""Whether two clocks agree: tokens carry days, and events are ordered by time."""

from __future__ import annotations

import time
from collections.abc import Callable

from sendback.checks.finding import Finding, fine, problem
from sendback.errors import SendbackError, Unavailable

#: More than this is worth mending.
MAX_APART_SECONDS = 5.0
_CONNECT_SECONDS = 2


def check_clock(subject: str, ask: Callable[[], float], *, check: str = "clock") -> Finding:
    """Compares ours with the one that `ask` reads, in seconds since the epoch."""
    began = time.time()
    try:
        theirs = ask()
    except SendbackError as error:
        return problem(check, subject, f"its clock could not be read: {error}", "")
    return compared(check, subject, theirs, (began + time.time()) / 2)


def compared(check: str, subject: str, theirs: float, ours: float) -> Finding:
    """How far apart two readings of one moment are."""
    apart = abs(theirs - ours)
    detail = f"{apart:.1f} s apart"
    if apart > MAX_APART_SECONDS:
        return problem(check, subject, detail, "run NTP on both")
    return fine(check, subject, detail)


def postgres_time(dsn: str) -> float:
    """The clock of a Postgres, in seconds since the epoch. Unavailable."""
    import psycopg

    try:
        with psycopg.connect(dsn, connect_timeout=_CONNECT_SECONDS) as connection:
            row = connection.execute("select extract(epoch from clock_timestamp())").fetchone()
    except psycopg.Error as error:
        raise Unavailable(str(error).strip().splitlines()[0]) from error
    assert row is not None
    return float(row[0])
