"""Answers kept under an idempotency key, so that a repeated request does nothing twice."""

import hashlib
import time
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from sendback.database.consumer import upsert
from sendback.database.engine import Database
from sendback.database.schema import idempotency
from sendback.errors import Conflict, Malformed

_KEPT_MS = 24 * 3600 * 1000
#: A first request that never finished (its process died) stops blocking after this long.
_ABANDONED_MS = 10 * 60 * 1000


class Kept(msgspec.Struct, frozen=True):
    """What was answered the first time."""

    status: int
    body: str


class IdempotencyKeys:
    """One table row a key and principal, for a day. Unavailable while the database is down."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def begin(self, principal: str, key: str, request: bytes) -> Kept | None:
        """None: go on, this is the first one. Else the answer that was given.

        Malformed when the key came with another request before, Conflict while that one is still
        at work.
        """
        now = int(self._clock() * 1000)
        table = idempotency
        digest = hashlib.sha256(request).hexdigest()
        row = sa.and_(table.c.principal == principal, table.c.key == key)
        values = {
            "principal": principal,
            "key": key,
            "request_hash": digest,
            "body": "",
            "created_ms": now,
        }
        with self._database.write() as connection:
            stale = sa.or_(
                table.c.created_ms < now - _KEPT_MS,
                sa.and_(table.c.status.is_(None), table.c.created_ms < now - _ABANDONED_MS),
            )
            connection.execute(sa.delete(table).where(stale))
            insert = upsert(connection)(table).values(values).on_conflict_do_nothing()
            if connection.execute(insert).rowcount == 1:
                return None
            found = connection.execute(sa.select(table).where(row)).one()
        if found.request_hash != digest:
            raise Malformed("this Idempotency-Key came with another request", field="header")
        if found.status is None:
            raise Conflict("the first request with this Idempotency-Key is still at work")
        return Kept(found.status, found.body)

    def finish(self, principal: str, key: str, status: int, body: str) -> None:
        """Keep the answer; a fault of ours (5xx) is forgotten, so that a retry is a first one."""
        table = idempotency
        row = sa.and_(table.c.principal == principal, table.c.key == key)
        with self._database.write() as connection:
            if status >= 500:
                connection.execute(sa.delete(table).where(row))
            else:
                connection.execute(sa.update(table).where(row).values(status=status, body=body))
