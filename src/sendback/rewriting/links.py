"""Decides about single links: which are tracked, which are left and for what reason.

The scanners say where links stand; here it is told what they mean: destination, link id, marks
that forbid tracking (ours and, read only, those of other systems).
"""

import re
from collections.abc import Sequence
from typing import AnyStr, Final, Literal, NamedTuple

from sendback.rewriting import entities, markup
from sendback.rewriting.charsets import Charset
from sendback.rewriting.model import Options

Kind = Literal["click", "unsub"]

UNSUBSCRIBE_TAG: Final = "##unsubscribetag##"
MAX_LINK_ID: Final = 100
#: Characters of a raw href that are worth decoding.
MAX_VALUE: Final = 65_536
#: What templates leave behind when nobody filled them in (facts 4.1, peers R24).
_PLACEHOLDERS: Final = (
    ("{{", "}}"), ("{%", "%}"), ("*|", "|*"), ("[%", "%]"), ("%%", "%%"), ("<%", "%>"),
)  # fmt: skip
#: One character of each opening, the rarer one in URLs: a single one is found at once.
_RARE: Final = ("{", "{", "|", "[", "%", "<")
_SCHEMES: Final = ("https://", "http://")
_OWN_PATHS: Final = re.compile(r"(?:/uni)?/click|/open|/unsub")
#: A URL without any of them is none of ours.
_OWN_SIGNS: Final = ("/click", "/open", "/unsub")
#: Printable ASCII and the line end.
_USUAL: Final = bytes((0x0A, *range(0x20, 0x7F)))
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


class Candidate(NamedTuple):
    """A link that a scanner found: its place in the text, and what becomes of it."""

    start: int
    end: int
    url: str
    reason: str  # why it is left; empty: it is tracked
    kind: Kind
    link_id: str | None
    universal: bool
    blank: int  # where a blank in the tag may become a line end, if there is one; or -1


_new = tuple.__new__  # a third of the time of calling the class


def in_html(
    view: bytes, text: bytes, anchors: Sequence[markup.Anchor], charset: Charset, options: Options
) -> list[Candidate]:
    """One candidate for each anchor, in document order. Places are those of the view.

    What few links need is looked for in all of them at once, and only then in each.
    """
    if not anchors:
        return []
    urls = _urls(view, text, anchors, charset)
    doubts = _doubts([url for url in urls if url is not None], options)
    tags = b"\n".join([view[start:end] for start, _, _, end in anchors]).lower()
    marked = [mark for mark in _MARKS if mark in tags]
    # What most links need is this and no more: an http URL, no sign of a doubt in it, and no mark
    # in its tag.
    signs = None if options.leave_visible_urls else _signs(doubts)
    found = []
    for (start, value_start, value_end, end), given in zip(anchors, urls, strict=True):
        if (
            signs is not None
            and given
            and given.startswith(_SCHEMES)
            and not (signs and _any_in(signs, given))
            and not (marked and _any_in(marked, view[start:end].lower()))
        ):
            found.append(
                _new(
                    Candidate,
                    (value_start, value_end, given, "", "click", None, False, start + 2),
                )
            )
            continue
        kind: Kind = "click"
        link_id = None
        universal = False
        url = given or ""
        if given is None:
            reason = "charset"
        elif not given.startswith(_SCHEMES):
            reason, kind, url = _unusual(given, options, doubts)
        else:
            reason = _doubted(given, options, doubts) if doubts else ""
        if not reason and marked:
            tag = view[start:value_start] + view[value_end:end]
            if _any_in(marked, tag.lower()):
                untracked, link_id, universal = _marks(view, text, start, end, charset)
                if untracked and kind == "click":
                    reason = "notrack"
        if not reason and options.leave_visible_urls and _VISIBLE_URL.match(view, end):
            reason = "visible-url"
        found.append(
            _new(
                Candidate,
                (value_start, value_end, url, reason, kind, link_id, universal, start + 2),
            )
        )
    return found


def _signs(doubts: Sequence[tuple[str, str]]) -> list[str] | None:
    """Texts without which a URL is beyond these doubts; None when they are about every URL."""
    signs: list[str] = []
    for opening, reason in doubts:
        if opening:
            signs.append(opening)
        elif reason == "ours":
            signs += _OWN_SIGNS
        else:
            return None
    return signs


def _any_in(pieces: Sequence[AnyStr], whole: AnyStr) -> bool:
    for piece in pieces:  # noqa: SIM110 - any() would make a generator for each link
        if piece in whole:
            return True
    return False


