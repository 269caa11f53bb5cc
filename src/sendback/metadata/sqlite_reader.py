"""Reading `metadata.sqlite` from any number of threads: web, smtp, worker.

Each thread has a connection of its own, read-only; rows are kept once read, because they never
change. A file that was replaced is noticed by the store id in the tokens.
"""

import os
import sqlite3
import threading
import weakref
from pathlib import Path
from typing import Any

from sendback.errors import Misconfigured, NotFound, Unavailable
from sendback.metadata.sqlite_file import CACHED, SCHEMA_VERSION, Placement, connect
from sendback.model import MessageFacts, Privacy


class Reader:
    """Reads from any number of threads, each over its own connection; never writes or waits."""

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._own = threading.local()
        self._leases: weakref.WeakSet[_Lease] = weakref.WeakSet()
        self._generation = 0
        self._mutex = threading.Lock()
        self._store_id = b""
        self._inode = 0
        self._placements: dict[int, Placement] = {}

    def store_id(self, hint: bytes = b"") -> bytes:
        """The id of the file that stands there now; NotFound while there is none.

        Looked at again only when a token's first bytes (`hint`) are not this id's.
        """
        if not self._store_id or hint != self._store_id[: len(hint)]:
            with self._mutex:
                self._look_again()
        return self._store_id

    def placement(self, number: int) -> Placement:
        """A row of `placements` with its link; NotFound when it was pruned. Rows don't change."""
        found = self._placements.get(number)
        if found is None:
            rows = self.rows(
                "select sendid, listid, url, kind, link_id, pos, universal, html_or_text"
                " from placements join links on links.id = placements.link"
                " where placements.id = ?",
                (number,),
            )
            if not rows:
                raise NotFound("the link's row was pruned")
            found = Placement(*rows[0])
            if len(self._placements) >= CACHED:
                self._placements.clear()
            self._placements[number] = found
        return found

    def message(self, number: int) -> MessageFacts:
        """A row of `messages`; NotFound when it was pruned or erased."""
        rows = self.rows(
            "select email, listid, sendid, click_tracking_id, mail_class, url_domain, instance_id,"
            " tagged_at, privacy from messages where id = ?",
            (number,),
        )
        if not rows:
            raise NotFound("the message's row was pruned or erased")
        email, listid, sendid, tracking, mail_class, url_domain, instance, at, privacy = rows[0]
        return MessageFacts(
            email=email,
            listid=listid,
            sendid=sendid,
            click_tracking_id=tracking,
            mail_class=mail_class,
            url_domain=url_domain,
            instance_id=instance,
            tagged_at=at,
            privacy=Privacy(privacy),
        )

    def rows(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """A query's rows; NotFound while there is no file, Unavailable when it can't be read."""
        lease: _Lease | None = getattr(self._own, "lease", None)
        try:
            if lease is None or lease.generation != self._generation:
                self._own.lease = None
                connection = connect(self._path, "ro", self._busy_timeout)
                lease = self._own.lease = _Lease(connection, self._generation)
                self._leases.add(lease)
            return lease.connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self._own.lease = None
            if not self._path.exists() or "no such table" in str(error):
                raise NotFound("this node has no local metadata (yet)") from None
            raise Unavailable(f"{self._path.name} can't be read: {error}") from error

    def close(self) -> None:
        """Close every thread's connection; whoever reads next opens a new one."""
        self._generation += 1
        for lease in list(self._leases):
            lease.connection.close()

    def _look_again(self) -> None:
        try:
            inode = os.stat(self._path).st_ino  # noqa: PTH116 - cheaper: forged tokens come here
        except OSError:
            raise NotFound("this node has no local metadata (yet)") from None
        if self._store_id and inode == self._inode:
            return
        self._generation += 1
        self._placements.clear()
        store = self.rows("select id, version from store")
        if not store:
            raise NotFound("this node has no local metadata (yet)")
        if store[0][1] > SCHEMA_VERSION:
            raise Misconfigured("was written by a newer version of sendback", place=str(self._path))
        self._store_id, self._inode = store[0][0], inode


class _Lease:
    """A thread's connection, closed when the thread ends: web servers replace idle threads."""

    def __init__(self, connection: sqlite3.Connection, generation: int) -> None:
        self.connection = connection
        self.generation = generation

    def __del__(self) -> None:
        self.connection.close()
