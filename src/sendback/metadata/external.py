"""External metadata: rows in a Postgres of the operator's (seed 004, "External").

Table and index exactly as the seed prints them. A tagged message writes one row of its own and one
for each link; a link's row is the same for all recipients on one UTC date, so it is written once,
and never pruned while mail of that day lives. A token holds the message row's uuid and the link's
number, a keyed hash of everything in the link's row: who can write to the table still can't make a
link lead elsewhere. Writing stands here, reading in `external_reading`.
"""

import datetime as dt
import os
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import msgspec
import psycopg

from sendback.errors import Unavailable
from sendback.metadata.base import HEADER_LINK, Fetch, check_text, purpose_of
from sendback.metadata.batching import Batcher
from sendback.metadata.channel import Statement
from sendback.metadata.external_reading import READ, ExternalReader
from sendback.metadata.external_rows import (
    UUID,
    LinkRow,
    MessageRow,
    as_uuid4,
    link_row,
    message_row,
    number_of_row,
    row_id_of,
)
from sendback.metadata.postgres import Database
from sendback.model import LinkFacts, MessageFacts, TrackingData
from sendback.secret_constants import Key, Keyring, Purpose
from sendback.tokens import Opened, Version, seal

LinkRows = Literal["none", "sendid", "listid", "both"]

SEND_DEADLINE = 0.3
CLICK_DEADLINE = 1.0
#: A link row written by this process is not written again for so long.
_WRITTEN_SECONDS = 600.0
_REMEMBERED = 20_000

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
        self._reader = ExternalReader(
            self._primary,
            self._failover,
            connections=connections,
            cached_rows=cached_rows,
            deadline=click_deadline,
        )
        self._numbers: dict[tuple[LinkFacts, str, str, str, Key], bytes] = {}
        self._written: dict[bytes, float] = {}
        self._writes: Batcher[Sequence[_Written], frozenset[bytes]] = Batcher(
            self._write, parallel=connections
        )
        self._write_queries = 0

    @property
    def queries(self) -> int:
        """Questions to a database since the start."""
        return self._write_queries + self._reader.queries

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
                number = number_of_row(key, row, link)
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
        self._write_queries += 1
        answer = self._primary.run(WRITE, msgspec.json.encode(given), deadline)
        collided = frozenset(row[0] for row in answer if row[0])
        return [collided] * len(jobs)

    def _today(self) -> str:
        return dt.datetime.fromtimestamp(self._clock(), dt.UTC).date().isoformat()

    # -- coming back ------------------------------------------------------------------------------

    def find(self, purpose: Purpose, opened: Opened) -> LinkFacts | Fetch:  # noqa: ARG002 - the port
        """See the port. At hand when the link's row was read before, by whichever recipient."""
        return self._reader.find(opened)

    def resolve(self, purpose: Purpose, opened: Opened) -> TrackingData:  # noqa: ARG002 - the port
        """See the port."""
        return self._reader.resolve(opened)

    def prefetch(self, tokens: Sequence[Opened]) -> None:
        """Read the rows of many tokens in one query, so that `resolve` finds them; never raises."""
        self._reader.prefetch(tokens)

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
        answer = self._reader.ask(
            frozenset((bytes(UUID),)), time.monotonic() + self._click_deadline
        )
        if len(answer.reasons) == (2 if self._failover else 1):
            raise Unavailable("; ".join(answer.reasons))

    def counters(self) -> dict[str, int]:
        """Cache and connection figures of this process."""
        reader = self._reader
        databases = [d for d in (self._primary, self._failover) if d is not None]
        return {
            "link_row_hits": reader.links.hits,
            "link_row_misses": reader.links.misses,
            "message_row_hits": reader.messages.hits,
            "message_row_misses": reader.messages.misses,
            "cached_rows": len(reader.links) + len(reader.messages),
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
        self._reader.close()
        self._primary.close()
        if self._failover is not None:
            self._failover.close()