def in_text(url: str, start: int, end: int, *, unsubscribe: bool, options: Options) -> Candidate:
    """The candidate for one URL of a text part."""
    tagged = UNSUBSCRIBE_TAG + url if unsubscribe else url
    reason, kind, url = _unusual(tagged, options, _doubts([url], options))
    return Candidate(start, end, url, reason, kind, None, False, -1)


def _urls(
    view: bytes, text: bytes, anchors: Sequence[markup.Anchor], charset: Charset
) -> Sequence[str | None]:
    """The destination of each anchor; None where the charset can't read it."""
    if charset.kind == "plain":
        joined = b"\n".join([view[start:end] for _, start, end, _ in anchors])
        if joined.count(b"\n") == len(anchors) - 1 and not joined.translate(None, _USUAL):
            together = joined.decode("ascii")
            if "&" in together and together.count("&") == together.count("&amp;"):
                together = together.replace("&amp;", "&")
            elif "&" in together:
                return [_destination(url) for url in together.split("\n")]
            if " " in together:
                return [url.strip(" ") for url in together.split("\n")]
            return together.split("\n")
    width = charset.width
    found: list[str | None] = []
    for _, start, end, _ in anchors:
        try:
            found.append(_destination(charset.decode(text[start * width : end * width])))
        except UnicodeDecodeError:
            found.append(None)
    return found


def _destination(value: str) -> str:
    # What is that long is left for its length; decoding it would only take time.
    return entities.url_of(value) if len(value) <= MAX_VALUE else value


def _doubts(urls: Sequence[str], options: Options) -> list[tuple[str, str]]:
    """What may keep some of these URLs from being tracked: placeholders, or a named reason."""
    together = "\n".join(urls)
    found = [
        pair
        for rare, pair in zip(_RARE, _PLACEHOLDERS, strict=True)
        if rare in together and pair[0] in together
    ]
    if options.own_hosts and _any_in(_OWN_SIGNS, together):
        found.append(("", "ours"))
    if not options.track_clicks:
        found.append(("", "clicks-off"))
    if len(together) > options.max_url < max(map(len, urls)):
        found.append(("", "too-long"))
    return found


def _doubted(url: str, options: Options, doubts: Sequence[tuple[str, str]]) -> str:
    """Why an http URL is left; nothing when it is tracked."""
    for opening, closing in doubts:
        if opening:
            if opening in url and _holds(url, opening, closing):
                return "placeholder"
        elif (
            closing == "clicks-off"
            or (closing == "too-long" and len(url) > options.max_url)
            or (closing == "ours" and is_ours(url, options.own_hosts))
        ):
            return closing
    return ""


def _unusual(
    url: str, options: Options, doubts: Sequence[tuple[str, str]]
) -> tuple[str, Kind, str]:
    """Reason, kind and destination for any URL, also unsubscribe links and other schemes."""
    kind: Kind = "click"
    if url.startswith(UNSUBSCRIBE_TAG):
        url = url[len(UNSUBSCRIBE_TAG) :]
        if not options.unsubscribe_links:
            return "unsubscribe-off", "unsub", url
        kind = "unsub"
        doubts = [doubt for doubt in doubts if doubt[1] != "clicks-off"]
    if not url[:8].lower().startswith(_SCHEMES):
        return "scheme" if url else "empty", kind, url
    return _doubted(url, options, doubts), kind, url


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


def _marks(
    view: bytes, text: bytes, start: int, end: int, charset: Charset
) -> tuple[bool, str | None, bool]:
    """What the attributes behind href say: not to be tracked, link id, universal (seed 004)."""
    marks = markup.attributes(view, start, end)
    href = marks[b"href"].start
    behind = {name: mark for name, mark in marks.items() if mark.start > href}
    untracked = b"data-ga-notrack" in behind or any(
        name in marks and (value is None or (marks[name].value or b"").strip().lower() == value)
        for name, value in _ALIASES.items()
    )
    universal = any(
        name in behind and (behind[name].value or b"").strip().lower() == b"true"
        for name in (b"universal", b"deeplink")
    )
    mark = behind.get(b"data-ga-linkid")
    link_id = None
    if mark is not None and mark.value:
        width = charset.width
        raw = text[mark.value_start * width : (mark.value_start + len(mark.value)) * width]
        try:
            link_id = entities.text_of(charset.decode(raw)).strip()
        except UnicodeDecodeError:
            link_id = ""
    return untracked, link_id if link_id and len(link_id) <= MAX_LINK_ID else None, universal


_VISIBLE_URL: Final = re.compile(rb"[\t\n\f\r ]*+(?:[hH][tT][tT][pP][sS]?+://|[wW]{3}\.)")
