"""External metadata: rows in a Postgres of the operator's (seed 004, "External").

Table and index exactly as the seed prints them. A tagged message writes one row of its own and one
for each link; a link's row is the same for all recipients on one UTC date, so it is written once,
and never pruned while mail of that day lives. A token holds the message row's uuid and the link's
number, a keyed hash of everything in the link's row: who can write to the table still can't make a
link lead elsewhere. Rows never change, so what was read is kept.
"""

import contextlib
import datetime as dt
import hmac
import os
import queue
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import msgspec
import psycopg

from sendback.errors import Malformed, NotFound, Unavailable
from sendback.metadata.base import HEADER_LINK, check_text, purpose_of
from sendback.metadata.batching import Batcher
from sendback.metadata.cache import RowCache
from sendback.metadata.channel import Statement
from sendback.metadata.external_rows import (
    NUMBER,
    UUID,
    LinkRow,
    MessageRow,
    as_uuid4,
    decode_row,
    link_facts,
    link_row,
    message_facts,
    message_row,
    number_of_row,
    row_id_of,
)
from sendback.metadata.postgres import Database, Slow
from sendback.model import LinkFacts, MessageFacts, TrackingData
from sendback.secret_constants import Key, Keyring, Purpose
from sendback.tokens import Opened, Version, seal

LinkRows = Literal["none", "sendid", "listid", "both"]

SEND_DEADLINE = 0.3
CLICK_DEADLINE = 1.0
#: The read failover is asked too when the primary has said nothing for this long.
HEDGE_AFTER = 0.075
#: A link row written by this process is not written again for so long.
_WRITTEN_SECONDS = 600.0
_REMEMBERED = 20_000

READ = Statement(
    "sendback_read",
    "select id, data from ga_tracking_data where id = any ($1::uuid[])",
    b"{}",
)
#: One round trip: adds what is new, answers the ids whose row says something else.
WRITE = Statement(
    "sendback_write",
    "with given as ("
    " select * from jsonb_to_recordset($1::jsonb) as g (id uuid, date date, data jsonb)"
    "), added as ("
    " insert into ga_tracking_data (id, date, data)"
    " select id, date, data from given order by id on conflict do nothing"
    ") select given.id from given join ga_tracking_data t on t.id = given.id"
    " where t.data <> given.data",
    b"[]",
)


#: Stands for the message where only the link was asked for.
_NOBODY = MessageFacts(email="")


class _Written(NamedTuple):
    """A row to write."""

    id: bytes
    date: str
    data: MessageRow | LinkRow


