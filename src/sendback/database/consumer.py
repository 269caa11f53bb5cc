"""What the consumers of the event log share: the shape of an event, and a cursor each.

A cursor stands in the main database and moves in the transaction that holds the batch's effects:
a batch given twice changes nothing the second time.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sendback.database.engine import Database
from sendback.database.schema import cursors

#: Consumers of several nodes that share a database take turns; numbers are for pg_advisory locks.
_LOCKS = {"statistics": 0x73656E6201, "suppression": 0x73656E6202, "counting": 0x73656E6203}


class StoredEvent(Protocol):
    """An event of the log, as `sendback.eventlog` gives it."""

    @property
    def seq(self) -> int:
        """Its place in the log of its node, from 1."""

    @property
    def type(self) -> str:
        """The wire name."""

    @property
    def time_ms(self) -> int:
        """When it happened."""

    @property
    def event_id(self) -> str:
        """The UUIDv7."""

    @property
    def body(self) -> bytes:
        """The JSON object as delivered."""


E = TypeVar("E", bound=StoredEvent)


def cursor(database: Database, consumer: str, server_id: str) -> int:
    """The seq up to which this consumer has taken the events of that node; 0 at first."""
    with database.read() as connection:
        return _at(connection, consumer, server_id)


def unseen(
    connection: sa.Connection, consumer: str, server_id: str, batch: Sequence[E]
) -> Sequence[E]:
    """The events after the cursor, which moves behind them; inside the caller's transaction."""
    if connection.dialect.name == "postgresql" and consumer in _LOCKS:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCKS[consumer])))
    at = _at(connection, consumer, server_id)
    fresh = [event for event in batch if event.seq > at]
    if fresh:
        move(connection, consumer, server_id, max(event.seq for event in fresh))
    return fresh


def move(connection: sa.Connection, consumer: str, server_id: str, seq: int) -> None:
    """Put the cursor to `seq`."""
    insert = upsert(connection)(cursors).values(consumer=consumer, server_id=server_id, seq=seq)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["consumer", "server_id"], set_={"seq": insert.excluded.seq}
        )
    )


def upsert(connection: sa.Connection) -> type[sqlite.Insert] | type[postgresql.Insert]:
    """The INSERT of this connection's dialect that knows ON CONFLICT."""
    return postgresql.Insert if connection.dialect.name == "postgresql" else sqlite.Insert


def _at(connection: sa.Connection, consumer: str, server_id: str) -> int:
    query = sa.select(cursors.c.seq).where(
        cursors.c.consumer == consumer, cursors.c.server_id == server_id
    )
    return connection.execute(query).scalar() or 0
