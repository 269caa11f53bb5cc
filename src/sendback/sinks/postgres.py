"""Events as rows of a table, exactly once by event id.

COPY into a staging table, then one insert that leaves out ids already there: 50,000 events a
second and more. The table is made when it is missing and the user may make it; DDL below and in
docs/howto/receive-webhooks.md.
"""

import contextlib
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, LiteralString
from urllib.parse import unquote

import psycopg
from psycopg import conninfo, sql

from sendback.errors import Malformed, Misconfigured, SendbackError
from sendback.sinks.base import Outcome, Result, StoredEvent
from sendback.sinks.guard import Guard
from sendback.sinks.watchdog import watchdog

#: The default table; another is named by `?table=NAME` or `?table=SCHEMA.NAME` in the url.
TABLE = "sendback_events"

DDL: LiteralString = """
create table if not exists {table} (
  event_id uuid primary key,
  event_type text not null,
  event_time timestamptz not null,
  server_id text not null,
  seq bigint not null,
  email text not null,
  listid text not null,
  sendid text not null,
  mail_class text not null,
  body jsonb not null
)
"""
_STAGING: LiteralString = (
    "create temp table if not exists sendback_staging (event_id uuid, event_type text,"
    " time_ms bigint, seq bigint, body jsonb) on commit delete rows"
)
_INSERT: LiteralString = """
insert into {table} (event_id, event_type, event_time, server_id, seq, email, listid, sendid,
  mail_class, body)
select event_id, event_type, to_timestamp(time_ms / 1000.0), coalesce(body->>'server_id', ''),
  seq, coalesce(body->>'email', ''), coalesce(body->>'listid', ''),
  coalesce(body->>'sendid', ''), coalesce(body->>'mail_class', ''), body
from sendback_staging
on conflict (event_id) do nothing
"""
#: As for database connections: nothing that reads files or sends the password elsewhere.
_PARAMETERS = frozenset(
    ("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert",
     "target_session_attrs", "application_name")
)  # fmt: skip


class PostgresSink:
    """One table; one connection, opened when it is needed."""

    max_batch = 0
    max_parallel = 1

    def __init__(self, url: str, guard: Guard, *, seconds: float = 15.0) -> None:
        """`url`: postgresql://... or a libpq conninfo. Misconfigured when it is neither.

        `seconds`: for a batch from its first octet to the commit, whatever the server does.
        """
        dsn, table = _without_table(url)
        try:
            self._parameters = conninfo.conninfo_to_dict(dsn)
        except psycopg.ProgrammingError:
            raise Misconfigured(
                "the url of a postgres destination is no connection string",
                hint="postgresql://user:password@host/database?table=NAME",
            ) from None
        unknown = self._parameters.keys() - _PARAMETERS
        if unknown:
            raise Misconfigured(
                f"the url of a postgres destination may not set {', '.join(sorted(unknown))}",
                hint=f"it may set table, {', '.join(sorted(_PARAMETERS))}",
            )
        if "," in f"{self._parameters.get('host', '')}{self._parameters.get('port', '')}":
            raise Misconfigured(
                "the url of a postgres destination names one host and one port",
                hint="every address of a host name is tried: give the servers one name",
            )
        name = sql.Identifier(*(table or TABLE).split("."))
        self._ddl = sql.SQL(DDL).format(table=name)
        self._insert = sql.SQL(_INSERT).format(table=name)
        self._guard = guard
        self._db: psycopg.Connection[Any] | None = None
        self._wire: socket.socket | None = None
        self._seconds = seconds

    def deliver(self, batch: Sequence[StoredEvent]) -> Outcome:
        """On DELIVERED every event is committed, once. REFUSED: the server rejects a value."""
        lines = b"".join(map(_line, batch))
        try:
            is_new = self._db is None or self._db.closed
            db = self._connection()
            ends = time.monotonic() + self._seconds
            # A server that froze answers nothing, and its kernel still acknowledges.
            with watchdog.watch(ends, self._shut_down):
                if is_new:
                    self._make_table(db)
                with db.transaction(), db.cursor() as cursor:
                    cursor.execute(_STAGING)
                    with cursor.copy("copy sendback_staging from stdin") as copy:
                        copy.write(lines)
                    cursor.execute(self._insert)
                    new = cursor.rowcount
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            return Outcome(Result.REFUSED, None, _text(error))
        except (psycopg.Error, SendbackError, OSError) as error:
            self.close()
            return Outcome(Result.FAILED, None, _text(error))
        return Outcome(Result.DELIVERED, None, f"{new} new rows")

    def _connection(self) -> psycopg.Connection[Any]:
        if self._db is not None and not self._db.closed:
            return self._db
        milliseconds = int(self._seconds * 1000)
        parameters: dict[str, Any] = {
            "options": f"-c statement_timeout={milliseconds}",
            "application_name": "sendback",
            "tcp_user_timeout": milliseconds,
            **self._parameters,
        }
        host = str(parameters.get("host") or "localhost")
        if host.startswith("/"):
            if not self._guard.allows_private_networks:
                raise Malformed("a socket of this machine, see allow_private_networks")
            addresses = [host]
        else:
            # The name stays for TLS; the connection goes to a checked address.
            addresses = self._guard.addresses(host, int(parameters.get("port") or 5432))
            parameters["host"] = ",".join([host] * len(addresses))
            parameters["hostaddr"] = ",".join(addresses)
        # libpq's is for each address, and below 2 s it takes 2.
        parameters["connect_timeout"] = max(2, int(self._seconds / len(addresses)))
        db = psycopg.connect(**parameters)
        self._db, self._wire = db, socket.socket(fileno=os.dup(db.fileno()))
        return db

    def _make_table(self, db: psycopg.Connection[Any]) -> None:
        """It exists then, unless we may not make it. Another node may be making it, too."""
        with contextlib.suppress(
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.UniqueViolation,  # of the catalog: `if not exists` does not look there
            psycopg.errors.DuplicateTable,
        ):
            db.execute(self._ddl)
            db.commit()
        db.rollback()

    def close(self) -> None:
        """Hang up."""
        if self._db is not None:
            with contextlib.suppress(psycopg.Error):
                self._db.close()
        if self._wire is not None:
            self._wire.close()
        self._db = self._wire = None

    def _shut_down(self) -> None:
        wire = self._wire
        if wire is not None:
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)


def _without_table(url: str) -> tuple[str, str]:
    """The url without its `table`, which libpq would not know; and the table, "" for none."""
    dsn, mark, query = url.partition("?")
    if not mark:
        return url, ""
    pairs = [pair.partition("=") for pair in query.split("&")]
    table = next((unquote(value) for name, _, value in pairs if name == "table"), "")
    rest = "&".join("".join(pair) for pair in pairs if pair[0] != "table")
    return dsn + (f"?{rest}" if rest else ""), table


def _line(event: StoredEvent) -> bytes:
    """One row in COPY's text format. JSON text holds no raw control character, only backslashes."""
    body = event.body
    if b"\\u0000" in body:
        body = _without_nul(body)
    if b"\\" in body:
        body = body.replace(b"\\", b"\\\\")
    head = f"{event.event_id}\t{event.type}\t{event.time_ms}\t{event.seq}\t"
    return head.encode() + body + b"\n"


def _without_nul(body: bytes) -> bytes:
    r"""Jsonb can't hold U+0000: it becomes U+FFFD. An escaped backslash before `u0000` stays."""
    pieces = body.split(b"\\\\")
    return b"\\\\".join(piece.replace(b"\\u0000", b"\\ufffd") for piece in pieces)


def _text(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__)[:500]
