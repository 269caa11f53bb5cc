"""The tables of events.sqlite, and how the file is opened.

A change of a released table is a new step in `_STEPS`, forward only.
"""

import sqlite3
from pathlib import Path

from sendback.errors import Misconfigured, NotFound, Unavailable

_FIRST = """
create table events (
  seq integer primary key,
  event_id blob not null,
  type text not null,
  time_ms integer not null,
  recorded_ms integer not null,
  body blob not null
);
create unique index events_event_id on events (event_id);
create table numbers (name text primary key, value integer not null) without rowid;
create table journal_positions (
  segment_id blob primary key, position integer not null
) without rowid;
create table pending (
  id integer primary key,
  payload blob not null,
  first_ms integer not null,
  next_ms integer not null,
  tries integer not null,
  faults integer not null default 0,
  reason text not null
);
create index pending_next on pending (next_ms);
create table dedupe (
  key blob primary key, expires_ms integer not null, owner blob not null
) without rowid;
create index dedupe_expires on dedupe (expires_ms);
create table consumers (
  name text primary key,
  seq integer not null,
  state text not null default 'active',
  reason text not null default '',
  changed_ms integer not null default 0,
  first_attempts integer not null default 0,
  retries integer not null default 0,
  delivered integer not null default 0,
  expired integer not null default 0,
  failing_since_ms integer
) without rowid;
create table parked (
  consumer text not null,
  seq integer not null,
  tries integer not null,
  next_ms integer not null,
  since_ms integer not null,
  reason text not null,
  primary key (consumer, seq)
) without rowid;
create table attempts (
  id integer primary key,
  consumer text not null,
  at_ms integer not null,
  first_seq integer not null,
  last_seq integer not null,
  count integer not null,
  outcome text not null,
  status integer,
  duration_ms integer not null,
  answer text not null
);
create index attempts_consumer on attempts (consumer, id);
create table dead_letters (
  id integer primary key,
  consumer text not null,
  seq integer not null,
  event_id blob,
  type text not null,
  at_ms integer not null,
  tries integer not null,
  reason text not null,
  body blob not null
);
create index dead_letters_consumer on dead_letters (consumer, id);
"""

_STEPS = (_FIRST,)


def open_writing(path: Path, busy_seconds: float = 10.0) -> sqlite3.Connection:
    """A connection that may write; makes and upgrades the file. Unavailable, Misconfigured."""
    try:
        db = sqlite3.connect(
            path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        db.execute("pragma auto_vacuum = incremental")
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
        db.execute("pragma secure_delete = fast")  # what is erased must not stay between rows
        db.execute("pragma journal_size_limit = 67108864")
        db.execute("pragma wal_autocheckpoint = 4000")
        db.execute("pragma cache_size = -16384")
        _upgrade(db, path)
    except sqlite3.Error as error:
        raise Unavailable(f"the event log {path} can't be opened: {error}") from error
    return db


def open_reading(path: Path) -> sqlite3.Connection:
    """A connection that only reads, also while the worker writes. NotFound without a file."""
    if not path.exists():
        raise NotFound(f"there is no event log at {path} yet")
    try:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=10.0,
            isolation_level=None,
            check_same_thread=False,
        )
        found = db.execute("pragma user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise Unavailable(f"the event log {path} can't be read: {error}") from error
    if found == 0:
        db.close()
        raise NotFound(f"the event log {path} has no tables yet")
    _refuse_newer(found, path)
    return db


def _upgrade(db: sqlite3.Connection, path: Path) -> None:
    if db.execute("pragma user_version").fetchone()[0] == len(_STEPS):
        return
    db.execute("begin immediate")
    try:
        found = db.execute("pragma user_version").fetchone()[0]
        _refuse_newer(found, path)
        for number, step in enumerate(_STEPS[found:], start=found + 1):
            for statement in filter(str.strip, step.split(";\n")):
                db.execute(statement)
            db.execute(f"pragma user_version = {number}")
    except BaseException:
        db.execute("rollback")
        raise
    db.execute("commit")


def _refuse_newer(found: int, path: Path) -> None:
    if found > len(_STEPS):
        raise Misconfigured(
            f"{path} was written by a newer sendback (schema {found}, known {len(_STEPS)})",
            place=str(path),
            hint="run the newer version, or move the file away to begin a new log",
        )
