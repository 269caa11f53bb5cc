"""Reading external metadata when somebody comes back: cache, primary, read failover (seed 004).

Rows never change, so what was read is kept. What all visitors want at one time is asked for in one
question; a visitor who holds a thread waits in it (`Batcher`), another one is called back
(`Questions`). A link's row counts only when it is what the token's number binds.
"""

import contextlib
import hmac
import queue
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from sendback.errors import Malformed, NotFound, Unavailable
from sendback.metadata.batching import Batcher
from sendback.metadata.cache import RowCache
from sendback.metadata.calling_back import Questions
from sendback.metadata.channel import Statement
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
from sendback.metadata.postgres import Database, Slow
from sendback.model import LinkFacts, MessageFacts, TrackingData
from sendback.tokens import Opened

#: The read failover is asked too when the primary has said nothing for this long.
HEDGE_AFTER = 0.075

READ = Statement(
    "sendback_read",
    "select id, data from ga_tracking_data where id = any ($1::uuid[])",
    b"{}",
)


class Answer(NamedTuple):
    """Rows found, and why some database could not say anything about the others."""

    found: dict[bytes, bytes]
    reasons: tuple[str, ...]


class ExternalReader:
    """What visitors and finishing ask of `ga_tracking_data`; for any number of threads."""

    def __init__(
        self,
        primary: Database,
        failover: Database | None,
        *,
        connections: int,
        cached_rows: int,
        deadline: float,
    ) -> None:
        self._primary = primary
        self._failover = failover
        self._deadline = deadline
        self.messages: RowCache[MessageFacts] = RowCache(cached_rows)
        self.links: RowCache[LinkFacts] = RowCache(cached_rows)
        self._reads: Batcher[frozenset[bytes], Answer] = Batcher(self._read, parallel=connections)
        self._questions: Questions[frozenset[bytes], Answer] = Questions(self._read)
        self.queries = 0

    def find(self, opened: Opened) -> "LinkFacts | ExternalFetch":
        """The link when its row was read before, by whichever recipient; else how to get it."""
        return self.links.get(_number_of(opened)) or ExternalFetch(self, opened)

    def resolve(self, opened: Opened) -> TrackingData:
        """See the port."""
        message = self.messages.get(opened.body[:UUID])
        link = self.links.get(_number_of(opened))
        if message is None or link is None:
            ids = self._ids_of(opened, with_message=True)
            answer = self._reads.submit(ids.wanted, self._until())
            link, message = self._link_of(opened, ids, answer), self._message_of(ids, answer)
        return TrackingData(message, link)

    def prefetch(self, tokens: Sequence[Opened]) -> None:
        """Read the rows of many tokens in one query, so that `resolve` finds them; never raises."""
        wanted: dict[bytes, Opened] = {}
        for opened in tokens:
            if len(opened.body) != UUID + NUMBER:
                continue
            if self.messages.get(opened.body[:UUID]) is None:
                wanted[opened.body[:UUID]] = opened
            if self.links.get(_number_of(opened)) is None:
                wanted[row_id_of(opened.key, _number_of(opened))] = opened
        if not wanted:
            return
        try:
            answer = self._reads.submit(frozenset(wanted), self._until())
        except Unavailable:
            return
        for row_id, data in answer.found.items():
            opened = wanted[row_id]
            with contextlib.suppress(Unavailable):  # of a newer version: `resolve` will say so
                if row_id == opened.body[:UUID]:
                    self._keep_message(data, row_id)
                else:
                    self._keep_link(data, opened)

    def fetch(self, opened: Opened) -> LinkFacts:
        """The link, from primary and failover; remembered."""
        ids = self._ids_of(opened)
        return self._link_of(opened, ids, self._reads.submit(ids.wanted, self._until()))

    def fetch_then(
        self,
        opened: Opened,
        then: Callable[[LinkFacts, MessageFacts | None], None],
        fail: Callable[[Exception], None],
        *,
        with_message: bool,
    ) -> None:
        """As `base.Fetch.start`; raises what needs no question."""
        with_message = with_message and not self.messages.is_unknown(opened.body[:UUID])
        ids = self._ids_of(opened, with_message=with_message)
        self._questions.ask(ids.wanted, self._until(), partial(self._told, opened, ids, then), fail)

    def ask(self, ids: frozenset[bytes], deadline: float) -> Answer:
        """Primary, then failover when it can't be reached or lacks a row (seed 004)."""
        self.queries += 1
        patience = HEDGE_AFTER if self._failover is not None else None
        found: dict[bytes, bytes] = {}
        reasons = []
        try:
            found = _rows(self._primary.run(READ, _array(ids), deadline, patience=patience))
        except Slow as slow:
            return self._race(ids, slow, deadline)
        except Unavailable as error:
            reasons.append(str(error))
        missing = ids - found.keys()
        if missing and self._failover is not None:
            try:
                found.update(_rows(self._failover.run(READ, _array(missing), deadline)))
            except Unavailable as error:
                reasons.append(str(error))
        return Answer(found, tuple(reasons))

    def close(self) -> None:
        """Whoever asked is still answered."""
        self._questions.close()

    # -- one link ---------------------------------------------------------------------------------

    def _until(self) -> float:
        return time.monotonic() + self._deadline

    def _ids_of(self, opened: Opened, *, with_message: bool = False) -> "_Ids":
        """The rows to ask for. Malformed; NotFound for those that were unknown a moment ago."""
        if len(opened.body) != UUID + NUMBER:
            raise Malformed("an external token of an unknown length")
        link_id = row_id_of(opened.key, _number_of(opened))
        if with_message:
            ids = _Ids(link_id, opened.body[:UUID], frozenset((link_id, opened.body[:UUID])))
        else:
            ids = _Ids(link_id, None, frozenset((link_id,)))
        for row_id in ids.wanted:
            if self.messages.is_unknown(row_id):
                raise NotFound("no such row in the external database (asked a moment ago)")
        return ids

    def _told(
        self,
        opened: Opened,
        ids: "_Ids",
        then: Callable[[LinkFacts, MessageFacts | None], None],
        answer: Answer,
    ) -> None:
        message = None
        with contextlib.suppress(NotFound, Unavailable):  # the link leads on without it
            message = self._message_of(ids, answer)
        then(self._link_of(opened, ids, answer), message)

    def _link_of(self, opened: Opened, ids: "_Ids", answer: Answer) -> LinkFacts:
        link = self._keep_link(answer.found.get(ids.link), opened)
        if link is None:
            raise self._missing(ids.link, answer)
        return link

    def _message_of(self, ids: "_Ids", answer: Answer) -> MessageFacts:
        if ids.message is None:
            raise NotFound("the message was not asked for")
        message = self._keep_message(answer.found.get(ids.message), ids.message)
        if message is None:
            raise self._missing(ids.message, answer)
        return message

    def _missing(self, row_id: bytes, answer: Answer) -> NotFound | Unavailable:
        """Why the row is not there."""
        if answer.reasons:
            return Unavailable("; ".join(answer.reasons))
        if row_id not in answer.found:
            self.messages.put_unknown(row_id)
        return NotFound("no such row in the external database, or one that is not ours: pruned?")

    def _keep_message(self, data: bytes | None, message_id: bytes) -> MessageFacts | None:
        """Keep a message's row; None when it is none of ours."""
        row = decode_row(data, MessageRow)
        if row is None:
            return None
        message = message_facts(row)
        self.messages.put(message_id, message)
        return message

    def _keep_link(self, data: bytes | None, opened: Opened) -> LinkFacts | None:
        """Keep a link's row that is what the token's number binds; None when it is another."""
        row = decode_row(data, LinkRow)
        if row is None:
            return None
        number = _number_of(opened)
        try:
            link = link_facts(row)
            if not hmac.compare_digest(number_of_row(opened.key, row, link), number):
                return None
        except (ValueError, Malformed):  # a kind of link, or a letter, that never was
            return None
        self.links.put(number, link)
        return link

    # -- the databases ----------------------------------------------------------------------------

    def _read(self, jobs: Sequence[frozenset[bytes]], deadline: float | None) -> Sequence[Answer]:
        """The rows that all who wait want, in one question."""
        assert deadline is not None
        answer = self.ask(frozenset().union(*jobs), deadline)
        return [answer] * len(jobs)

    def _race(self, ids: frozenset[bytes], slow: Slow, deadline: float) -> Answer:
        """Wait for a slow primary and ask the failover too: the first hit wins, a miss waits."""
        failover = self._failover
        assert failover is not None
        answers: queue.SimpleQueue[dict[bytes, bytes] | str] = queue.SimpleQueue()

        def ask(question: Callable[[], list[tuple[bytes | None, ...]]]) -> None:
            try:
                answers.put(_rows(question()))
            except Unavailable as error:
                answers.put(str(error))

        for question in (slow.finish, lambda: failover.run(READ, _array(ids), deadline)):
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
        return Answer(found, tuple(reasons))


