"""A message as a reader's mailbox holds it: its links sorted, its headers, its return path.

The standard library takes it apart, forgivingly: what arrives has been through other people's
servers. Links are found as tagging finds them. Nothing is verified, nobody is asked.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from email.message import Message
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from sendback import links
from sendback.errors import Malformed
from sendback.rewriting import entities, html, markup
from sendback.secret_constants import Purpose

Place = Literal["html", "text", "image", "header"]

_TEXT_URL = re.compile(r"https?://[^\s<>\"']+")
_PICTURE = re.compile(markup.tag(b"img|amp-pixel|amp-img"))
_PUNCTUATION = ".,;:!?)]}'"
_ENTRY = re.compile(r"<\s*([^<>]+?)\s*>")


class TrackedLink(msgspec.Struct, frozen=True):
    """A URL of ours: path and query have the form of a tracking link."""

    url: str
    purpose: Purpose
    token: bytes
    place: Place

    @property
    def host(self) -> str:
        """The host it leads to, in lower case, without port."""
        try:
            return (urlsplit(self.url).hostname or "").rstrip(".")
        except ValueError:  # a bracket that is none of an IPv6 address
            return ""


class TaggedCopy(msgspec.Struct, frozen=True, kw_only=True):
    """One message, taken apart."""

    headers: tuple[tuple[str, str], ...]
    """Name in lower case and unfolded value, in order."""
    tracked: tuple[TrackedLink, ...]
    """In the order html, text; the header's is in `unsubscribe_entries`."""
    others: tuple[str, ...]
    """Further http(s) links of the HTML, each once."""
    has_html: bool
    raw_text: str
    """Every text part, decoded, for leftovers."""

    def values(self, name: str) -> list[str]:
        """The values of every header field of that name."""
        return [value for known, value in self.headers if known == name.lower()]

    def value(self, name: str) -> str:
        """The first of them, or ""."""
        return next(iter(self.values(name)), "")

    def links(self, *purposes: Purpose) -> list[TrackedLink]:
        """Tracked links of the body for these purposes."""
        return [link for link in self.tracked if link.purpose in purposes]

    @property
    def return_path(self) -> str:
        """The envelope sender that final delivery noted (RFC 5321 section 4.4), bare, or ""."""
        return self.value("return-path").strip().strip("<>").strip()

    @property
    def unsubscribe_entries(self) -> list[str]:
        """The URIs of List-Unsubscribe (RFC 2369 section 2)."""
        text = "".join(self.value("list-unsubscribe").split())
        return _ENTRY.findall(text)


def read_copy(raw: bytes) -> TaggedCopy:
    """Take a message apart; never raises."""
    message = email.message_from_bytes(_without_mbox_line(raw), policy=email.policy.compat32)
    tracked: dict[tuple[str, Place], TrackedLink] = {}
    others: dict[str, None] = {}
    texts: list[str] = []
    has_html = False
    for part in message.walk():
        kind = part.get_content_type()
        if part.is_multipart() or kind not in ("text/html", "text/plain", "text/x-amp-html"):
            continue
        text = _text_of(part)
        texts.append(text)
        has_html |= kind == "text/html"
        urls = _in_text(text) if kind == "text/plain" else _in_html(text)
        for url, place in urls:
            link = tracked_link(url, place)
            if link is not None:
                tracked.setdefault((url, place), link)
            elif place == "html":
                others.setdefault(url)
    return TaggedCopy(
        headers=tuple((name.lower(), _unfolded(value)) for name, value in _fields(message)),
        tracked=tuple(tracked.values()),
        others=tuple(others),
        has_html=has_html,
        raw_text="\n".join(texts),
    )


def tracked_link(url: str, place: Place) -> TrackedLink | None:
    """The link, when it has the form of one of ours; on whatever host."""
    try:
        purpose, token = links.parse(url)
    except Malformed:
        return None
    return TrackedLink(url, purpose, token, place)


def _without_mbox_line(raw: bytes) -> bytes:
    raw = raw.lstrip(b"\r\n")
    return raw.partition(b"\n")[2] if raw.startswith(b"From ") else raw


def _fields(message: Message) -> Iterator[tuple[str, str]]:
    for name, value in message.raw_items():
        yield name, str(value)


def _unfolded(value: str) -> str:
    text = re.sub(r"\r?\n(?=[ \t])", "", value).strip()
    return text.encode("ascii", "surrogateescape").decode("utf-8", "replace")


def _text_of(part: Message) -> str:
    body = part.get_payload(decode=True)
    octets = body if isinstance(body, bytes) else b""
    try:
        return octets.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):  # no such charset, or none for text
        return octets.decode("latin-1")


def _in_text(text: str) -> Iterator[tuple[str, Place]]:
    for found in _TEXT_URL.finditer(text):
        yield found[0].rstrip(_PUNCTUATION), "text"  # as mail programs find them


def _in_html(text: str) -> Iterator[tuple[str, Place]]:
    """Links and pictures, found as tagging finds them; inside conditional comments too."""
    document = text.encode("utf-8", "replace")
    try:
        anchors = html.scan(document).anchors
    except Malformed:  # too much of it for a tree: then every URL is a link
        yield from ((url, "html") for url, _ in _in_text(entities.text_of(text)))
        return
    for _, start, end, _ in anchors:
        yield from _web(document[start:end], "html")
    for found in _PICTURE.finditer(document):
        source = markup.attributes(document, *found.span()).get(b"src")
        yield from _web(source.value if source is not None else None, "image")


def _web(value: bytes | None, place: Place) -> Iterator[tuple[str, Place]]:
    url = entities.url_of((value or b"").decode("utf-8", "replace"))
    if url.lower().startswith(("http://", "https://")):
        yield url, place
