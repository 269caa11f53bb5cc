"""Use case: a token and a visitor in, a destination out, the visit journaled before the answer.

Here stands what an answer needs and what it leaves behind. What a request looks like is the web's
business, what an event looks like is finishing's, and who is a robot is the agents' to say.

The recipient comes first: a redirect waits for the journal 250 ms at most and is given even when
nothing could be written; then the visit is counted as late or lost. Only an unsubscribe that
asks for a receipt is refused while it can't be kept (`Unavailable`): its sender tries again.
"""

import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol
from urllib.parse import quote

import msgspec

from sendback.errors import Forged, NotFound, Unavailable
from sendback.journal import Level
from sendback.metadata import Fetch
from sendback.model import (
    Catalog,
    LinkFacts,
    LinkKind,
    MessageFacts,
    TrackingData,
    Visit,
    VisitKind,
    uuid7,
)
from sendback.secret_constants import Purpose

JOURNAL_TIMEOUT_S = 0.25
"""No answer to a visitor waits longer for the disk (DESIGN section 2)."""
MAX_USER_AGENT = 512
"""Octets of a user agent kept (facts/reliability.md W14)."""
MAX_HOST = 255


#: Plain numbers: an enumeration's member costs a Python call wherever it is hashed or encoded.
_CLICK, _OPEN, _UNSUB = (int(kind) for kind in VisitKind)
_OS = Level.OS


class MetadataReader(Protocol):
    """What recording needs of `sendback.metadata.Metadata`."""

    def find(self, purpose: Purpose, token: bytes) -> LinkFacts | Fetch:
        """Enough to redirect, or the way to it where a database must be asked.

        Forged before anything is looked up; NotFound; Unavailable.
        """

    def link(self, purpose: Purpose, token: bytes) -> LinkFacts:
        """As `find`, and waits."""

    def resolve(self, purpose: Purpose, token: bytes) -> TrackingData:
        """All that the token stands for; the same errors."""

    def verify(self, purpose: Purpose, token: bytes) -> None:
        """Forged unless the token is genuine; asks no database."""


class JournalWriter(Protocol):
    """What recording needs of `sendback.journal.Journal`."""

    def append(self, payload: bytes, *, level: Level, timeout: float | None = None) -> bool:
        """True: kept at that level. False: not yet, after `timeout` s. Unavailable: it can't be."""

    def append_then(
        self,
        payload: bytes,
        then: Callable[[], None],
        fail: Callable[[Unavailable | None], None],
        *,
        timeout: float,
    ) -> None:
        """`append` to the disk that calls `then()`, once, in any thread, instead of waiting.

        Before it `fail(None)` for what `append` answers with False, `fail(error)` for its error.
        """


class Visitor(msgspec.Struct, frozen=True):
    """Who asked, as plain text from the request; `host` is the one in the link."""

    ip: str
    user_agent: str
    hints: int = 0
    host: str = ""