class ExternalStore:
    """The back-end on `ga_tracking_data`.

    `dsn`: external_metadata_event_tracking_database; `read_failover`: the second one, or None;
    `connections`: at most so many to each of them from this process.
    """

    def __init__(
        self,
        dsn: str,
        *,
        read_failover: str | None = None,
        link_rows: LinkRows = "none",
        connections: int = 2,
        clock: Callable[[], float] = time.time,
        cached_rows: int = 20_000,
        send_deadline: float = SEND_DEADLINE,
        click_deadline: float = CLICK_DEADLINE,
    ) -> None:
        self._dsn = dsn
        self._primary = Database(
            dsn, connections=connections, statement_timeout=click_deadline, writes=True
        )
        self._failover = (
            Database(
                read_failover,
                name="the read failover of external event tracking metadata",
                connections=connections,
                statement_timeout=click_deadline,
            )
            if read_failover
            else None
        )
        self._link_rows = link_rows
        self._clock = clock
        self._send_deadline = send_deadline
        self._click_deadline = click_deadline
        self._messages: RowCache[MessageFacts] = RowCache(cached_rows)
        self._links: RowCache[LinkFacts] = RowCache(cached_rows)
        self._numbers: dict[tuple[LinkFacts, str, str, str, Key], bytes] = {}
        self._written: dict[bytes, float] = {}
        self._writes: Batcher[Sequence[_Written], frozenset[bytes]] = Batcher(
            self._write, parallel=connections
        )
        self._reads: Batcher[frozenset[bytes], _Answer] = Batcher(self._read, parallel=connections)
        self.queries = 0

    # -- tagging ----------------------------------------------------------------------------------

    def issue(
        self, keyring: Keyring, message: MessageFacts, links: Sequence[LinkFacts]
    ) -> tuple[list[str], str]:
        """See the port; Unavailable within the send deadline. A link whose number another row has
        (a collision of 64 bits) gets the token "".
        """
        check_text(message, links)
        key = keyring.signing
        day = self._today()
        message_id = as_uuid4(os.urandom(UUID))
        rows = [_Written(message_id, day, message_row(message))]
        sendid = message.sendid if self._link_rows in ("sendid", "both") else ""
        listid = message.listid if self._link_rows in ("listid", "both") else ""
        numbers = []
        now = time.monotonic()
        for link in (*links, HEADER_LINK):
            content = (link, sendid, listid, day, key)
            number = self._numbers.get(content)
            if number is None or self._written.get(number, 0.0) < now:
                row = link_row(link, sendid, listid, day)
                number = number_of_row(key, row)
                if len(self._numbers) > _REMEMBERED:
                    self._numbers.clear()
                    self._written.clear()
                self._numbers[content] = number
                rows.append(_Written(row_id_of(key, number), day, row))
            numbers.append(number)
        collided = self._writes.submit(rows, now + self._send_deadline)
        tokens = []
        for link, number in zip((*links, HEADER_LINK), numbers, strict=True):
            if collided and row_id_of(key, number) in collided:
                tokens.append("")
                continue
            self._written[number] = now + _WRITTEN_SECONDS
            tokens.append(seal(keyring, purpose_of(link), Version.EXTERNAL, message_id + number))
        header = tokens.pop()
        if not header:
            raise Unavailable("the row of the header link holds something else")
        return tokens, header

    def _write(
        self, jobs: Sequence[Sequence[_Written]], deadline: float | None
    ) -> Sequence[frozenset[bytes]]:
        """All rows of all waiting messages in one round trip; for each job the collided ids."""
        assert deadline is not None
        rows = {row.id: row for job in jobs for row in job}
        given = [{"id": row.id.hex(), "date": row.date, "data": row.data} for row in rows.values()]
        self.queries += 1
        answer = self._primary.run(WRITE, msgspec.json.encode(given), deadline)
        collided = frozenset(row[0] for row in answer if row[0])
        return [collided] * len(jobs)

    def _today(self) -> str:
        return dt.datetime.fromtimestamp(self._clock(), dt.UTC).date().isoformat()

    # -- coming back ------------------------------------------------------------------------------

    def link(self, purpose: Purpose, opened: Opened) -> LinkFacts:  # noqa: ARG002 - the port
        """See the port. No query when the link's row was read before, by whichever recipient."""
        return self._links.get(_number_of(opened)) or self._fetch(opened, with_message=False)[1]

    def resolve(self, purpose: Purpose, opened: Opened) -> TrackingData:  # noqa: ARG002 - the port
        """See the port."""
        message = self._messages.get(opened.body[:UUID])
        link = self._links.get(_number_of(opened))
        if message is None or link is None:
            message, link = self._fetch(opened, with_message=True)
        return TrackingData(message, link)

    def prefetch(self, tokens: Sequence[Opened]) -> None:
        """Read the rows of many tokens in one query, so that `resolve` finds them; never raises."""
        wanted: dict[bytes, Opened] = {}
        for opened in tokens:
            if len(opened.body) != UUID + NUMBER:
                continue
            if self._messages.get(opened.body[:UUID]) is None:
                wanted[opened.body[:UUID]] = opened
            if self._links.get(_number_of(opened)) is None:
                wanted[row_id_of(opened.key, _number_of(opened))] = opened
        if not wanted:
            return
        try:
            answer = self._reads.submit(frozenset(wanted), time.monotonic() + self._click_deadline)
        except Unavailable:
            return
        for row_id, data in answer.found.items():
            opened = wanted[row_id]
            with contextlib.suppress(Unavailable):  # of a newer version: `resolve` will say so
                if row_id == opened.body[:UUID]:
                    self._keep_message(data, row_id)
                else:
                    self._keep_link(data, opened)

    def _fetch(self, opened: Opened, *, with_message: bool) -> tuple[MessageFacts, LinkFacts]:
        """Both rows, or the link's alone, from primary and failover; remembered."""
        if len(opened.body) != UUID + NUMBER:
            raise Malformed("an external token of an unknown length")
        number = _number_of(opened)
        link_id, message_id = row_id_of(opened.key, number), opened.body[:UUID]
        wanted = frozenset((link_id, message_id)) if with_message else frozenset((link_id,))
        for row_id in wanted:
            if self._messages.is_unknown(row_id):
                raise NotFound("no such row in the external database (asked a moment ago)")
        answer = self._reads.submit(wanted, time.monotonic() + self._click_deadline)
        link = self._keep_link(answer.found.get(link_id), opened)
        message = self._keep_message(answer.found.get(message_id), message_id)
        if link is not None and (message is not None or not with_message):
            return message or _NOBODY, link
        if answer.reasons:
            raise Unavailable("; ".join(answer.reasons))
        for row_id in wanted - answer.found.keys():
            self._messages.put_unknown(row_id)
        raise NotFound("no such row in the external database, or one that is not ours: pruned?")

    def _keep_message(self, data: bytes | None, message_id: bytes) -> MessageFacts | None:
        """Keep a message's row; None when it is none of ours."""
        row = decode_row(data, MessageRow)
        if row is None:
            return None
        message = message_facts(row)
        self._messages.put(message_id, message)
        return message

    def _keep_link(self, data: bytes | None, opened: Opened) -> LinkFacts | None:
        """Keep a link's row that is what the token's number binds; None when it is another."""
        row = decode_row(data, LinkRow)
        if row is None:
            return None
        number = _number_of(opened)
        try:
            if not hmac.compare_digest(number_of_row(opened.key, row), number):
                return None
        except (ValueError, Malformed):  # a kind of link, or a letter, that never was
            return None
        link = link_facts(row)
        self._links.put(number, link)
        return link

    def _read(
        self, jobs: "Sequence[frozenset[bytes]]", deadline: float | None
    ) -> "Sequence[_Answer]":
        """The rows that all waiting threads want, in one question."""
        assert deadline is not None
        answer = self._ask(frozenset().union(*jobs), deadline)
        return [answer] * len(jobs)

    def _ask(self, ids: frozenset[bytes], deadline: float) -> "_Answer":
        """Primary, then failover when it can't be reached or lacks a row (seed 004)."""
        self.queries += 1
        patience = HEDGE_AFTER if self._failover is not None else None
        found: dict[bytes, bytes] = {}
        reasons = []
        try:
            found = _rows(self._primary.run(READ, _ids(ids), deadline, patience=patience))
        except Slow as slow:
            return self._race(ids, slow, deadline)
        except Unavailable as error:
            reasons.append(str(error))
        missing = ids - found.keys()
        if missing and self._failover is not None:
            try:
                found.update(_rows(self._failover.run(READ, _ids(missing), deadline)))
            except Unavailable as error:
                reasons.append(str(error))
        return _Answer(found, tuple(reasons))

    def _race(self, ids: frozenset[bytes], slow: Slow, deadline: float) -> "_Answer":
        """Wait for a slow primary and ask the failover too: the first hit wins, a miss waits."""
        failover = self._failover
        assert failover is not None
        answers: queue.SimpleQueue[dict[bytes, bytes] | str] = queue.SimpleQueue()

        def ask(question: Callable[[], list[tuple[bytes | None, ...]]]) -> None:
            try:
                answers.put(_rows(question()))
            except Unavailable as error:
                answers.put(str(error))

        for question in (slow.finish, lambda: failover.run(READ, _ids(ids), deadline)):
            threading.Thread(target=ask, args=(question,), name="hedge", daemon=True).start()
        found: dict[bytes, bytes] = {}
        reasons = []
        for _ in range(2):
            try:
                answer = answers.get(timeout=max(0.0, deadline - time.monotonic()) + 0.01)
            except queue.Empty:
                reasons.append("no answer in time")
                break
            if isinstance(answer, str):
                reasons.append(answer)
            else:
                found.update(answer)
            if not ids - found.keys():
                break
        return _Answer(found, tuple(reasons))

    # -- the rest ---------------------------------------------------------------------------------

    def erase(self, email: str) -> int:
        """See the port; links that hold the address in their URL go too. Scans the whole table."""
        try:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                return connection.execute(
                    "delete from ga_tracking_data where lower(data ->> 'email') = lower(%s)"
                    " or position(lower(%s) in lower(data ->> 'url')) > 0"
                    " or position(lower(%s) in lower(data ->> 'url')) > 0",
                    (email, email, urllib.parse.quote(email, safe="")),
                ).rowcount
        except psycopg.Error as error:
            raise Unavailable(f"the external database can't erase: {error}") from error

    def ping(self) -> None:
        """See the port: the primary, or else the failover, can be read."""
        answer = self._ask(frozenset((bytes(UUID),)), time.monotonic() + self._click_deadline)
        if len(answer.reasons) == (2 if self._failover else 1):
            raise Unavailable("; ".join(answer.reasons))

    def counters(self) -> dict[str, int]:
        """Cache and connection figures of this process."""
        databases = [d for d in (self._primary, self._failover) if d is not None]
        return {
            "link_row_hits": self._links.hits,
            "link_row_misses": self._links.misses,
            "message_row_hits": self._messages.hits,
            "message_row_misses": self._messages.misses,
            "cached_rows": len(self._links) + len(self._messages),
            "queries": self.queries,
            "connections": sum(database.connections for database in databases),
            "breakers_open": sum(
                database.breaker(statement).is_open
                for database in databases
                for statement in (READ, WRITE)
            ),
        }

    def close(self) -> None:
        """See the port."""
        self._primary.close()
        if self._failover is not None:
            self._failover.close()


class _Answer(NamedTuple):
    """Rows found, and why some database could not say anything about the others."""

    found: dict[bytes, bytes]
    reasons: tuple[str, ...]


def _number_of(opened: Opened) -> bytes:
    return opened.body[UUID:]


def _ids(ids: frozenset[bytes]) -> bytes:
    return ("{" + ",".join([row_id.hex() for row_id in ids]) + "}").encode()


def _rows(rows: list[tuple[bytes | None, ...]]) -> dict[bytes, bytes]:
    """Uuid to JSON text; jsonb in binary has one byte, its version, before the text."""
    return {row_id: data[1:] for row_id, data in rows if row_id and data}
