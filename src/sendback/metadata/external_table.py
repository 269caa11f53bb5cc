"""The table of external metadata, for the command line: make it, look at it, prune it.

Seed 004's table and index to the letter; daily partitions are offered beside them. Runs over
ordinary psycopg connections, with time: nothing here is on the way of a message or a click.
"""

import datetime as dt
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg

from sendback.errors import Conflict, Malformed, Unavailable
from sendback.metadata.postgres import attempts

#: Seed 004, "External", word for word.
SCHEMA = """\
create table ga_tracking_data (
  id uuid not null primary key,   -- will be a random uuid
  date date not null,             -- UTC date this entry was created
  data jsonb not null             -- json blob containing the tracking data
);

-- create an index for pruning
create index ga_tracking_data__created_at_idx on ga_tracking_data (date);
"""

#: The same columns; a day is dropped as a whole, so pruning frees its disk space at once.
PARTITIONED_SCHEMA = """\
create table ga_tracking_data (
  id uuid not null,               -- will be a random uuid
  date date not null,             -- UTC date this entry was created
  data jsonb not null,            -- json blob containing the tracking data
  primary key (id, date)
) partition by range (date);

create index ga_tracking_data__created_at_idx on ga_tracking_data (date);
create table ga_tracking_data_other partition of ga_tracking_data default;
"""