class Recording:
    """Answers visits and journals them. Every method takes `visitor=None` to record nothing.

    Safe for many threads at once: it holds no state but counters, which may miss a beat.
    """

    def __init__(
        self,
        metadata: MetadataReader,
        journal: JournalWriter,
        levels: Mapping[VisitKind, Level],
        catalog: Callable[[], Catalog],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metadata = metadata
        self._link = metadata.link
        self._find = metadata.find
        self._journal = journal
        self._append = journal.append
        self._levels = tuple(levels[kind] for kind in VisitKind)
        self._catalog = catalog
        self._clock = clock
        self._encode = msgspec.msgpack.Encoder().encode
        self._late = self._lost = 0

    def click(self, purpose: Purpose, token: bytes, visitor: Visitor | None) -> str:
        """The `Location` of a click link, ASCII. Forged, NotFound or Unavailable otherwise.

        An operator's override answers in place of the destination; a blocked one is NotFound.
        """
        location = self._location(purpose, token, self._link(purpose, token))
        if visitor is not None:
            self._keep(_CLICK, token, visitor)
        return location

    def click_then(
        self,
        purpose: Purpose,
        token: bytes,
        visitor: Visitor | None,
        then: Callable[[str], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """As `click`, and no thread waits for a database or for the disk.

        (But where blocks are in force and the link's row is known, its message is asked for.)
        One of the two is called, once, in any thread, perhaps at once: `then` with the location
        when the click is kept, `fail` with what `click` would raise. What needs nobody's answer is
        raised here.
        """
        found = self._find(purpose, token)
        if isinstance(found, LinkFacts):
            self._answer_click(token, visitor, then, self._location(purpose, token, found))
            return
        found.start(
            partial(self._answer_found, token, visitor, then),
            fail,
            with_message=bool(self._catalog().blocks),
        )

    def _answer_found(
        self,
        token: bytes,
        visitor: Visitor | None,
        then: Callable[[str], None],
        link: LinkFacts,
        message: MessageFacts | None,
    ) -> None:
        sendid = message.sendid if message is not None else ""
        location = location_of(_destination(self._catalog(), link, lambda: sendid))
        self._answer_click(token, visitor, then, location)

    def _answer_click(
        self, token: bytes, visitor: Visitor | None, then: Callable[[str], None], location: str
    ) -> None:
        if visitor is None:
            then(location)
        elif self._levels[0] is _OS:
            self._keep(_CLICK, token, visitor)
            then(location)
        else:
            self._keep_then(_CLICK, token, visitor, partial(then, location))

    def open(
        self, token: bytes, visitor: Visitor | None, then: Callable[[], None] | None = None
    ) -> None:
        """Records an open of one of our messages; Forged when the token is not ours.

        Whether the facts can be had now is not asked: finishing will find them. `then` as in
        `click`.
        """
        self._metadata.verify(Purpose.OPEN, token)
        if visitor is not None:
            if then is not None and self._levels[1] is not _OS:
                self._keep_then(_OPEN, token, visitor, then)
                return
            self._keep(_OPEN, token, visitor)
        if then is not None:
            then()

    def unsubscribe_link(self, token: bytes) -> LinkFacts:
        """What the unsubscribe link is, nothing recorded. Forged, NotFound or Unavailable."""
        return self._link(Purpose.UNSUB, token)

    def unsubscribe(self, token: bytes, visitor: Visitor | None, *, must_keep: bool) -> str:
        """Takes the recipient off the list; gives the `Location` of the sender's page, or "".

        "" for a header link, for a blocked destination and while the metadata database is down:
        a valid token always gets its answer. Forged or NotFound for others. With `must_keep`,
        Unavailable when the journal can't take it.
        """
        location = self._senders_page(token)
        if visitor is not None:
            self._keep(_UNSUB, token, visitor, must_keep)
        return location

    def counters(self) -> dict[str, int]:
        """Visits answered before they were on disk (late), and never written (lost)."""
        return {"visits_late": self._late, "visits_lost": self._lost}

    def _keep(self, kind: int, token: bytes, visitor: Visitor, must_keep: bool = False) -> None:
        payload = self._encode(self._visit(kind, token, visitor))
        try:
            if not self._append(payload, level=self._levels[kind - 1], timeout=JOURNAL_TIMEOUT_S):
                self._late += 1
        except Unavailable:
            self._lost += 1
            if must_keep:
                raise

    def _keep_then(
        self, kind: int, token: bytes, visitor: Visitor, then: Callable[[], None]
    ) -> None:
        payload = self._encode(self._visit(kind, token, visitor))
        self._journal.append_then(payload, then, self._not_kept, timeout=JOURNAL_TIMEOUT_S)

    def _not_kept(self, error: Unavailable | None) -> None:
        if error is None:
            self._late += 1
        else:
            self._lost += 1

    def _visit(self, kind: int, token: bytes, visitor: Visitor) -> Visit:
        time_ms = int(self._clock() * 1000)
        return Visit(
            uuid7(time_ms),
            time_ms,
            kind,
            token,
            visitor.ip,
            visitor.user_agent,
            visitor.hints,
            visitor.host,
        )

    def _location(self, purpose: Purpose, token: bytes, link: LinkFacts) -> str:
        catalog = self._catalog()
        if catalog.overrides or catalog.blocks:
            sendid = partial(self._sendid, purpose, token)
            return location_of(_destination(catalog, link, sendid))
        return location_of(link.url)

    def _sendid(self, purpose: Purpose, token: bytes) -> str:
        """The SendID of the token's message, "" where that can't be known now."""
        try:
            return self._metadata.resolve(purpose, token).message.sendid
        except (NotFound, Unavailable):
            return ""

    def _senders_page(self, token: bytes) -> str:
        try:
            link = self._link(Purpose.UNSUB, token)
        except Unavailable:
            return ""
        if link.kind is LinkKind.UNSUB_HEADER or not link.url:
            return ""
        try:
            url = _destination(self._catalog(), link, partial(self._sendid, Purpose.UNSUB, token))
        except NotFound:
            return ""  # blocked: the recipient leaves the list, and goes nowhere
        try:
            message = self._metadata.resolve(Purpose.UNSUB, token).message
        except (NotFound, Unavailable):
            return location_of(url)
        merged = merge_query(
            url, [("email", message.email), ("sendid", message.sendid), ("listid", message.listid)]
        )
        return location_of(merged)


def _destination(catalog: Catalog, link: LinkFacts, sendid: Callable[[], str]) -> str:
    """Where the link leads by what the operator says; NotFound when that is nowhere.

    A send that is not known is not blocked: its link works, as it would without the block.
    """
    url = link.url
    if catalog.overrides:
        by_id = catalog.overrides.get(link.link_id) if link.link_id else None
        url = by_id or catalog.overrides.get(url) or url
    if catalog.blocks:
        if destination_host(url) in catalog.blocked:
            raise NotFound("links to this host are blocked")
        name = sendid()
        if name and name in catalog.blocked:
            raise NotFound("links of this send are blocked")
    return url


_UNSAFE = re.compile(r"[^\x21-\x7e]")
_WEB_SCHEMES = ("https://", "http://")


def location_of(url: str) -> str:
    """`url` with space, controls and non-ASCII percent-encoded (UTF-8), nothing else changed.

    Forged when it is not http or https with an authority: such a link was never made here
    (facts/reliability.md W1), and a header can't be broken by it (W7).
    """
    if not url.startswith(_WEB_SCHEMES) and not url[:8].lower().startswith(_WEB_SCHEMES):
        raise Forged("the destination is neither http nor https")
    if url.isascii() and url.isprintable() and " " not in url:
        return url
    return _UNSAFE.sub(_percent_encoded, url)


def _percent_encoded(match: re.Match[str]) -> str:
    return "".join(f"%{octet:02X}" for octet in match[0].encode(errors="replace"))


def merge_query(url: str, pairs: list[tuple[str, str]]) -> str:
    """`url` with `pairs` behind its own query and before its fragment.

    What the sender wrote stays as it is: a name that is there already is not given again.
    """
    url, hash_mark, fragment = url.partition("#")
    path, question, query = url.partition("?")
    names = {part.partition("=")[0] for part in query.split("&")}
    ours = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs if name not in names)
    joint = "&" if query and ours and not query.endswith("&") else ""
    return f"{path}{question or '?'}{query}{joint}{ours}{hash_mark}{fragment}"


_AUTHORITY = re.compile(r"https?:[/\\]+([^/\\?#]*)", re.IGNORECASE)


def destination_host(url: str) -> str:
    """The host as a browser would ask for it: lower case, A-labels, no port; "" for none."""
    match = _AUTHORITY.match(url)
    host = match[1].rpartition("@")[2] if match else ""
    if not host.startswith("["):
        host = host.partition(":")[0]
    host = host.rstrip(".").lower()
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return host
