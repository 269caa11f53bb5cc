"""Append in big transactions, read by seq.

`EventLog.transaction()` is how finishing gets exactly-once: events, journal positions, dedupe
keys and pending records are committed together or not at all.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from sendback.errors import Unavailable
from sendback.eventlog import schema
from sendback.eventlog.delivery import Deliveries
from sendback.eventlog.erasure import Erasure
from sendback.eventlog.retention import Retention
from sendback.model import Event

_ENCODE = msgspec.json.Encoder().encode
_CLOCK_SLACK_MS = 3_600_000
_COLUMNS = "seq, type, time_ms, event_id, body"


class StoredEvent(NamedTuple):
    """One event of the log."""

    seq: int
    type: str
    time_ms: int
    event_id: str
    body: bytes
    """The JSON object exactly as it is delivered."""


class Pending(NamedTuple):
    """A journal record that can't be finished yet."""

    id: int
    payload: bytes
    first_ms: int
    tries: int
    faults: int
    """How many of the tries ended in a fault of ours, not in a database that was down."""


class _Identity(msgspec.Struct):
    email: str = ""


class EventLog:
    """The log of one node. Unavailable when the file can't be read or written.

    Any thread may call any method; writes go through one connection, one after another.
    """

    def __init__(
        self, path: Path, readonly: bool = False, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self._clock = Path(path), clock
        self._readers = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._lock = threading.RLock()
        if readonly:
            self._writer = None
            self._reader()
        else:
            self._writer = schema.open_writing(self._path)
            self._next_seq = self._number("last_seq") + 1
        self.deliveries = Deliveries(self._query, self._write, self.last_seq, clock)
        self.erasure = Erasure(self._query, self._write)
        self.retention = Retention(self._path, self._query, self._write, clock)

    # -- appending -------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """All of the block is committed and synced, or none of it."""
        with self._write() as db:
            before = self._next_seq
            try:
                transaction = Transaction(db, before, int(self._clock() * 1000))
                yield transaction
                self._next_seq = transaction.next_seq
                if self._next_seq != before:
                    _set_number(db, "last_seq", self._next_seq - 1)
            except BaseException:
                self._next_seq = before
                raise

    def append(self, batch: Sequence[Event]) -> int:
        """Every event of the batch stands in the log; how many were new (by their id)."""
        with self.transaction() as transaction:
            return transaction.append(batch)

    def skip_to(self, seq: int) -> None:
        """The next event gets a seq above this one: a new file must not give old numbers again."""
        with self._write() as db:
            if self._next_seq <= seq:
                self._next_seq = seq + 1
                _set_number(db, "last_seq", seq)

    def relabel(self, bodies: Sequence[tuple[int, bytes]]) -> None:
        """Replace the bodies of events that are kept: new labels, the same identity."""
        with self._write() as db:
            db.executemany(
                "update events set body = ? where seq = ?", [(b, seq) for seq, b in bodies]
            )

    # -- reading ---------------------------------------------------------------------------

    def read(
        self,
        after_seq: int,
        limit: int,
        *,
        types: Iterable[str] | None = None,
        since_ms: int | None = None,
        email: str | None = None,
    ) -> list[StoredEvent]:
        """Up to `limit` events with seq above `after_seq`, in order; the filters narrow.

        `since_ms` is the event's own time. `email` compares without regard to case.
        """
        if since_ms is not None:
            after_seq = max(after_seq, self.recorded_before(since_ms - _CLOCK_SLACK_MS))
        where, arguments = ["seq > ?"], cast("list[object]", [after_seq])
        if types is not None:
            wanted = list(types)
            where.append(f"type in ({','.join('?' * len(wanted))})")
            arguments += wanted
        if since_ms is not None:
            where.append("time_ms >= ?")
            arguments.append(since_ms)
        if email is not None:
            where.append("instr(lower(cast(body as text)), ?) > 0")
            arguments.append(msgspec.json.encode(email.lower())[1:-1].decode())
        sql = f"select {_COLUMNS} from events where {' and '.join(where)} order by seq limit ?"  # noqa: S608
        if email is None:
            return _stored(self._query(sql, (*arguments, limit)))
        return self._read_of(sql, arguments, limit, email)

    def _read_of(
        self, sql: str, arguments: list[object], limit: int, email: str
    ) -> list[StoredEvent]:
        """SQL finds the text anywhere in the body; only the field counts."""
        found: list[StoredEvent] = []
        while len(found) < limit:
            page = _stored(self._query(sql, (*arguments, limit)))
            found += [e for e in page if is_of(e.body, email)]
            if len(page) < limit:
                break
            arguments[0] = page[-1].seq
        return found[:limit]

    def last_seq(self) -> int:
        """The seq of the newest event ever logged; 0 for none."""
        return self._number("last_seq")

    def first_seq(self) -> int:
        """The seq of the oldest event still kept; last_seq + 1 when none is."""
        row = self._query("select min(seq) from events", ())[0][0]
        return self.last_seq() + 1 if row is None else int(row)

    def seq_at(self, time_ms: int) -> int:
        """A cursor from which reading gives everything that happened at `time_ms` or later."""
        sql = "select seq from events where seq > ? and time_ms >= ? order by seq limit 1"
        low = self.recorded_before(time_ms - _CLOCK_SLACK_MS)
        rows = self._query(sql, (low, time_ms))
        return int(rows[0][0]) - 1 if rows else self.last_seq()

    def recorded_before(self, time_ms: int) -> int:
        """The seq up to which all that is kept was recorded before that time, found by halving.

        Events are recorded after they happen, and clocks are wrong by less than an hour: what is
        before the time less an hour can't have happened at it or later.
        """
        low, high = self.first_seq() - 1, self.last_seq()
        sql = "select seq, recorded_ms from events where seq > ? order by seq limit 1"
        while low < high:
            middle = (low + high) // 2
            rows = self._query(sql, (middle,))
            if rows and rows[0][1] < time_ms:
                low = int(rows[0][0])
            else:
                high = middle
        return low

    def get(self, seqs: Sequence[int]) -> list[StoredEvent]:
        """Those of the named events that are still kept, in order."""
        marks = ",".join("?" * len(seqs))
        sql = f"select {_COLUMNS} from events where seq in ({marks}) order by seq"  # noqa: S608
        return _stored(self._query(sql, tuple(seqs)))

    def cursor(self, consumer: str) -> int:
        """How far the consumer has read; 0 for a new one."""
        return self.deliveries.state(consumer).seq

    def set_cursor(self, consumer: str, seq: int) -> None:
        """The consumer has dealt with everything up to `seq`."""
        self.deliveries.move(consumer, seq)

    def replay(
        self, consumer: str, *, since_ms: int | None = None, after: int | None = None
    ) -> tuple[int, int]:
        """Move the cursor back: to what happened since then, to what is `after` a seq, or to all
        that is kept; never forward. Where it was, and where it is now.
        """
        before = self.cursor(consumer)
        if after is None:
            after = self.first_seq() - 1 if since_ms is None else self.seq_at(since_ms)
        seq = min(max(0, after), before)
        self.set_cursor(consumer, seq)
        return before, seq

    # -- what finishing keeps here ---------------------------------------------------------

    def journal_positions(self) -> dict[bytes, int]:
        """How far each journal segment was finished."""
        return {
            bytes(row[0]): int(row[1])
            for row in self._query("select segment_id, position from journal_positions", ())
        }

    def due_pending(self, limit: int) -> list[Pending]:
        """Pending records whose next try has come, oldest due first."""
        sql = (
            "select id, payload, first_ms, tries, faults from pending"
            " where next_ms <= ? order by next_ms limit ?"
        )
        return [Pending(*row) for row in self._query(sql, (int(self._clock() * 1000), limit))]

    def counters(self) -> dict[str, int]:
        """Running totals of the log, by name; `pending` is how many wait now."""
        rows = self._query("select name, value from numbers where name like 'count.%'", ())
        counts = {str(name).removeprefix("count."): int(value) for name, value in rows}
        counts["pending"] = int(self._query("select count(*) from pending", ())[0][0])
        return counts

    def close(self) -> None:
        """Close the file; the write-ahead log is merged when nobody else has it open."""
        with self._lock:
            for db in (*self._open, *filter(None, [self._writer])):
                db.close()
            self._open, self._writer = [], None

    # -- connections -----------------------------------------------------------------------

    def _number(self, name: str) -> int:
        rows = self._query("select value from numbers where name = ?", (name,))
        return int(rows[0][0]) if rows else 0

    def _query(self, sql: str, arguments: Sequence[object]) -> list[Any]:
        try:
            return self._reader().execute(sql, arguments).fetchall()
        except sqlite3.Error as error:
            raise Unavailable(f"the event log can't be read: {error}") from error

    def _reader(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._readers, "db", None)
        if db is None:
            db = schema.open_reading(self._path)
            self._readers.db = db
            with self._lock:
                self._open.append(db)
        return db

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._writer is None:
                raise Unavailable("the event log is not open for writing")
            try:
                self._writer.execute("begin immediate")
                try:
                    yield self._writer
                except BaseException:
                    self._writer.execute("rollback")
                    raise
                self._writer.execute("commit")
            except sqlite3.Error as error:
                if self._writer.in_transaction:
                    self._writer.execute("rollback")
                raise Unavailable(f"the event log can't be written: {error}") from error


class Transaction:
    """One transaction of finishing."""

    def __init__(self, db: sqlite3.Connection, next_seq: int, now_ms: int) -> None:
        self._db, self.next_seq, self._now_ms = db, next_seq, now_ms

    def append(self, batch: Sequence[Event]) -> int:
        """Add events, giving each its seq; one whose id is known already is left out."""
        if not batch:
            return 0
        before = self._db.total_changes
        self._db.executemany("insert or ignore into events values (?,?,?,?,?,?)", self._rows(batch))
        added = self._db.total_changes - before
        if added != len(batch):
            self.count("duplicate_ids", len(batch) - added)
        return added

    def _rows(self, batch: Sequence[Event]) -> Iterator[tuple[object, ...]]:
        replace = msgspec.structs.replace
        for event in batch:
            seq = self.next_seq
            self.next_seq = seq + 1
            yield (
                seq,
                bytes.fromhex(event.event_unique_id.replace("-", "")),
                event.__struct_config__.tag,
                event.event_time_ms,
                self._now_ms,
                _ENCODE(replace(event, seq=seq)),
            )

    def is_new(self, key: bytes, expires_ms: int, owner: bytes) -> bool:
        """True the first time `key` is seen until it expires, and always for the same owner."""
        row = self._db.execute(
            "select expires_ms, owner from dedupe where key = ?", (key,)
        ).fetchone()
        if row is not None and row[0] > self._now_ms:
            return bool(row[1] == owner)
        self._db.execute("insert or replace into dedupe values (?,?,?)", (key, expires_ms, owner))
        return True

    def is_known(self, key: bytes) -> bool:
        """True while `key` was seen and has not expired."""
        row = self._db.execute("select expires_ms from dedupe where key = ?", (key,)).fetchone()
        return row is not None and row[0] > self._now_ms

    def set_journal_positions(self, positions: Mapping[bytes, int]) -> None:
        """Replace what stands there: segments not named are forgotten."""
        self._db.execute("delete from journal_positions")
        self._db.executemany("insert into journal_positions values (?, ?)", positions.items())

    def pend(
        self, payload: bytes, *, first_ms: int, next_ms: int, tries: int, faults: int, reason: str
    ) -> None:
        """Keep a record for a later try."""
        self._db.execute(
            "insert into pending (payload, first_ms, next_ms, tries, faults, reason)"
            " values (?,?,?,?,?,?)",
            (payload, first_ms, next_ms, tries, faults, reason[:300]),
        )

    def drop_pending(self, ids: Iterable[int]) -> None:
        """These pending records are done, or were pended again."""
        self._db.executemany("delete from pending where id = ?", [(i,) for i in ids])

    def bury(self, payload: bytes, *, tries: int, reason: str) -> None:
        """A record that nothing can be made of goes to the dead letters of `finishing`."""
        self._db.execute(
            "insert into dead_letters (consumer, seq, event_id, type, at_ms, tries, reason, body)"
            " values ('finishing', 0, null, 'record', ?, ?, ?, ?)",
            (self._now_ms, tries, reason[:1000], payload),
        )

    def count(self, name: str, by: int = 1) -> None:
        """Add to a running total."""
        self._db.execute(
            "insert into numbers values (?, ?) on conflict (name) do update"
            " set value = value + excluded.value",
            (f"count.{name}", by),
        )


def _set_number(db: sqlite3.Connection, name: str, value: int) -> None:
    db.execute(
        "insert into numbers values (?, ?) on conflict (name) do update set value = excluded.value",
        (name, value),
    )


def _stored(rows: list[Any]) -> list[StoredEvent]:
    made: list[StoredEvent] = []
    for seq, kind, time_ms, event_id, body in rows:
        h = event_id.hex()
        text = f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
        made.append(StoredEvent(seq, kind, time_ms, text, body))
    return made


def is_of(body: bytes, email: str) -> bool:
    """True when the event is about this address, case aside."""
    return msgspec.json.decode(body, type=_Identity).email.lower() == email.lower()