class ExternalFetch:
    """A link whose row has to be asked for; nothing is asked before `wait` or `start`."""

    __slots__ = ("_opened", "_reader")

    def __init__(self, reader: ExternalReader, opened: Opened) -> None:
        self._reader = reader
        self._opened = opened

    def wait(self) -> LinkFacts:
        """See `base.Fetch`."""
        return self._reader.fetch(self._opened)

    def start(
        self,
        then: Callable[[LinkFacts, MessageFacts | None], None],
        fail: Callable[[Exception], None],
        *,
        with_message: bool = False,
    ) -> None:
        """See `base.Fetch`."""
        self._reader.fetch_then(self._opened, then, fail, with_message=with_message)


class _Ids(NamedTuple):
    """The uuids of a token's rows; `message` is None where it is not asked for."""

    link: bytes
    message: bytes | None
    wanted: frozenset[bytes]


def _number_of(opened: Opened) -> bytes:
    return opened.body[UUID:]


def _array(ids: frozenset[bytes]) -> bytes:
    return ("{" + ",".join([row_id.hex() for row_id in ids]) + "}").encode()


def _rows(rows: list[tuple[bytes | None, ...]]) -> dict[bytes, bytes]:
    """Uuid to JSON text; jsonb in binary has one byte, its version, before the text."""
    return {row_id: data[1:] for row_id, data in rows if row_id and data}
