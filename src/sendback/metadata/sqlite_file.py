"""The file behind local metadata: schema of `metadata.sqlite`, and its one writer in a process.

WAL and FULL: synced at commit. Rows are added and deleted, never changed in what they say, so what
was read may be kept. Row numbers are never used twice (autoincrement): the token of a pruned
message can't name another one.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from sendback.errors import Misconfigured, Unavailable
from sendback.model import MessageFacts

_SCHEMA = """
create table store (
  id blob not null,                 -- 16 random bytes: part of every token's MAC
  version integer not null,         -- of this schema
  created_at integer not null
);
create table links (
  id integer primary key autoincrement,
  sendid text not null,
  listid text not null,
  url text not null,                -- up to the question mark
  used_day integer not null,        -- days since 1970: the last day a message was tagged with it
  unique (sendid, listid, url)
);
create table placements (
  id integer primary key autoincrement,
  link integer not null references links (id) on delete cascade,
  kind integer not null,
  link_id text not null,
  pos integer not null,
  universal integer not null,
  html_or_text text not null,
  unique (link, kind, link_id, pos, universal, html_or_text)
);
create table messages (
  id integer primary key autoincrement,
  tagged_at integer not null,
  email text not null,
  listid text not null,
  sendid text not null,
  click_tracking_id text not null,
  mail_class text not null,
  url_domain text not null,
  instance_id text not null,
  privacy text not null
);
"""
SCHEMA_VERSION = 1
_STORE_ID = 16
_DAY = 86400
#: Rows remembered by a process: some 8 MB of them.
CACHED = 20_000


class Placement(NamedTuple):
    """A place of a URL in a message: equal for all recipients of a send."""

    sendid: str
    listid: str
    url: str
    kind: int
    link_id: str
    pos: int
    universal: bool
    html_or_text: str


class LinkRow(NamedTuple):
    """A row of `links`, as statistics copies it."""

    id: int
    sendid: str
    listid: str
    url: str


Job = tuple[MessageFacts, tuple[Placement, ...]]


class Ids(NamedTuple):
    """Where a job's rows stand."""

    store_id: bytes
    message: int
    placements: tuple[int, ...]


