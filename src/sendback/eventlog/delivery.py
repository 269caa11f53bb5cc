"""How far each consumer is, and what happened on the way.

A consumer is a name with a cursor: a destination, the statistics, the suppression list. What is
behind its cursor is done: delivered, parked for a later try of its own, or a dead letter.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

Query = Callable[[str, Sequence[object]], list[Any]]
Write = Callable[[], AbstractContextManager[sqlite3.Connection]]


class ConsumerState(NamedTuple):
    """A consumer's row."""

    name: str
    seq: int
    state: str = "active"
    """active, paused (by an operator) or disabled (the receiver said 410)."""
    reason: str = ""
    changed_ms: int = 0
    first_attempts: int = 0
    retries: int = 0
    delivered: int = 0
    expired: int = 0
    """Events that retention took away before they were delivered."""
    failing_since_ms: int | None = None


class Attempt(NamedTuple):
    """One try to hand events over."""

    consumer: str
    at_ms: int
    first_seq: int
    last_seq: int
    events: int
    outcome: str
    """delivered, refused, failed, throttled or gone."""
    status: int | None
    duration_ms: int
    answer: str
    """The head of what came back, or the error."""


class Parked(NamedTuple):
    """An event that its receiver could not take while it took others."""

    seq: int
    tries: int
    next_ms: int
    since_ms: int
    reason: str


class DeadLetter(NamedTuple):
    """What nobody tries to deliver any more."""

    id: int
    consumer: str
    seq: int
    type: str
    at_ms: int
    tries: int
    reason: str
    body: bytes


_STATE = (
    "name, seq, state, reason, changed_ms, first_attempts, retries, delivered, expired,"
    " failing_since_ms"
)
_DEAD = "id, consumer, seq, type, at_ms, tries, reason, body"


