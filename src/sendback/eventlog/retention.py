"""How long events are kept.

Events that every consumer has had go by age and by size. Those that somebody still waits for go by
age, and by size only when nobody living waits for them (`make_room`); either is counted as
`expired` on the consumer that missed them.
"""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from sendback.errors import Unavailable
from sendback.eventlog.delivery import Query, Write

_CHUNK = 5000
_PAGES_A_CHUNK = 4000
#: Attempts are kept this long; of one consumer never more than so many that delivered, and so many
#: that did not: a busy destination makes millions of the first kind a day, of the second it can't.
ATTEMPT_DAYS = 7
DELIVERED_KEPT = 20_000
FAILED_KEPT = 100_000


class Retention:
    """Pruning of one event log; made by it, reached as `log.retention`."""

    def __init__(self, path: Path, query: Query, write: Write, clock: Callable[[], float]) -> None:
        self._path, self._query, self._write, self._clock = path, query, write, clock

    def size(self) -> int:
        """Octets of the file that hold something, the write-ahead log included."""
        pages, free, page_size = (
            int(self._query(f"pragma {name}", ())[0][0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * page_size)

    def free_bytes(self) -> int:
        """What the disk that holds the file has free for us. Unavailable when it can't be asked."""
        try:
            found = os.statvfs(self._path.parent)
        except OSError as error:
            raise Unavailable(f"the disk of {self._path} can't be asked: {error}") from error
        return found.f_bavail * found.f_frsize

    def prune(
        self, *, keep_ms: int, max_bytes: int, consumers: Iterable[str], chunks: int = 4
    ) -> int:
        """Delete up to `chunks` x 5,000 events that need not be kept; how many went.

        `consumers`: those configured now; others no longer hold anything back.
        """
        now = int(self._clock() * 1000)
        names = list(consumers)
        removed = 0
        for _ in range(chunks):
            kept = self._kept()
            if kept is None:
                break
            first, last = kept
            had = min((self._cursor(name) for name in names), default=last)
            gone = self._prune_chunk(first, last, had, now - keep_ms, max_bytes, names)
            removed += gone
            if gone < _CHUNK:
                break
        return removed

    def make_room(
        self, *, max_bytes: int, consumers: Iterable[str], dead: Iterable[str]
    ) -> dict[str, int]:
        """Take what only the `dead` of the `consumers` still want, oldest first, until the log is
        below `max_bytes`; how many events each of them missed.

        Dead letters of any destination go before events: they were given up already.
        """
        dead = list(dead)
        living = [name for name in consumers if name not in dead]
        missed: Counter[str] = Counter()
        while self.size() > max_bytes:
            gone = self._drop_dead_letters()
            if not gone and dead:
                gone = self._expire_chunk(dead, living)
            if not gone:
                break
            missed.update(gone)
            self._give_back()
        return dict(+missed)

    def _drop_dead_letters(self) -> dict[str, int]:
        """The oldest of them, those of `finishing` left out; how many, by consumer."""
        rows = self._query(
            "select id, consumer from dead_letters where consumer <> 'finishing' order by id"
            " limit ?",
            (_CHUNK,),
        )
        missed = Counter(str(row[1]) for row in rows)
        if rows:
            with self._write() as db:
                db.executemany("delete from dead_letters where id = ?", [(r[0],) for r in rows])
                db.executemany(
                    "update consumers set expired = expired + ? where name = ?",
                    [(by, name) for name, by in missed.items()],
                )
        return dict(missed)

    def _expire_chunk(self, dead: list[str], living: list[str]) -> dict[str, int]:
        kept = self._kept()
        if kept is None:
            return {}
        first, last = kept
        had = min((self._cursor(name) for name in living), default=last)
        cut = min(first + _CHUNK - 1, had, last)
        if cut < first:
            return {}
        with self._write() as db:
            missed = {name: _expire(db, name, cut) for name in dead}
            _delete_up_to(db, cut, [*dead, *living])
        return missed

    def _kept(self) -> tuple[int, int] | None:
        """First and last seq of the log; parked events, which stay behind, are not looked at."""
        row = self._query(
            "select min(seq), (select max(seq) from events) from events"
            " where seq not in (select seq from parked)",
            (),
        )[0]
        return None if row[0] is None else (int(row[0]), int(row[1]))

    def _cursor(self, name: str) -> int:
        rows = self._query("select seq from consumers where name = ?", (name,))
        return int(rows[0][0]) if rows else 0

    def _prune_chunk(
        self, first: int, last: int, had: int, before_ms: int, max_bytes: int, names: list[str]
    ) -> int:
        end = min(first + _CHUNK - 1, last)
        rows = self._query(
            "select max(seq) from events where seq between ? and ? and recorded_ms < ?",
            (first, end, before_ms),
        )
        cut = int(rows[0][0] or 0)
        if self.size() > max_bytes:
            cut = max(cut, min(end, had))
        if cut < first:
            return 0
        with self._write() as db:
            for name in names:
                _expire(db, name, cut)
            gone = _delete_up_to(db, cut, names)
        self._give_back()
        return gone

    def _give_back(self) -> None:
        """Return free pages to the disk. One pragma frees one page: the module stops at a
        statement without columns after its first step.
        """
        with self._write() as db:
            free = int(db.execute("pragma freelist_count").fetchone()[0])
            for _ in range(min(free, _PAGES_A_CHUNK)):
                db.execute("pragma incremental_vacuum(1)")

    def tidy(self) -> None:
        """Forget expired dedupe keys, and attempts older than some days."""
        now = int(self._clock() * 1000)
        with self._write() as db:
            db.execute("delete from dedupe where expires_ms < ?", (now,))
            db.execute("delete from attempts where at_ms < ?", (now - ATTEMPT_DAYS * 86_400_000,))
            for (name,) in db.execute("select distinct consumer from attempts").fetchall():
                for comparison, kept in (("=", DELIVERED_KEPT), ("<>", FAILED_KEPT)):
                    ours = f"consumer = ? and outcome {comparison} 'delivered'"
                    db.execute(
                        f"delete from attempts where {ours} and id <= (select id from attempts"  # noqa: S608
                        f" where {ours} order by id desc limit 1 offset ?)",
                        (name, name, kept),
                    )


def _delete_up_to(db: sqlite3.Connection, cut: int, names: list[str]) -> int:
    """Parked events of the consumers `names` stay; those of one that was removed go."""
    sql = (
        "delete from events where seq <= ? and seq not in (select seq from parked"
        " where consumer in (select value from json_each(?)))"
    )
    return int(db.execute(sql, (cut, json.dumps(names))).rowcount)


def _expire(db: sqlite3.Connection, consumer: str, cut: int) -> int:
    """Move the consumer's cursor behind `cut`, and count what it missed by that."""
    row = db.execute("select seq from consumers where name = ?", (consumer,)).fetchone()
    seq = 0 if row is None else int(row[0])
    if seq >= cut:
        return 0
    missed = db.execute(
        "select count(*) from events where seq > ? and seq <= ?", (seq, cut)
    ).fetchone()[0]
    db.execute("insert or ignore into consumers (name, seq) values (?, 0)", (consumer,))
    db.execute(
        "update consumers set seq = ?, expired = expired + ? where name = ?",
        (cut, missed, consumer),
    )
    return int(missed)