_COLUMNS = {"id": "uuid", "date": "date", "data": "jsonb"}
_BATCH = 5000
#: The table itself, and its partitions when it has any.
_PARTS = (
    "select 'ga_tracking_data'::regclass::oid"
    " union select relid::oid from pg_partition_tree('ga_tracking_data')"
)
_PARTITION = re.compile(r"ga_tracking_data_(\d{8})\Z")


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What `metadata status` says of one database."""

    reachable: bool
    reason: str = ""
    server_version: str = ""
    is_standby: bool = False
    table: bool = False
    prune_index: bool = False
    partitioned: bool = False
    rows_estimate: int = 0
    bytes: int = 0
    oldest_date: str = ""
    newest_date: str = ""


class Pruned(msgspec.Struct, frozen=True, kw_only=True):
    """What `metadata prune` deleted, or would delete."""

    before: str
    rows: int
    partitions: int = 0
    dry_run: bool = False


def initialise(dsn: str, *, partitions: bool = False, days_ahead: int = 14) -> bool:
    """Make table and index where there are none; False when they stood already.

    Conflict when a table of that name has other columns. With `partitions`, also makes the days to
    come: run it daily.
    """
    with _connected(dsn) as connection:
        columns = _columns(connection)
        made = not columns
        if made:
            with connection.transaction():
                connection.execute(PARTITIONED_SCHEMA if partitions else SCHEMA)
        elif columns != _COLUMNS:
            raise Conflict(f"a table ga_tracking_data stands there with other columns: {columns}")
        if _is_partitioned(connection):
            _make_days(connection, days_ahead)
        else:
            connection.execute(
                "create index if not exists ga_tracking_data__created_at_idx"
                " on ga_tracking_data (date)"
            )
        return made


def status(dsn: str) -> Status:
    """Never raises for a database that does not answer: that is what it tells."""
    try:
        with _connected(dsn) as connection:
            return _status(connection)
    except Unavailable as error:
        return Status(reachable=False, reason=str(error))


def prune(
    dsn: str,
    before: dt.date,
    *,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Pruned:
    """Delete the rows of days before `before`, in short transactions; then VACUUM.

    Killed half-way it has deleted less, and nothing else; run again, it goes on. Partitions that
    lie wholly before are dropped.
    """
    with _connected(dsn) as connection:
        if dry_run:
            rows = connection.execute(
                "select count(*) from ga_tracking_data where date < %s", (before,)
            ).fetchone()
            return Pruned(before=before.isoformat(), rows=rows[0] if rows else 0, dry_run=True)
        dropped, total = _drop_days(connection, before)
        while True:
            deleted = connection.execute(
                "with gone as (select id, date from ga_tracking_data where date < %s limit %s)"
                " delete from ga_tracking_data t using gone"
                " where t.id = gone.id and t.date = gone.date",
                (before, _BATCH),
            ).rowcount
            total += deleted
            progress(total)
            if deleted < _BATCH:
                break
        if total:
            connection.execute("vacuum ga_tracking_data")
        return Pruned(before=before.isoformat(), rows=total, partitions=dropped)


def before_age(text: str, today: dt.date) -> dt.date:
    """The first day to keep for `--older-than 90d` (days `d`, weeks `w`); Malformed below a day."""
    found = re.fullmatch(r"(\d{1,5})\s*(d|day|days|w|week|weeks)", text.strip().lower())
    if found is None:
        raise Malformed("an age is a number of days or weeks: 90d, 12w", field="older-than")
    days = int(found[1]) * (7 if found[2].startswith("w") else 1)
    if not 1 <= days <= 36_500:
        raise Malformed("an age is 1 day to 100 years: today's rows are in use", field="older-than")
    return today - dt.timedelta(days=days)


def rows_of(dsn: str, email: str) -> list[dict[str, Any]]:
    """The rows of messages to this address, oldest first. Scans the table. Unavailable."""
    with _connected(dsn) as connection:
        found = connection.execute(
            "select id::text, date::text, data from ga_tracking_data"
            " where lower(data ->> 'email') = lower(%s) order by date, id",
            (email,),
        ).fetchall()
    return [{"id": row[0], "date": row[1], "data": row[2]} for row in found]


def _status(connection: psycopg.Connection[Any]) -> Status:
    version = str(connection.info.server_version)
    standby = bool(_one(connection, "select pg_is_in_recovery()"))
    columns = _columns(connection)
    if columns != _COLUMNS:
        reason = "the table ga_tracking_data has other columns" if columns else "there is no table"
        return Status(reachable=True, reason=reason, server_version=version, is_standby=standby)
    index = _one(
        connection,
        "select exists (select from pg_index i join pg_attribute a"
        " on a.attrelid = i.indrelid and a.attnum = i.indkey[0] and a.attname = 'date'"
        " where i.indrelid = 'ga_tracking_data'::regclass)",
    )
    oldest, newest = connection.execute(
        "select min(date)::text, max(date)::text from ga_tracking_data"
    ).fetchone() or (None, None)
    return Status(
        reachable=True,
        server_version=version,
        is_standby=standby,
        table=True,
        prune_index=bool(index),
        partitioned=_is_partitioned(connection),
        rows_estimate=_one(
            connection,
            "select coalesce(sum(greatest(reltuples, 0)), 0)::bigint"  # noqa: S608 - no input
            f" from pg_class where relkind = 'r' and oid in ({_PARTS})",
        ),
        bytes=_one(
            connection,
            f"select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint from ({_PARTS}) t (oid)",  # noqa: S608 - as above
        ),
        oldest_date=oldest or "",
        newest_date=newest or "",
    )


def _columns(connection: psycopg.Connection[Any]) -> dict[str, str]:
    return dict(
        connection.execute(
            "select attname, format_type(atttypid, atttypmod) from pg_attribute"
            " where attrelid = to_regclass('ga_tracking_data') and attnum > 0 and not attisdropped"
        ).fetchall()
    )


def _is_partitioned(connection: psycopg.Connection[Any]) -> bool:
    return bool(
        _one(
            connection,
            "select coalesce((select relkind = 'p' from pg_class"
            " where oid = to_regclass('ga_tracking_data')), false)",
        )
    )


def _make_days(connection: psycopg.Connection[Any], days_ahead: int) -> None:
    today = _one(connection, "select (now() at time zone 'UTC')::date")
    for number in range(days_ahead + 1):
        day = today + dt.timedelta(days=number)
        connection.execute(
            f"create table if not exists ga_tracking_data_{day:%Y%m%d}"
            f" partition of ga_tracking_data"
            f" for values from ('{day}') to ('{day + dt.timedelta(days=1)}')"
        )


def _drop_days(connection: psycopg.Connection[Any], before: dt.date) -> tuple[int, int]:
    """Drop partitions of whole days before; how many, and how many rows they held."""
    dropped = rows = 0
    for (name,) in connection.execute(
        "select relid::regclass::text from pg_partition_tree('ga_tracking_data') where isleaf"
    ).fetchall():
        found = _PARTITION.search(name)
        if found and dt.datetime.strptime(found[1], "%Y%m%d").date() < before:  # noqa: DTZ007
            rows += _one(connection, f"select count(*) from {name}")  # noqa: S608 - matched above
            connection.execute(f"drop table {name}")
            dropped += 1
    return dropped, rows


def _one(connection: psycopg.Connection[Any], sql: str) -> Any:
    row = connection.execute(sql).fetchone()
    return row[0] if row else None


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection in autocommit; Unavailable, in one line, for whatever the server says."""
    attempts(dsn)  # Misconfigured, without the password that libpq would quote
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=2) as connection:
            yield connection
    except psycopg.Error as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unavailable(f"the external metadata database: {reason}") from error
