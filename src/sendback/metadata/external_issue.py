"""The sending half of external metadata: rows of messages and links, and the tokens that name them.

All rows of all messages that are tagged together go in one statement, and those of other threads
that wait meanwhile with them. A link's row is written once for a send (`link_numbers`).
"""

import datetime as dt
import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import msgspec

from sendback.errors import Unavailable
from sendback.metadata.base import (
    HEADER_LINK,
    NotStorable,
    Stored,
    Wanted,
    check_text,
    purpose_of,
)
from sendback.metadata.batching import Batcher
from sendback.metadata.channel import Statement
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
from sendback.metadata.link_numbers import Group, LinkNumbers
from sendback.metadata.postgres import Database
from sendback.model import LinkFacts, MessageFacts
from sendback.secret_constants import Key, Keyring, Purpose
from sendback.tokens import Version, sealing

LinkRows = Literal["none", "sendid", "listid", "both"]
SEND_DEADLINE = 0.3
_DAY = 86400

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


class Row(NamedTuple):
    """A row to write."""

    id: bytes
    date: str
    data: MessageRow | LinkRow


class _Begun(NamedTuple):
    """A message whose rows are made and not yet written."""

    message_id: bytes
    links: tuple[LinkFacts, ...]
    written: Group
    added: dict[LinkFacts, tuple[Purpose, bytes]]
    rows: list[Row]


class Issuer:
    """Writes to the primary, over at most `parallel` of its connections.

    `asked` is called once for each statement that goes out.
    """

    def __init__(
        self,
        primary: Database,
        *,
        link_rows: LinkRows,
        parallel: int,
        clock: Callable[[], float],
        deadline: float,
        numbers: LinkNumbers,
        asked: Callable[[], None],
    ) -> None:
        self._primary = primary
        self._link_rows = link_rows
        self._clock = clock
        self._deadline = deadline
        self._numbers = numbers
        self._asked = asked
        self._writes: Batcher[Sequence[Row], frozenset[bytes]] = Batcher(
            self._write, parallel=parallel
        )

    def issue_many(
        self, keyring: Keyring, messages: Sequence[Wanted]
    ) -> list[Stored | NotStorable | Unavailable]:
        """See the port; Unavailable within the send deadline. A link whose number another row has
        (a collision of 64 bits) gets the token "".
        """
        key = keyring.signing
        begun = [self._begin(key, message, links) for message, links in messages]
        rows = [row for one in begun if isinstance(one, _Begun) for row in one.rows]
        collided: frozenset[bytes] = frozenset()
        if rows:
            collided = self._writes.submit(rows, time.monotonic() + self._deadline)
        seal = {
            purpose: sealing(keyring, purpose, Version.EXTERNAL)
            for purpose in (Purpose.CLICK, Purpose.UNI, Purpose.UNSUB)
        }
        return [
            self._finish(key, seal, one, collided) if isinstance(one, _Begun) else one
            for one in begun
        ]

    def _begin(
        self, key: Key, message: MessageFacts, links: Sequence[LinkFacts]
    ) -> _Begun | NotStorable:
        sendid = message.sendid if self._link_rows in ("sendid", "both") else ""
        listid = message.listid if self._link_rows in ("listid", "both") else ""
        day = int(self._clock()) // _DAY
        written = self._numbers.group(key, day, sendid, listid)
        wanted = (*links, HEADER_LINK)
        new = [link for link in wanted if link not in written]
        try:
            check_text(message, new)
        except NotStorable as error:
            return error
        message_id, date = as_uuid4(os.urandom(UUID)), _iso(day)
        rows = [Row(message_id, date, message_row(message))]
        added = {}
        for link in new:
            row = link_row(link, sendid, listid, date)
            number = number_of_row(key, row, link)
            rows.append(Row(row_id_of(key, number), date, row))
            added[link] = (purpose_of(link), number)
        return _Begun(message_id, wanted, written, added, rows)

    def _finish(
        self,
        key: Key,
        seal: dict[Purpose, Callable[[bytes], str]],
        begun: _Begun,
        collided: frozenset[bytes],
    ) -> Stored | Unavailable:
        message_id, links, written, added, _ = begun
        for link, (purpose, number) in added.items():
            if collided and row_id_of(key, number) in collided:
                added[link] = (purpose, b"")
            else:
                self._numbers.add(written, link, purpose, number)
        tokens = []
        for link in links:
            purpose, number = added.get(link) or written[link]
            tokens.append(seal[purpose](message_id + number) if number else "")
        header = tokens.pop()
        if not header:
            return Unavailable("the row of the header link holds something else")
        return tokens, header

    def _write(
        self, jobs: Sequence[Sequence[Row]], deadline: float | None
    ) -> Sequence[frozenset[bytes]]:
        """All rows of all that wait, in one round trip; for each job the collided ids."""
        assert deadline is not None
        rows = {row.id: row for job in jobs for row in job}
        given = [{"id": row.id.hex(), "date": row.date, "data": row.data} for row in rows.values()]
        self._asked()
        answer = self._primary.run(WRITE, msgspec.json.encode(given), deadline)
        collided = frozenset(row[0] for row in answer if row[0])
        return [collided] * len(jobs)


@functools.lru_cache(8)
def _iso(day: int) -> str:
    """The UTC date of a day since 1970."""
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()