class Writer:
    """The one writing connection of a process; `run` and the rest hold its lock."""

    def __init__(self, path: Path, clock: Callable[[], float], busy_timeout: float) -> None:
        self._path = path
        self._clock = clock
        self._busy_timeout = busy_timeout
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._links: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._placements: dict[Placement, int] = {}
        self._data_version = 0
        self._inode = 0
        self.store_id = b""

    def open(self) -> bytes:
        """Open the file, made when absent; its store id."""
        with self._lock:
            self._open()
            return self.store_id

    def close(self) -> None:
        """Give the file back; it opens again by itself."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def run(self, jobs: Sequence[Job], deadline: float | None) -> Sequence[Ids]:  # noqa: ARG002
        """Rows of all jobs in one transaction, synced; Unavailable when that can't be."""
        with self._lock:
            try:
                connection = self._connection_now()
                connection.execute("begin immediate")
                self._forget_if_changed(connection)
                ids = [self._insert(connection, job) for job in jobs]
                connection.execute("commit")
            except sqlite3.Error as error:
                self._abandon()
                raise Unavailable(f"{self._path.name} can't be written: {error}") from error
            return ids

    def _insert(self, connection: sqlite3.Connection, job: Job) -> Ids:
        message, placements = job
        message_id = connection.execute(
            "insert into messages (tagged_at, email, listid, sendid, click_tracking_id, mail_class,"
            " url_domain, instance_id, privacy) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message.tagged_at,
                message.email,
                message.listid,
                message.sendid,
                message.click_tracking_id,
                message.mail_class,
                message.url_domain,
                message.instance_id,
                str(message.privacy),
            ),
        ).lastrowid
        assert message_id is not None
        day = int(self._clock()) // _DAY
        return Ids(
            self.store_id,
            message_id,
            tuple(self._placement(connection, placement, day) for placement in placements),
        )

    def _placement(self, connection: sqlite3.Connection, placement: Placement, day: int) -> int:
        triple = placement[:3]
        link, used_day = self._links.get(triple, (0, 0))
        if used_day != day:
            link = connection.execute(
                "insert into links (sendid, listid, url, used_day) values (?, ?, ?, ?)"
                " on conflict do update set used_day = max(used_day, excluded.used_day)"
                " returning id",
                (*triple, day),
            ).fetchone()[0]
            if len(self._links) >= CACHED:
                self._links.clear()
            self._links[triple] = (link, day)
        known = self._placements.get(placement)
        if known is None:
            values = (link, *placement[3:])
            connection.execute(
                "insert or ignore into placements"
                " (link, kind, link_id, pos, universal, html_or_text) values (?, ?, ?, ?, ?, ?)",
                values,
            )
            known = connection.execute(
                "select id from placements where link = ? and kind = ? and link_id = ?"
                " and pos = ? and universal = ? and html_or_text = ?",
                values,
            ).fetchone()[0]
            if len(self._placements) >= CACHED:
                self._placements.clear()
            self._placements[placement] = known
        return int(known)

    def prune(self, before: int, *, dry_run: bool, batch: int) -> int:
        """See LocalStore."""
        day = before // _DAY
        if dry_run:
            with self._lock:
                connection = self._connection_now()
                return int(
                    connection.execute(
                        "select (select count(*) from messages where tagged_at < ?)"
                        " + (select count(*) from links where used_day < ?)",
                        (before, day),
                    ).fetchone()[0]
                )
        return self._delete("messages", "tagged_at < ?", before, batch) + self._delete(
            "links", "used_day < ?", day, batch
        )

    def erase(self, email: str) -> int:
        """See LocalStore."""
        removed = self._delete("messages", "lower(email) = lower(?)", email, 5000)
        for form in sorted({email, email.replace("@", "%40"), quote(email, safe="")}):
            removed += self._delete("links", "instr(lower(url), lower(?)) > 0", form, 5000)
        return removed

    def _delete(self, table: str, condition: str, value: object, batch: int) -> int:
        """In short transactions, so that tagging goes on between them."""
        total = 0
        while True:
            with self._lock:
                try:
                    connection = self._connection_now()
                    connection.execute("begin immediate")
                    count = connection.execute(
                        f"delete from {table} where id in"  # noqa: S608 - our own texts
                        f" (select id from {table} where {condition} order by id limit ?)",
                        (value, batch),
                    ).rowcount
                    connection.execute("commit")
                    self._links.clear()
                    self._placements.clear()
                except sqlite3.Error as error:
                    self._abandon()
                    raise Unavailable(f"{self._path.name} can't be written: {error}") from error
            total += count
            if count < batch:
                return total

    def _connection_now(self) -> sqlite3.Connection:
        """Opened again when the file was removed or replaced behind us: rows there are lost."""
        if self._connection is not None:
            try:
                if os.stat(self._path).st_ino == self._inode:  # noqa: PTH116 - cheaper
                    return self._connection
            except OSError:
                pass
            self._abandon()
        return self._open()

    def _forget_if_changed(self, connection: sqlite3.Connection) -> None:
        """Another process wrote (pruned?) since: remembered row numbers may be gone."""
        version = connection.execute("pragma data_version").fetchone()[0]
        if version != self._data_version:
            self._data_version = version
            self._links.clear()
            self._placements.clear()

    def _abandon(self) -> None:
        """After a failure: nothing of the transaction stands, nothing remembered is sure."""
        self._links.clear()
        self._placements.clear()
        if self._connection is not None:
            self._connection.close()  # rolls back
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))  # addresses: not for all
            connection = connect(self._path, "rw", self._busy_timeout)
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            connection.execute("pragma foreign_keys = on")
            connection.execute("pragma secure_delete = on")
            connection.execute("begin immediate")
            if not connection.execute(
                "select 1 from sqlite_master where name = 'store'"
            ).fetchall():
                for statement in _SCHEMA.split(";\n")[:-1]:
                    connection.execute(statement)
                connection.execute(
                    "insert into store values (?, ?, ?)",
                    (os.urandom(_STORE_ID), SCHEMA_VERSION, int(self._clock())),
                )
            connection.execute("commit")
            store_id, version = connection.execute("select id, version from store").fetchone()
            self._inode = os.stat(self._path).st_ino  # noqa: PTH116 - as above
        except (sqlite3.Error, OSError) as error:
            if connection is not None:
                connection.close()
            raise Unavailable(f"{self._path} can't be opened: {error}") from error
        if version > SCHEMA_VERSION:
            connection.close()
            raise Misconfigured("was written by a newer version of sendback", place=str(self._path))
        self.store_id = store_id
        self._connection = connection
        return connection


def connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    """A connection in autocommit; `mode` is ro or rw: never makes the file."""
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    return sqlite3.connect(
        uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )
