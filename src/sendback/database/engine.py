"""One connection pool to the main database, SQLite or Postgres, with the house's error tree.

`Database.read` and `Database.write` are the only ways in: what means "does not answer now" leaves
them as `Unavailable`, whatever the driver called it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc

from sendback.errors import Misconfigured, SendbackError, Unavailable

CONNECT_TIMEOUT_SECONDS = 2
_BUSY_TIMEOUT_MS = 5_000
_DOWN = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)


class Database:
    """The main database; thread-safe, opens nothing before its first use."""

    def __init__(self, url: str | sa.URL) -> None:
        self.url = _normal_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite(self.url) if self.is_sqlite else _postgres(self.url)

    @classmethod
    def in_directory(cls, data_dir: Path) -> "Database":
        """The SQLite file `sendback.sqlite` of a data directory."""
        path = str(Path(data_dir) / "sendback.sqlite")
        return cls(sa.URL.create("sqlite", database=path))

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one moment (SQLite) or one statement's moment (Postgres)."""
        with _translated(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction: all of it is durable when the block ends, or nothing is."""
        with (
            _translated(),
            self.engine.connect().execution_options(immediate=True) as connection,
            connection.begin(),
        ):
            yield connection

    def ping(self) -> None:
        """Return when the database answers; Unavailable otherwise, within about two seconds."""
        with self.read() as connection:
            connection.execute(sa.text("SELECT 1"))

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _DOWN as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines() or [""]
        raise Unavailable(f"the main database does not answer: {reason[0]}") from error
    except exc.ProgrammingError as error:
        reason = str(error.orig).strip().splitlines() or [""]
        raise SendbackError(f"the main database refused a statement: {reason[0]}") from error


def _normal_url(url: str | sa.URL) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        raise Misconfigured("database_url is not an SQLAlchemy URL", place="database_url") from None
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "sqlite+pysqlite", "postgresql+psycopg"}:
        raise Misconfigured(
            f"database_url names {parsed.drivername!r}",
            place="database_url",
            hint="use sqlite:///PATH or postgresql://USER@HOST/NAME",
        )
    return parsed


def _postgres(url: sa.URL) -> sa.Engine:
    return sa.create_engine(
        url,
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=10,
        pool_timeout=CONNECT_TIMEOUT_SECONDS,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "sendback",
            "tcp_user_timeout": 10_000,
        },
    )


def _sqlite(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000})

    @event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = (
            None  # we say BEGIN ourselves, so that DDL is transactional too
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")  # an erased address is in no free page
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA cache_size=-32000")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer takes its lock at once: a deferred one that upgrades later fails without waiting.
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
