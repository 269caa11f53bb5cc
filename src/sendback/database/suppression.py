"""Addresses not to mail, by list: fed by events, by hand and by files.

Keyed by a hash of the address, so that a wish not to be mailed outlives the erasure of the address
itself. A removal for bouncing gives way to any other reason, since only it may be undone by
`bounces recovery`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from sendback.database import audit, consumer
from sendback.database.consumer import StoredEvent
from sendback.database.engine import Database
from sendback.database.schema import email_hash, storable, suppressions
from sendback.errors import Malformed, NotFound

CONSUMER = "suppression"
BAD_ADDRESS = "bounce_bad_address"
_FEEDING = frozenset([BAD_ADDRESS, "scomp", "engine_unsub"])
_CHUNK = 500


class Suppressed(msgspec.Struct, frozen=True, kw_only=True):
    """One entry: do not mail `email` for `listid` ("" for every list)."""

    email: str
    listid: str = ""
    reason: str = "manual"
    time_ms: int = 0
    sendid: str = ""
    bounce_type: str = ""
    bounce_code: int | None = None
    bounce_text: str = ""
    event_id: str = ""


class _Event(msgspec.Struct, kw_only=True):
    email: str = ""
    listid: str = ""
    sendid: str = ""
    agent_class: str = ""
    bounce_type: str = ""
    bounce_code: int | None = None
    bounce_text: str = ""


class Suppression:
    """The suppression list. Every method: Unavailable while the database is down."""

    def __init__(
        self, database: Database, server_id: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._server_id = server_id
        self._clock = clock

    def cursor(self) -> int:
        """The seq up to which events are taken in."""
        return consumer.cursor(self._database, CONSUMER, self._server_id)

    def consume(self, batch: Sequence[StoredEvent]) -> int:
        """Enter who bounced for good, complained or left; the new cursor. Idempotent.

        A scanner, or a preview, that followed an unsubscribe link takes nobody off a list.
        """
        if not batch:
            return self.cursor()
        with self._database.write() as connection:
            entries = []
            for stored in consumer.unseen(connection, CONSUMER, self._server_id, batch):
                entry = _entry_of(stored)
                if entry is not None:
                    entries.append(entry)
            _put(connection, entries)
        return max(event.seq for event in batch)

    def is_suppressed(self, email: str, listid: str) -> bool:
        """True when this address must not get mail of this list."""
        table = suppressions
        query = (
            sa.select(sa.literal(1))
            .where(
                table.c.email_hash == email_hash(email),
                table.c.listid.in_(["", listid.lower()[:100]]),
            )
            .limit(1)
        )
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def check(self, email: str) -> list[Suppressed]:
        """Every entry of this address; `email` is filled in also where it was erased."""
        query = sa.select(suppressions).where(suppressions.c.email_hash == email_hash(email))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(suppressions.c.listid)).all()
        return [msgspec.structs.replace(_value(row), email=email) for row in rows]

    def page(
        self,
        *,
        limit: int = 100,
        after: tuple[int, str, str] | None = None,
        reason: str | None = None,
        listid: str | None = None,
        domain: str | None = None,
    ) -> tuple[list[Suppressed], tuple[int, str, str] | None]:
        """Entries, the newest first, and the place to go on `after`; None at the end."""
        table = suppressions
        order = (table.c.time_ms, table.c.email_hash, table.c.listid)
        query = sa.select(table).order_by(*(column.desc() for column in order)).limit(limit + 1)
        if after is not None:
            query = query.where(sa.tuple_(*order) < sa.tuple_(*map(sa.literal, after)))
        if reason is not None:
            query = query.where(table.c.reason == reason)
        if listid is not None:
            query = query.where(table.c.listid == listid.lower())
        if domain is not None:
            ending = f"@{domain.lower()}"
            query = query.where(sa.func.lower(table.c.email).endswith(ending, autoescape=True))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        last = rows[limit - 1] if len(rows) > limit else None
        place = (last.time_ms, last.email_hash, last.listid) if last is not None else None
        return [_value(row) for row in rows[:limit]], place

    def export(self) -> Iterator[Suppressed]:
        """Every entry whose address is known, the newest first, a page at a time."""
        place: tuple[int, str, str] | None = None
        while True:
            rows, place = self.page(limit=1000, after=place)
            yield from (row for row in rows if row.email)
            if place is None:
                return

    def add(self, entries: Iterable[Suppressed], *, actor: str) -> int:
        """Enter these addresses by hand; how many. Malformed when one is no address."""
        now = int(self._clock() * 1000)
        checked = [_checked(entry, now) for entry in entries]
        with self._database.write() as connection:
            _put(connection, checked)
            for entry in checked if len(checked) <= _CHUNK else ():
                self._audit(connection, actor, "add", entry.email, entry.listid)
            if len(checked) > _CHUNK:
                self._audit(connection, actor, "import", f"{len(checked)} addresses", "")
        return len(checked)

    def remove(self, email: str, listid: str | None = None, *, actor: str) -> int:
        """Take the address off, for one list or for all; how many entries. NotFound for none."""
        found = [suppressions.c.email_hash == email_hash(email)]
        if listid is not None:
            found.append(suppressions.c.listid == listid.lower())
        with self._database.write() as connection:
            gone = connection.execute(sa.delete(suppressions).where(*found)).rowcount
            if not gone:
                raise NotFound(f"{email} is not suppressed")
            self._audit(connection, actor, "remove", email, listid or "")
        return gone

    def removals(self, *, start_ms: int, end_ms: int) -> list[Suppressed]:
        """Who was removed for bouncing in this time, oldest first."""
        table = suppressions
        query = (
            sa.select(table)
            .where(
                table.c.reason == BAD_ADDRESS,
                table.c.time_ms >= start_ms,
                table.c.time_ms < end_ms,
                table.c.email != "",
            )
            .order_by(table.c.time_ms, table.c.email, table.c.listid)
        )
        with self._database.read() as connection:
            return [_value(row) for row in connection.execute(query)]

    def undo(self, removals: Sequence[Suppressed], *, actor: str) -> int:
        """Take these removals for bouncing back, counts included; how many were still there."""
        table, counts = suppressions, sa.table("bounce_counts", sa.column("email_hash"))
        undone = 0
        with self._database.write() as connection:
            for one in removals:
                key = email_hash(one.email)
                undone += connection.execute(
                    sa.delete(table).where(
                        table.c.email_hash == key,
                        table.c.listid == one.listid,
                        table.c.reason == BAD_ADDRESS,
                    )
                ).rowcount
                connection.execute(sa.delete(counts).where(counts.c.email_hash == key))
            self._audit(connection, actor, "reactivate", f"{undone} addresses", "")
        return undone

    def erase(self, email: str) -> int:
        """Forget the address, keep the wish: only its hash stays. How many entries.

        Bounces of others that name it (they were forwarded) lose their text.
        """
        table = suppressions
        naming = sa.func.lower(table.c.bounce_text).contains(email.lower(), autoescape=True)
        erased = (
            sa.update(table)
            .where(table.c.email_hash == email_hash(email))
            .values(email="", bounce_text="", sendid="", event_id="")
        )
        with self._database.write() as connection:
            connection.execute(sa.update(table).where(naming).values(bounce_text=""))
            return connection.execute(erased).rowcount

    def _audit(
        self, connection: sa.Connection, actor: str, action: str, name: str, listid: str
    ) -> None:
        # The audit log outlives an erasure, so it holds the hash of an address.
        audit.record(
            connection,
            time_ms=int(self._clock() * 1000),
            actor=actor,
            action=action,
            kind="suppression",
            name=email_hash(name) if "@" in name else name,
            after={"listid": listid} if listid else None,
        )


def _entry_of(stored: StoredEvent) -> Suppressed | None:
    if stored.type not in _FEEDING:
        return None
    try:
        event = msgspec.json.decode(stored.body, type=_Event)
    except msgspec.MsgspecError:
        return None  # statistics says so already
    if "@" not in event.email or event.agent_class in ("scanner", "prefetch"):
        return None
    return Suppressed(
        email=event.email,
        listid=event.listid,
        reason=stored.type,
        time_ms=stored.time_ms,
        sendid=event.sendid,
        bounce_type=event.bounce_type,
        bounce_code=event.bounce_code,
        bounce_text=event.bounce_text,
        event_id=stored.event_id,
    )


def _checked(entry: Suppressed, now_ms: int) -> Suppressed:
    local, _, domain = entry.email.strip().rpartition("@")
    if not local or not domain or len(entry.email) > 320 or any(map(str.isspace, local + domain)):
        raise Malformed(f"{entry.email!r} is not an address", field="email")
    return msgspec.structs.replace(
        entry, email=entry.email.strip(), time_ms=entry.time_ms or now_ms
    )


def _put(connection: sa.Connection, entries: Sequence[Suppressed]) -> None:
    table = suppressions
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        row = _row(entry)
        key = (row["email_hash"], row["listid"])
        if key not in rows or rows[key]["reason"] == BAD_ADDRESS:
            rows[key] = row
    insert = consumer.upsert(connection)(table)
    changes = {
        column.name: insert.excluded[column.name] for column in table.c if not column.primary_key
    }
    # What was erased stays erased, and only a removal for bouncing gives way.
    statement = insert.on_conflict_do_update(
        index_elements=["email_hash", "listid"],
        set_=changes,
        where=sa.and_(table.c.reason == BAD_ADDRESS, table.c.email != ""),
    )
    for start in range(0, len(values := sorted(rows.items())), _CHUNK):
        connection.execute(statement, [row for _, row in values[start : start + _CHUNK]])


def _row(entry: Suppressed) -> dict[str, Any]:
    return {
        "email_hash": email_hash(entry.email),
        "listid": storable(entry.listid).lower()[:100],
        "email": storable(entry.email),
        "reason": entry.reason[:32],
        "time_ms": entry.time_ms,
        "sendid": storable(entry.sendid)[:100],
        "bounce_type": storable(entry.bounce_type)[:1],
        "bounce_code": entry.bounce_code,
        "bounce_text": storable(entry.bounce_text)[:1000],
        "event_id": entry.event_id[:36],
    }


def _value(row: sa.Row[Any]) -> Suppressed:
    return Suppressed(
        email=row.email,
        listid=row.listid,
        reason=row.reason,
        time_ms=row.time_ms,
        sendid=row.sendid,
        bounce_type=row.bounce_type,
        bounce_code=row.bounce_code,
        bounce_text=row.bounce_text,
        event_id=row.event_id,
    )
