"""External metadata: rows in a Postgres of the operator's (seed 004, "External").

Table and index exactly as the seed prints them. A tagged message writes one row of its own and one
for each link; a link's row is the same for all recipients on one UTC date, so it is written once,
and never pruned while mail of that day lives. A token holds the message row's uuid and the link's
number, a keyed hash of everything in the link's row: who can write to the table still can't make a
link lead elsewhere. Rows never change, so what was read is kept.
"""

import contextlib
import hmac
import queue
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg

from sendback.errors import Malformed, NotFound, Unavailable
from sendback.metadata.base import NotStorable, Stored, Wanted
from sendback.metadata.batching import Batcher
from sendback.metadata.cache import RowCache
from sendback.metadata.channel import Statement
from sendback.metadata.external_issue import SEND_DEADLINE, WRITE, Issuer, LinkRows
from sendback.metadata.external_rows import (
    NUMBER,
    UUID,
    LinkRow,
    MessageRow,
    decode_row,
    link_facts,
    message_facts,
    number_of_row,
    row_id_of,
)
from sendback.metadata.link_numbers import LinkNumbers
from sendback.metadata.postgres import Database, Slow
from sendback.model import LinkFacts, MessageFacts, TrackingData
from sendback.secret_constants import Keyring, Purpose
from sendback.tokens import Opened

CLICK_DEADLINE = 1.0
#: The read failover is asked too when the primary has said nothing for this long.
HEDGE_AFTER = 0.075

READ = Statement(
    "sendback_read",
    "select id, data from ga_tracking_data where id = any ($1::uuid[])",
    b"{}",
)


#: Stands for the message where only the link was asked for.
_NOBODY = MessageFacts(email="")


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
        numbers: LinkNumbers | None = None,
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
        self._click_deadline = click_deadline
        self._messages: RowCache[MessageFacts] = RowCache(cached_rows)
        self._links: RowCache[LinkFacts] = RowCache(cached_rows)
        self._issuer = Issuer(
            self._primary,
            link_rows=link_rows,
            parallel=connections,
            clock=clock,
            deadline=send_deadline,
            numbers=numbers or LinkNumbers(),
            asked=self._asked,
        )
        self._reads: Batcher[frozenset[bytes], _Answer] = Batcher(self._read, parallel=connections)
        self.queries = 0

    # -- tagging ----------------------------------------------------------------------------------

    def issue(
        self, keyring: Keyring, message: MessageFacts, links: Sequence[LinkFacts]
    ) -> tuple[list[str], str]:
        """See the port."""
        (made,) = self.issue_many(keyring, ((message, links),))
        if isinstance(made, Exception):
            raise made
        return made

    def issue_many(
        self, keyring: Keyring, messages: Sequence[Wanted]
    ) -> list[Stored | NotStorable | Unavailable]:
        """See the port and `Issuer`: one round trip for all of them."""
        return self._issuer.issue_many(keyring, messages)

    def _asked(self) -> None:
        self.queries += 1

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
