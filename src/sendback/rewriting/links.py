"""Decides about single links: which are tracked, which are left and for what reason.

The scanners say where links stand; here it is told what they mean: destination, link id, marks
that forbid tracking (ours and, read only, those of other systems).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from sendback.rewriting import entities, html
from sendback.rewriting.charsets import Charset
from sendback.rewriting.model import Options

UNSUBSCRIBE_TAG: Final = "##unsubscribetag##"
MAX_LINK_ID: Final = 100
#: What templates leave behind when nobody filled them in (facts 4.1, peers R24).
_PLACEHOLDERS: Final = (
    ("{{", "}}"), ("{%", "%}"), ("*|", "|*"), ("[%", "%]"), ("%%", "%%"), ("<%", "%>"),
)  # fmt: skip
_OWN_PATHS: Final = re.compile(r"(?:/uni)?/click|/open|/unsub")
#: Parts of attribute names that mark a link, to see quickly that a tag holds none.
_MARKS: Final = (b"track", b"linkid", b"universal", b"deeplink")
#: Marks of other systems (R26): read, never written. Value None: presence is enough.
_ALIASES: Final[dict[bytes, bytes | None]] = {
    b"data-no-track": None,
    b"data-notrack": None,
    b"ses:no-track": None,
    b"disable-tracking": None,
    b"mc:disable-tracking": None,
    b"clicktracking": b"off",
    b"data-msys-clicktrack": b"0",
}


@dataclass(slots=True)
class Candidate:
    """A link that a scanner found: its place in the text, and what became of it."""

    start: int
    end: int
    url: str
    reason: str = ""  # why it is left; empty: it is tracked
    kind: Literal["click", "unsub"] = "click"
    link_id: str | None = None
    universal: bool = False
    blank: int = -1


def in_html(
    view: bytes, text: bytes, anchors: Iterable[html.Anchor], charset: Charset, options: Options
) -> list[Candidate]:
    """One candidate for each anchor, in document order. Places are those of the view."""
    width = charset.width
    found = []
    for start, value_start, value_end, end, _ in anchors:
        try:
            value = (
                view[value_start:value_end].decode("ascii")
                if width == 1 and charset.kind == "plain"
                else charset.decode(text[value_start * width : value_end * width])
            )
        except UnicodeDecodeError:
            try:
                value = charset.decode(text[value_start * width : value_end * width])
            except UnicodeDecodeError:
                found.append(Candidate(value_start, value_end, "", "charset"))
                continue
        candidate = Candidate(value_start, value_end, entities.url_of(value))
        _judge_url(candidate, options)
        if not candidate.reason:
            marks = (view[start:value_start] + view[value_end:end]).lower()
            for mark in _MARKS:
                if mark in marks:
                    _read_marks(candidate, view, text, start, end, charset)
                    break
            if options.leave_visible_urls and _shows_url(view, end):
                candidate.reason = "visible-url"
        found.append(candidate)
    _judge_together(found, options)
    return found


def in_text(url: str, start: int, end: int, *, unsubscribe: bool, options: Options) -> Candidate:
    """The candidate for one URL of a text part."""
    candidate = Candidate(start, end, (UNSUBSCRIBE_TAG if unsubscribe else "") + url)
    _judge_url(candidate, options)
    _judge_together([candidate], options)
    return candidate


def _judge_url(candidate: Candidate, options: Options) -> None:
    url = candidate.url
    if url.startswith(UNSUBSCRIBE_TAG):
        url = url[len(UNSUBSCRIBE_TAG) :]
        if not options.unsubscribe_links:
            candidate.reason = "unsubscribe-off"
        elif not url[:8].lower().startswith(("http://", "https://")):
            candidate.reason = "scheme"
        else:
            candidate.kind = "unsub"
            candidate.url = url
    elif not url.startswith(("https://", "http://")) and not url[:8].lower().startswith(
        ("http://", "https://")
    ):
        candidate.reason = "scheme" if url else "empty"
    elif not options.track_clicks:
        candidate.reason = "clicks-off"
    if not candidate.reason and len(url) > options.max_url:
        candidate.reason = "too-long"


def _judge_together(candidates: list[Candidate], options: Options) -> None:
    """Reasons that few links have: looked for in all of them at once."""
    together = "\n".join([candidate.url for candidate in candidates])
    placeholders = [pair for pair in _PLACEHOLDERS if pair[0] in together]
    ours = options.own_hosts and _OWN_PATHS.search(together)
    if not placeholders and not ours:
        return
    for candidate in candidates:
        if candidate.reason:
            continue
        if any(_holds(candidate.url, *pair) for pair in placeholders):
            candidate.reason = "placeholder"
        elif ours and is_ours(candidate.url, options.own_hosts):
            candidate.reason = "ours"


def _holds(url: str, opening: str, closing: str) -> bool:
    at = url.find(opening)
    return at >= 0 and url.find(closing, at + len(opening)) >= 0


def is_ours(url: str, own_hosts: frozenset[str]) -> bool:
    """Whether the URL leads to one of our tracking paths on one of our hosts."""
    rest = url.partition("://")[2]
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    path = re.split(r"[?#]", rest[len(authority) :], maxsplit=1)[0]
    host = authority.rpartition("@")[2].lower()
    name = host.partition(":")[0].rstrip(".")
    return (host in own_hosts or name in own_hosts) and _OWN_PATHS.fullmatch(path) is not None


def _read_marks(
    candidate: Candidate, view: bytes, text: bytes, start: int, end: int, charset: Charset
) -> None:
    """Reads the attributes behind href that mean something to us (seed 004); none is removed."""
    marks = html.attributes(view, start, end)
    href = marks[b"href"].start
    behind = {name: mark for name, mark in marks.items() if mark.start > href}
    foreign = any(
        name in marks and (value is None or (marks[name].value or b"").strip().lower() == value)
        for name, value in _ALIASES.items()
    )
    if (b"data-ga-notrack" in behind or foreign) and candidate.kind == "click":
        candidate.reason = "notrack"
    for name in (b"universal", b"deeplink"):
        if name in behind and (behind[name].value or b"").strip().lower() == b"true":
            candidate.universal = True
    link_id = behind.get(b"data-ga-linkid")
    if link_id is not None and link_id.value:
        width = charset.width
        raw = text[link_id.value_start * width : (link_id.value_start + len(link_id.value)) * width]
        try:
            identity = entities.text_of(charset.decode(raw)).strip()
        except UnicodeDecodeError:
            return
        if 0 < len(identity) <= MAX_LINK_ID:
            candidate.link_id = identity


_VISIBLE_URL: Final = re.compile(rb"[\t\n\f\r ]*+(?:[hH][tT][tT][pP][sS]?+://|[wW]{3}\.)")


def _shows_url(view: bytes, end: int) -> bool:
    return _VISIBLE_URL.match(view, end) is not None
