"""Everything the event log keeps of one address: shown, and erased.

The log is read without a lock, in pages, and only what was found is written: an erasure of a
large log does not hold up finishing. Events of somebody else that name the address (a forwarded
bounce) stay, without it.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from sendback.eventlog.delivery import Query, Write
from sendback.model.mention import Mention

_PAGE = 2000


class _Identity(msgspec.Struct):
    email: str = ""


class Erasure:
    """Looks for an address in one event log; made by it, reached as `log.erasure`."""

    def __init__(self, query: Query, write: Write) -> None:
        self._query, self._write = query, write

    def show(self, mention: Mention) -> dict[str, list[dict[str, Any]]]:
        """Events, dead letters, attempts whose answers name the address, and pending mail."""
        return {
            "events": [
                {"seq": seq, "type": type_, "event": msgspec.Raw(body)}
                for seq, body, type_ in self._rows("events", "seq", "body", ", type")
                if _is_of(body, mention)
            ],
            "dead_letters": [
                {"id": id_, "destination": consumer, "type": type_}
                for id_, body, consumer, type_ in self._rows(
                    "dead_letters", "id", "body", ", consumer, type"
                )
                if _is_of(body, mention)
            ],
            "attempts": [
                {"id": id_, "destination": consumer, "answer": answer}
                for id_, answer, consumer in self._rows("attempts", "id", "answer", ", consumer")
                if mention.is_in(answer)
            ],
            "pending": [
                {"id": id_, "reason": reason}
                for id_, payload, reason in self._rows("pending", "id", "payload", ", reason")
                if mention.is_in(payload) or mention.is_in(reason)
            ],
        }

    def erase(self, mention: Mention) -> dict[str, int]:
        """Nothing of the file names the address any more, once it is checkpointed; how many rows.

        `redacted`: events and dead letters of others that named it.
        """
        found = {name: [row.get("seq", row.get("id")) for row in rows]
                 for name, rows in self.show(mention).items()}  # fmt: skip
        changed = {
            (table, key): [
                (mention.redact(body), number)
                for number, body in self._rows(table, key, "body")
                if mention.is_in(body) and not _is_of(body, mention)
            ]
            for table, key in (("events", "seq"), ("dead_letters", "id"))
        }
        with self._write() as db:
            db.execute("pragma secure_delete = on")
            _delete(db, "parked", "seq", found["events"])
            _delete(db, "events", "seq", found["events"])
            for table in ("dead_letters", "attempts", "pending"):
                _delete(db, table, "id", found[table])
            for (table, key), rows in changed.items():
                db.executemany(f"update {table} set body = ? where {key} = ?", rows)  # noqa: S608
            for table in ("parked", "dead_letters", "consumers"):
                _blank_reasons(db, table, mention)
        with self._write() as db:
            for _ in range(int(db.execute("pragma freelist_count").fetchone()[0])):
                db.execute("pragma incremental_vacuum(1)")  # pages freed before hold old rows
            db.execute("pragma secure_delete = fast")
        counts = {name: len(numbers) for name, numbers in found.items()}
        return {**counts, "redacted": sum(map(len, changed.values()))}

    def _rows(self, table: str, key: str, text: str, more: str = "") -> Iterator[Sequence[Any]]:
        """(key, text, ...) of all rows, in pages."""
        after = -1
        sql = f"select {key}, {text}{more} from {table} where {key} > ? order by {key} limit ?"  # noqa: S608
        while page := self._query(sql, (after, _PAGE)):
            yield from page
            after = page[-1][0]


def _is_of(body: bytes, mention: Mention) -> bool:
    """The event is about the address; of a raw record, that it names it."""
    try:
        return mention.is_this(msgspec.json.decode(body, type=_Identity).email)
    except msgspec.DecodeError:
        return mention.is_in(body)


def _delete(db: sqlite3.Connection, table: str, key: str, numbers: Sequence[object]) -> None:
    db.executemany(f"delete from {table} where {key} = ?", [(n,) for n in numbers])  # noqa: S608


def _blank_reasons(db: sqlite3.Connection, table: str, mention: Mention) -> None:
    rows = db.execute(f"select distinct reason from {table}").fetchall()  # noqa: S608
    named = [(reason,) for (reason,) in rows if mention.is_in(reason)]
    db.executemany(f"update {table} set reason = '' where reason = ?", named)  # noqa: S608