class Deliveries:
    """The consumers of one event log; made by it, reached as `log.deliveries`."""

    def __init__(
        self, query: Query, write: Write, last_seq: Callable[[], int], clock: Callable[[], float]
    ) -> None:
        self._query, self._write, self._last_seq, self._clock = query, write, last_seq, clock

    # -- cursors and state -----------------------------------------------------------------

    def state(self, consumer: str) -> ConsumerState:
        """Where the consumer stands; a new one at 0."""
        rows = self._query(f"select {_STATE} from consumers where name = ?", (consumer,))  # noqa: S608
        return ConsumerState(*rows[0]) if rows else ConsumerState(consumer, 0)

    def states(self) -> list[ConsumerState]:
        """Every consumer that ever read."""
        rows = self._query(f"select {_STATE} from consumers order by name", ())  # noqa: S608
        return [ConsumerState(*row) for row in rows]

    def move(self, consumer: str, seq: int) -> None:
        """Set the cursor: forward after work, back for a replay."""
        with self._write() as db:
            _ensure(db, consumer)
            db.execute("update consumers set seq = ? where name = ?", (seq, consumer))

    def set_state(self, consumer: str, state: str, reason: str = "") -> None:
        """Pause, resume ("active") or disable.

        An outage ends with resuming: what waited meanwhile was not due.
        """
        with self._write() as db:
            _ensure(db, consumer)
            db.execute(
                "update consumers set failing_since_ms = case when ?1 = 'active'"
                " and state <> 'active' then null else failing_since_ms end,"
                " state = ?1, reason = ?2, changed_ms = ?3 where name = ?4",
                (state, reason, self._now_ms(), consumer),
            )

    def forget(self, consumer: str) -> None:
        """The consumer is no more; its dead letters stay until dropped."""
        with self._write() as db:
            for table in ("parked", "attempts"):
                db.execute(f"delete from {table} where consumer = ?", (consumer,))  # noqa: S608
            db.execute("delete from consumers where name = ?", (consumer,))

    # -- the outcome of one step -----------------------------------------------------------

    def note(
        self,
        consumer: str,
        *,
        moved: tuple[int, int] | None = None,
        attempts: Sequence[Attempt] = (),
        delivered: int = 0,
        is_retry: bool = False,
        park: Sequence[Parked] = (),
        unpark: Sequence[int] = (),
        bury: Sequence[tuple[int, int, str]] = (),
        failing: bool | None = None,
    ) -> None:
        """Everything that one step of a destination changed, in one transaction.

        `moved`: cursor before and after; when an operator set it elsewhere meanwhile, it stays
        there. `bury`: (seq, tries, reason) of events that become dead letters. `failing`: True when
        the receiver took nothing, False when it took something, None to leave it.
        """
        now = self._now_ms()
        with self._write() as db:
            _ensure(db, consumer)
            db.execute(
                "update consumers set seq = case seq when ? then ? else seq end,"
                " delivered = delivered + ?,"
                " first_attempts = first_attempts + ?, retries = retries + ?,"
                " failing_since_ms = case ? when 0 then null"
                " when 1 then coalesce(failing_since_ms, ?) else failing_since_ms end"
                " where name = ?",
                (
                    *(moved or (-1, -1)),
                    delivered,
                    0 if is_retry else len(attempts),
                    len(attempts) if is_retry else 0,
                    -1 if failing is None else int(failing),
                    now,
                    consumer,
                ),
            )
            db.executemany(
                "insert into attempts (consumer, at_ms, first_seq, last_seq, count, outcome,"
                " status, duration_ms, answer) values (?,?,?,?,?,?,?,?,?)",
                attempts,
            )
            db.executemany(
                "insert or replace into parked values (?,?,?,?,?,?)",
                [(consumer, p.seq, p.tries, p.next_ms, p.since_ms, p.reason) for p in park],
            )
            db.executemany(
                "delete from parked where consumer = ? and seq = ?",
                [(consumer, seq) for seq in unpark],
            )
            db.executemany(
                "insert into dead_letters (consumer, seq, event_id, type, at_ms, tries, reason,"
                " body) select ?, seq, event_id, type, ?, ?, ?, body from events where seq = ?",
                [(consumer, now, tries, reason[:1000], seq) for seq, tries, reason in bury],
            )

    # -- parked and dead -------------------------------------------------------------------

    def due(self, consumer: str, limit: int) -> list[Parked]:
        """Parked events whose next try has come."""
        sql = (
            "select seq, tries, next_ms, since_ms, reason from parked"
            " where consumer = ? and next_ms <= ? order by next_ms limit ?"
        )
        return [Parked(*row) for row in self._query(sql, (consumer, self._now_ms(), limit))]

    def parked_count(self, consumer: str) -> int:
        """How many events wait for a try of their own."""
        rows = self._query("select count(*) from parked where consumer = ?", (consumer,))
        return int(rows[0][0])

    def dead_letters(
        self, consumer: str | None = None, *, after: int = 0, limit: int = 100
    ) -> list[DeadLetter]:
        """Dead letters of one consumer, or of all, oldest first."""
        sql = (
            f"select {_DEAD} from dead_letters where id > ? and (? is null or consumer = ?)"  # noqa: S608
            " order by id limit ?"
        )
        rows = self._query(sql, (after, consumer, consumer, limit))
        return [DeadLetter(*row) for row in rows]

    def dead_count(self, consumer: str | None = None) -> int:
        """How many dead letters there are."""
        sql = "select count(*) from dead_letters where (? is null or consumer = ?)"
        return int(self._query(sql, (consumer, consumer))[0][0])

    def dead_counts(self) -> dict[str, int]:
        """How many dead letters each has that has any."""
        sql = "select consumer, count(*) from dead_letters group by consumer"
        return {str(name): int(count) for name, count in self._query(sql, ())}

    def drop_dead_letters(self, ids: Iterable[int]) -> int:
        """Delete them for good; how many there were."""
        with self._write() as db:
            before = db.total_changes
            db.executemany("delete from dead_letters where id = ?", [(i,) for i in ids])
            return db.total_changes - before

    def retry_dead_letters(self, letters: Sequence[DeadLetter]) -> int:
        """Park them for an immediate try; how many. An event that was pruned is kept again.

        Records of `finishing` become pending again.
        """
        now = self._now_ms()
        with self._write() as db:
            for letter in letters:
                if letter.consumer == "finishing":
                    db.execute(
                        "insert into pending (payload, first_ms, next_ms, tries, reason)"
                        " values (?, ?, ?, 0, 'retried by hand')",
                        (letter.body, now, now),
                    )
                else:
                    _keep_again(db, letter.id)
                    db.execute(
                        "insert or replace into parked values (?, ?, 0, ?, ?, ?)",
                        (letter.consumer, letter.seq, now, now, "retried by hand"),
                    )
                db.execute("delete from dead_letters where id = ?", (letter.id,))
        return len(letters)

    def attempts(
        self, consumer: str, limit: int = 50, *, failed_only: bool = False
    ) -> list[Attempt]:
        """The newest attempts, newest first; `failed_only`: those that did not deliver."""
        sql = (
            "select consumer, at_ms, first_seq, last_seq, count, outcome, status, duration_ms,"
            " answer from attempts where consumer = ? and (outcome <> 'delivered' or not ?)"
            " order by id desc limit ?"
        )
        return [Attempt(*row) for row in self._query(sql, (consumer, failed_only, limit))]

    def oldest_waiting_ms(self, consumer: str) -> int | None:
        """When the oldest event that the consumer has not had was recorded, parked or not."""
        sql = (
            "select min(recorded_ms) from (select * from (select recorded_ms from events"
            " where seq > ? order by seq limit 1) union all select events.recorded_ms"
            " from parked join events using (seq) where consumer = ?)"
        )
        found = self._query(sql, (self.state(consumer).seq, consumer))[0][0]
        return None if found is None else int(found)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def _ensure(db: sqlite3.Connection, consumer: str) -> None:
    db.execute("insert or ignore into consumers (name, seq) values (?, 0)", (consumer,))


def _keep_again(db: sqlite3.Connection, letter: int) -> None:
    """The event of a dead letter stands in the log, at its old place, when it was pruned."""
    db.execute(
        "insert or ignore into events (seq, event_id, type, time_ms, recorded_ms, body)"
        " select seq, event_id, type, json_extract(cast(body as text), '$.event_time_ms'),"
        " json_extract(cast(body as text), '$.event_time_ms'), body from dead_letters"
        " where id = ?",
        (letter,),
    )
