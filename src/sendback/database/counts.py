"""Bounces counted by address and rule, shared by every node of the main database.

The rules themselves are in `sendback.bounces`; here is what must be one transaction. Addresses
stand here as hashes only.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import sqlalchemy as sa

from sendback.database import consumer
from sendback.database.engine import Database
from sendback.database.schema import bounce_answers, bounce_counts, email_hash

CONSUMER = "counting"
_CHUNK = 500


class Counted(msgspec.Struct, frozen=True):
    """One bounce to count: rule by name, and the rule's numbers."""

    email: str
    rule: str
    time_ms: int
    record_id: bytes
    bounces: int
    span_ms: int
    forget_ms: int


class BounceCounts:
    """Every method: Unavailable while the database is down."""

    def __init__(self, database: Database, server_id: str) -> None:
        self._database = database
        self._server_id = server_id

    def count(self, bounces: Sequence[Counted]) -> list[bool]:
        """Count these and say for each whether its rule's number and span are reached now.

        A record counted before gets the answer that it got then, and is not counted again.
        """
        with self._database.write() as connection:
            consumer.unseen(connection, CONSUMER, self._server_id, ())  # nodes take turns
            known = _answers(connection, {bounce.record_id for bounce in bounces})
            fresh = []
            answers = []
            for bounce in bounces:
                key = (bounce.record_id, email_hash(bounce.email))
                if key not in known:
                    known[key] = _counted(connection, key[1], bounce)
                    fresh.append(
                        {
                            "record_id": key[0],
                            "email_hash": key[1],
                            "bad_address": known[key],
                            "time_ms": bounce.time_ms,
                        }
                    )
                answers.append(known[key])
            if fresh:
                connection.execute(sa.insert(bounce_answers), fresh)
        return answers

    def cursor(self) -> int:
        """The seq up to which signs of life are taken in."""
        return consumer.cursor(self._database, CONSUMER, self._server_id)

    def consume(self, batch: Sequence[consumer.StoredEvent], alive: Mapping[str, int]) -> int:
        """Forget the bounces of addresses that showed life (address to time); the new cursor."""
        if not batch:
            return self.cursor()
        with self._database.write() as connection:
            consumer.unseen(connection, CONSUMER, self._server_id, batch)
            _forget(connection, alive)
        return max(event.seq for event in batch)

    def forget(self, alive: Mapping[str, int]) -> None:
        """Forget the bounces of these addresses up to a time (milliseconds)."""
        with self._database.write() as connection:
            _forget(connection, alive)

    def of(self, email: str) -> list[dict[str, object]]:
        """What is counted for this address, by rule."""
        table = bounce_counts
        query = sa.select(table.c.rule, table.c.bounces, table.c.first_ms, table.c.last_ms)
        with self._database.read() as connection:
            found = connection.execute(
                query.where(table.c.email_hash == email_hash(email)).order_by(table.c.rule)
            )
            return [dict(row) for row in found.mappings()]

    def erase(self, email: str) -> int:
        """Forget all that is counted for this address; how many counts."""
        key = email_hash(email)
        with self._database.write() as connection:
            connection.execute(sa.delete(bounce_answers).where(bounce_answers.c.email_hash == key))
            gone = sa.delete(bounce_counts).where(bounce_counts.c.email_hash == key)
            return connection.execute(gone).rowcount

    def prune(self, *, answers_before_ms: int, counts_before_ms: int) -> None:
        """Drop answers no replay can ask for any more, and counts that would start anew."""
        with self._database.write() as connection:
            answers, counts = bounce_answers, bounce_counts
            connection.execute(sa.delete(answers).where(answers.c.time_ms < answers_before_ms))
            connection.execute(sa.delete(counts).where(counts.c.last_ms < counts_before_ms))


def _answers(
    connection: sa.Connection, record_ids: Iterable[bytes]
) -> dict[tuple[bytes, str], bool]:
    ids = sorted(record_ids)
    table = bounce_answers
    found: dict[tuple[bytes, str], bool] = {}
    for start in range(0, len(ids), _CHUNK):
        query = sa.select(table.c.record_id, table.c.email_hash, table.c.bad_address)
        chunk = query.where(table.c.record_id.in_(ids[start : start + _CHUNK]))
        found |= {(bytes(row[0]), row[1]): row[2] for row in connection.execute(chunk)}
    return found


_COUNT = sa.text(
    "INSERT INTO bounce_counts AS c (email_hash, rule, bounces, first_ms, last_ms)"
    " VALUES (:email_hash, :rule, 1, :time_ms, :time_ms)"
    " ON CONFLICT (email_hash, rule) DO UPDATE SET"
    " bounces = CASE WHEN excluded.last_ms - c.last_ms > :forget_ms THEN 1"
    " ELSE c.bounces + 1 END,"
    " first_ms = CASE WHEN excluded.last_ms - c.last_ms > :forget_ms"
    " OR excluded.first_ms < c.first_ms THEN excluded.first_ms ELSE c.first_ms END,"
    " last_ms = CASE WHEN excluded.last_ms > c.last_ms THEN excluded.last_ms ELSE c.last_ms END"
    " RETURNING bounces, first_ms, last_ms"
)


def _counted(connection: sa.Connection, key: str, bounce: Counted) -> bool:
    values = {
        "email_hash": key,
        "rule": bounce.rule,
        "time_ms": bounce.time_ms,
        "forget_ms": bounce.forget_ms,
    }
    count, first_ms, last_ms = connection.execute(_COUNT, values).one()
    return bool(count >= bounce.bounces and last_ms - first_ms >= bounce.span_ms)


def _forget(connection: sa.Connection, alive: Mapping[str, int]) -> None:
    if not alive:
        return
    table = bounce_counts
    times = {email_hash(email): time_ms for email, time_ms in alive.items()}
    hashes = sorted(times)
    for start in range(0, len(hashes), _CHUNK):
        chunk = hashes[start : start + _CHUNK]
        query = sa.select(table.c.email_hash, table.c.last_ms).where(table.c.email_hash.in_(chunk))
        gone = {key for key, last_ms in connection.execute(query) if last_ms <= times[key]}
        if gone:
            connection.execute(sa.delete(table).where(table.c.email_hash.in_(sorted(gone))))
