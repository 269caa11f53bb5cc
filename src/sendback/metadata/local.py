"""Local metadata: rows in this node's `metadata.sqlite`, short links (seed 004, "Local").

`links` has one row for each (sendid, listid, url up to `?`); what may differ between two places of
one URL in a message (position, link id, kind ...) stands in `placements`; `messages` has a row for
each tagged message. The query string travels in the token. Written by submission and the command
line, read by everybody. A random store id is bound into every token, so that another node, or a
recreated file, never answers with its own row of the same number.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sendback.errors import Malformed, NotFound, Unavailable
from sendback.metadata.base import (
    HEADER_LINK,
    MAX_TOKEN,
    AnotherStore,
    BounceRef,
    NotStorable,
    Stored,
    Wanted,
    check_text,
    purpose_of,
)
from sendback.metadata.batching import Batcher
from sendback.metadata.record import decode_number, encode_number
from sendback.metadata.sqlite_file import Ids, Job, LinkRow, Placement, Writer
from sendback.metadata.sqlite_reader import Reader
from sendback.model import LinkFacts, LinkKind, MessageFacts, TrackingData
from sendback.secret_constants import Keyring, Purpose
from sendback.tokens import Opened, Version, open_binary, seal

_STORE_HINT = 2
_DAY = 86400
_LINKS_COUNTED = 1000
_COUNT_AGAIN_S = 60.0


class LocalStore:
    """The back-end on `metadata.sqlite`. `readonly` (web, worker): never makes or writes it."""

    def __init__(
        self,
        path: str | Path,
        *,
        readonly: bool = False,
        clock: Callable[[], float] = time.time,
        busy_timeout: float = 5.0,
    ) -> None:
        self.path = Path(path)
        self._readonly = readonly
        self._clock = clock
        self._link_counts: dict[tuple[str, str, str], tuple[float, int | None]] = {}
        self._reader = Reader(self.path, busy_timeout)
        self._writer = Writer(self.path, clock, busy_timeout)
        self._batcher: Batcher[Sequence[Job], Sequence[Ids]] = Batcher(self._write)
        if not readonly:
            self._writer.open()

    # -- tagging ----------------------------------------------------------------------------------

    def issue(self, keyring: Keyring, message: MessageFacts, links: Sequence[LinkFacts]) -> Stored:
        """See the port. On disk (FULL) before it returns; threads share one commit."""
        (made,) = self.issue_many(keyring, ((message, links),))
        if isinstance(made, Exception):
            raise made
        return made[:2]

    def issue_many(
        self, keyring: Keyring, messages: Sequence[Wanted]
    ) -> list[tuple[list[str], str, list[str]] | NotStorable]:
        """In one commit; beside what `issue` gives the tokens for OPEN, MAILTO, REPORT, FEEDBACK
        and BOUNCE. Unavailable when nothing can be written.
        """
        if self._readonly:
            raise Unavailable("local metadata is opened for reading only here")
        made: list[tuple[list[str], str, list[str]] | NotStorable] = []
        jobs = []
        taken = []
        for number, (message, links) in enumerate(messages):
            made.append(NotStorable())
            try:
                check_text(message, links)
            except NotStorable as error:
                made[number] = error
                continue
            jobs.append((message, _placements(message, links)))
            taken.append((number, message, links))
        ids = self._batcher.submit(jobs) if jobs else ()
        for (number, message, links), given in zip(taken, ids, strict=True):
            made[number] = self._tokens(keyring, message, links, given)
        return made

    def _write(
        self, jobs: Sequence[Sequence[Job]], deadline: float | None
    ) -> Sequence[Sequence[Ids]]:
        """The rows of all that wait, in one commit."""
        ids = iter(self._writer.run([one for job in jobs for one in job], deadline))
        return [list(itertools.islice(ids, len(job))) for job in jobs]

    def _tokens(
        self, keyring: Keyring, message: MessageFacts, links: Sequence[LinkFacts], ids: Ids
    ) -> tuple[list[str], str, list[str]]:
        store = ids.store_id
        start = store[:_STORE_HINT] + encode_number(ids.message)
        tokens = []
        for link, placement in zip(links, ids.placements, strict=True):
            _, mark, query = link.url.partition("?")
            body = start + encode_number(placement) + (mark + query).encode()
            token = seal(keyring, purpose_of(link), Version.LOCAL, body, store)
            tokens.append(token if len(token) <= MAX_TOKEN else "")
        header = seal(keyring, Purpose.UNSUB, Version.LOCAL, start + b"\0", store)
        others = [
            seal(keyring, purpose, Version.LOCAL, start, store)
            for purpose in (Purpose.OPEN, Purpose.MAILTO, Purpose.REPORT, Purpose.FEEDBACK)
        ]
        day = min(max(message.tagged_at // _DAY, 0), 0xFFFF).to_bytes(2, "big")
        others.append(seal(keyring, Purpose.BOUNCE, Version.BOUNCE_LOCAL, start + day, store))
        return tokens, header, others

    # -- coming back ------------------------------------------------------------------------------

    def open(
        self, keyring: Keyring, purpose: Purpose, binary: bytes, *, include_retired: bool = False
    ) -> Opened:
        """The token, verified with this store's id; Forged when it is of another store."""
        hint = binary[2 : 2 + _STORE_HINT]
        store = self._reader.store_id(hint)
        if hint != store[:_STORE_HINT]:
            raise AnotherStore
        return open_binary(keyring, purpose, binary, store, include_retired=include_retired)

    def find(self, purpose: Purpose, opened: Opened) -> LinkFacts:
        """See the port. No query when the row was read before."""
        placement, query = self._parse(purpose, opened)[1:]
        return self._link(placement, query)

    def resolve(self, purpose: Purpose, opened: Opened) -> TrackingData:
        """See the port."""
        message_id, placement, query = self._parse(purpose, opened)
        message = self._reader.message(message_id)
        if placement is None:
            return TrackingData(message)
        return TrackingData(message, self._link(placement, query))

    def resolve_bounce(self, opened: Opened) -> BounceRef:
        """What a bounce token says; `message` None when its row was pruned."""
        message_id, at = _number(opened.body, _STORE_HINT)
        if len(opened.body) != at + 2:
            raise Malformed("a bounce token of an unknown length")
        try:
            message = self._reader.message(message_id)
        except NotFound:
            message = None
        return BounceRef(
            message=message,
            tagged_day=int.from_bytes(opened.body[at:], "big"),
            key_id=opened.key_id,
        )

    def _parse(self, purpose: Purpose, opened: Opened) -> tuple[int, int | None, str]:
        body = opened.body
        message_id, at = _number(body, _STORE_HINT)
        if purpose not in (Purpose.CLICK, Purpose.UNI, Purpose.UNSUB):
            if at != len(body):
                raise Malformed("a token made by a newer version of sendback")
            return message_id, None, ""
        placement, at = _number(body, at)
        try:
            return message_id, placement, str(body[at:], "utf-8")
        except UnicodeDecodeError:
            raise Malformed("a token made by a newer version of sendback") from None

    def _link(self, placement: int | None, query: str) -> LinkFacts:
        if placement == 0:
            return HEADER_LINK
        if placement is None:
            raise Malformed("this token has no link")
        found = self._reader.placement(placement)
        return LinkFacts(
            url=found.url + query,
            kind=LinkKind(found.kind),
            link_id=found.link_id,
            pos=found.pos,
            universal=bool(found.universal),
            html_or_text=found.html_or_text,
        )

    def links_of_send(self, sendid: str, listid: str, html_or_text: str) -> int | None:
        """How many links any message of this send has at most, in its HTML or its text part.

        Rows are shared by all messages of a send, so this is the number of places over all of them.
        None: not known, because the messages have no SendID or too many different links.
        """
        if not sendid:
            return None
        key = (sendid, listid, html_or_text)
        now = self._clock()
        at, count = self._link_counts.get(key, (float("-inf"), None))
        if abs(now - at) > _COUNT_AGAIN_S:  # a send under way still grows
            rows = self._reader.rows(
                "select kind, pos from placements join links on links.id = placements.link"
                " where sendid = ? and listid = ? and html_or_text = ? and pos > 0 limit ?",
                (*key, _LINKS_COUNTED + 1),
            )
            places = {(LinkKind(kind) is LinkKind.CLICK, pos) for kind, pos in rows}
            count = len(places) if len(rows) <= _LINKS_COUNTED else None
            if len(self._link_counts) >= _LINKS_COUNTED:
                self._link_counts.clear()
            self._link_counts[key] = (now, count)
        return count

    # -- the file ---------------------------------------------------------------------------------

    @property
    def store_id(self) -> bytes:
        """16 random bytes, made with the file; NotFound while there is none."""
        return self._reader.store_id()

    def links_after(self, link_id: int, limit: int = 1000) -> list[LinkRow]:
        """Rows of `links` with a higher id, in order, for the statistics to copy."""
        return [
            LinkRow(*row)
            for row in self._reader.rows(
                "select id, sendid, listid, url from links where id > ? and url <> ''"
                " order by id limit ?",
                (link_id, limit),
            )
        ]

    def counts(self) -> dict[str, int]:
        """Rows by table, and the day (since 1970) of the oldest message."""
        names = ("messages", "links", "placements")
        found = {
            name: int(self._reader.rows(f"select count(*) from {name}")[0][0])  # noqa: S608 - ours
            for name in names
        }
        oldest = self._reader.rows("select tagged_at from messages order by id limit 1")
        found["oldest_day"] = int(oldest[0][0]) // _DAY if oldest else 0
        return found

    def prune(self, before: int, *, dry_run: bool = False, batch: int = 5000) -> int:
        """Forget messages tagged before this second, and links no longer used; rows deleted."""
        return self._writer.prune(before, dry_run=dry_run, batch=batch)

    def messages_to(self, email: str) -> list[dict[str, object]]:
        """What is kept of messages to this address, oldest first; [] while there is no file."""
        names = ("tagged_at", "sendid", "listid", "mail_class", "click_tracking_id", "instance_id")
        try:
            rows = self._reader.rows(
                f"select {', '.join(names)} from messages where lower(email) = lower(?)"  # noqa: S608
                " order by id",
                (email,),
            )
        except NotFound:
            return []
        return [dict(zip(names, row, strict=True)) for row in rows]

    def erase(self, email: str) -> int:
        """See the port; links that hold the address before their `?` go too."""
        if not self.path.exists():
            return 0
        return self._writer.erase(email)

    def ping(self) -> None:
        """See the port."""
        try:
            self._reader.rows("select 1 from store")
        except NotFound as error:
            raise Unavailable(str(error)) from None

    def close(self) -> None:
        """See the port."""
        self._writer.close()
        self._reader.close()


def _placements(message: MessageFacts, links: Sequence[LinkFacts]) -> tuple[Placement, ...]:
    return tuple(
        Placement(
            message.sendid,
            message.listid,
            link.url.partition("?")[0],
            int(link.kind),
            link.link_id,
            link.pos,
            link.universal,
            link.html_or_text,
        )
        for link in links
    )


def _number(body: bytes, at: int) -> tuple[int, int]:
    try:
        return decode_number(body, at)
    except IndexError:
        raise Malformed("a token made by a newer version of sendback") from None
