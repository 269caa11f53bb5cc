"""External metadata: rows in a Postgres of the operator's (seed 004, "External").

Table and index exactly as the seed prints them. A tagged message writes one row of its own and one
for each link; a link's row is the same for all recipients on one UTC date, so it is written once,
and never pruned while mail of that day lives. A token holds the message row's uuid and the link's
number, a keyed hash of everything in the link's row: who can write to the table still can't make a
link lead elsewhere. Writing stands in `external_issue`, reading in `external_reading`.
"""

import time
import urllib.parse
from collections.abc import Callable, Sequence

import psycopg

from sendback.errors import Unavailable
from sendback.metadata.base import Fetch, NotStorable, Stored, Wanted
from sendback.metadata.external_issue import SEND_DEADLINE, WRITE, Issuer, LinkRows
from sendback.metadata.external_reading import READ, ExternalReader
from sendback.metadata.external_rows import UUID
from sendback.metadata.link_numbers import LinkNumbers
from sendback.metadata.postgres import Database
from sendback.model import LinkFacts, MessageFacts, TrackingData
from sendback.secret_constants import Keyring, Purpose
from sendback.tokens import Opened

CLICK_DEADLINE = 1.0


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
        self._reader = ExternalReader(
            self._primary,
            self._failover,
            connections=connections,
            cached_rows=cached_rows,
            deadline=click_deadline,
        )
        self._issuer = Issuer(
            self._primary,
            link_rows=link_rows,
            parallel=connections,
            clock=clock,
            deadline=send_deadline,
            numbers=numbers or LinkNumbers(),
            asked=self._asked,
        )
        self._writes_asked = 0

    @property
    def queries(self) -> int:
        """Questions to a database since the start."""
        return self._writes_asked + self._reader.queries

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
        self._writes_asked += 1

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
