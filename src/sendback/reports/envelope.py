"""A message taken apart on bytes: headers, MIME parts, decoded text. Never raises, always linear.

Forgiving on purpose: leading blank lines, mbox `From ` lines, bare CR, boundaries that are cut
off, undeclared or missing. Nothing here knows what a bounce is.
"""

import binascii
import re
from html import unescape
from typing import NamedTuple

#: Text of a part that anything further looks at, in bytes after decoding.
TEXT_CAP = 32 * 1024
#: Parts taken apart at most, over all levels; nesting at most MAX_DEPTH.
MAX_PARTS = 40
MAX_DEPTH = 6

_FIELD = re.compile(rb"^([!-9;-~]{1,80})[ \t]*:[ \t]*([^\n]*(?:\n[ \t][^\n]*)*)", re.MULTILINE)
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:+-]{1,40})", re.IGNORECASE)
_GUESSED = re.compile(rb"^--(\S[^\n]{0,200})\n(?=content-|mime-)", re.MULTILINE | re.IGNORECASE)
_WORD = re.compile(r"=\?([\w.:+*-]{1,40})\?([bBqQ])\?([^?\s]{0,400})\?=(?:\s+(?==\?))?")
#: Fields that nobody here reads: not worth decoding, and a third of all headers.
_UNREAD = frozenset(
    (
        b"received",
        b"dkim-signature",
        b"arc-seal",
        b"arc-message-signature",
        b"arc-authentication-results",
        b"authentication-results",
        b"received-spf",
        b"x-received",
        b"x-google-dkim-signature",
        b"x-gm-message-state",
        b"domainkey-signature",
        b"x-google-smtp-source",
        b"message-id",
        b"date",
        b"mime-version",
    )
)
_REPORT_MARKS = (b"final-recipient", b"original-recipient", b"feedback-type", b"delivery-status")

#: Charsets that Python calls otherwise, or that are not worth a failure.
_ALIASES = {"unicode-1-1-utf-7": "ascii", "ansi_x3.110-1983": "latin-1", "uft-8": "utf-8"}


class Part(NamedTuple):
    """One leaf of the MIME tree; `body` is as it stood, `kind` the lower-case media type."""

    kind: str
    headers: dict[str, str]
    body: bytes

    def decoded(self) -> bytes:
        """The body after its transfer encoding, capped; undecodable input is given as it is."""
        encoding = self.headers.get("content-transfer-encoding", "").strip().lower()
        if encoding.startswith("quoted"):
            return binascii.a2b_qp(self.body[: 2 * TEXT_CAP])[:TEXT_CAP]
        if encoding.startswith("base64"):
            return decode_base64(self.body[: 2 * TEXT_CAP])[:TEXT_CAP]
        return self.body[:TEXT_CAP]

    @property
    def is_encoded(self) -> bool:
        """Whether the body must be decoded before words can be found in it."""
        return self.headers.get("content-transfer-encoding", "").strip()[:1] in ("q", "Q", "b", "B")

    def text(self) -> str:
        """The decoded body as text; HTML without its tags."""
        content_type = self.headers.get("content-type", "")
        found = _CHARSET.search(content_type)
        text = decode_text(self.decoded(), found[1] if found else "")
        return strip_html(text) if self.kind == "text/html" else text


class Mail(NamedTuple):
    """A message: first value of each header (lower-case names), the whole, its leaves."""

    headers: dict[str, str]
    raw: bytes
    lower: bytes
    parts: list[Part]


def open_mail(raw: bytes) -> Mail:
    """Take a message apart."""
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    raw = raw.lstrip(b"\n")
    if raw.startswith((b"From ", b">From ")):
        raw = raw.partition(b"\n")[2]
    head, body = split_head(raw)
    headers = read_headers(head)
    parts: list[Part] = []
    _walk(headers, body, parts, 0)
    return Mail(headers, raw, raw.lower(), parts)


def split_head(raw: bytes) -> tuple[bytes, bytes]:
    """Header block and body; a block that does not look like headers is all body."""
    if raw.startswith(b"\n"):
        return b"", raw[1:]
    if not _FIELD.match(raw):
        return b"", raw
    head, _, body = raw.partition(b"\n\n")
    return head, body


def read_headers(head: bytes) -> dict[str, str]:
    """First value of each field, unfolded, as text."""
    found: dict[str, str] = {}
    for name, value in _FIELD.findall(head[:TEXT_CAP]):
        small = name.lower()
        if small in _UNREAD:
            continue
        key = small.decode("latin-1")
        if key not in found:
            found[key] = _plain(b" ".join(value.split()) if b"\n" in value else value)
    return found


def _plain(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _walk(headers: dict[str, str], body: bytes, parts: list[Part], depth: int) -> None:
    content_type = headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower() or "text/plain"
    if depth < MAX_DEPTH:
        boundary = b""
        found = _BOUNDARY.search(content_type)
        if found and kind.startswith("multipart/"):
            boundary = (found[1] or found[2]).strip().encode("utf-8", "replace")
        if not boundary or b"--" + boundary not in body:
            boundary = _guess_boundary(kind, body)
        if boundary:
            _split(boundary, body, parts, depth)
            return
    if len(parts) < MAX_PARTS:
        parts.append(Part("text/plain" if kind.startswith("multipart/") else kind, headers, body))


def _guess_boundary(kind: str, body: bytes) -> bytes:
    """The boundary of a multipart whose declaration is missing, wrong or lost on the way."""
    if not kind.startswith("multipart/"):
        if not kind.startswith("text/"):
            return b""
        window = body[:TEXT_CAP].lower()
        if not any(mark in window for mark in _REPORT_MARKS):
            return b""
    found = _GUESSED.search(body[:TEXT_CAP])
    return found[1].rstrip() if found else b""


def _split(boundary: bytes, body: bytes, parts: list[Part], depth: int) -> None:
    pieces = (b"\n" + body).split(b"\n--" + boundary)
    if depth == 0 and len(pieces) > 1 and len(pieces[0].strip()) > 0:
        parts.append(Part("preamble", {}, pieces[0]))
    for piece in pieces[1:]:
        if len(parts) >= MAX_PARTS:
            return
        if piece.startswith(b"--"):
            continue
        rest = piece.partition(b"\n")[2]
        head, inner = split_head(rest)
        headers = read_headers(head)
        kind = headers.get("content-type", "").lstrip()[:10].lower()
        if kind == "multipart/":
            _walk(headers, inner, parts, depth + 1)
        else:
            declared = headers.get("content-type", "").partition(";")[0].strip().lower()
            parts.append(Part(declared or "text/plain", headers, inner))


def decode_base64(data: bytes) -> bytes:
    """As much of the data as is base64, however it is cut."""
    clean = data.translate(None, b" \t\n=")
    clean = clean[: len(clean) - (len(clean) % 4 == 1)]
    try:
        return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))
    except binascii.Error:
        return data


def decode_text(data: bytes, charset: str) -> str:
    """Text in whatever charset it is; what can't be decoded is replaced."""
    if data.isascii() and b"\x1b" not in data:
        return data.decode("ascii")
    name = charset.lower()
    name = _ALIASES.get(name, name)
    if b"\x1b$" in data:
        name = "iso2022_jp_ext"
    for codec in (name, "utf-8"):
        if codec:
            try:
                return data.decode(
                    codec, "strict" if codec == "utf-8" and name != codec else "replace"
                )
            except (LookupError, UnicodeError):
                continue
    return data.decode("latin-1")


def decode_words(value: str) -> str:
    """A header value with its RFC 2047 words decoded."""
    if "=?" not in value:
        return value

    def word(found: re.Match[str]) -> str:
        charset, how, data = found[1].partition("*")[0], found[2], found[3]
        octets = data.encode("utf-8", "replace")
        if how in "bB":
            octets = decode_base64(octets)
        else:
            octets = binascii.a2b_qp(octets.replace(b"_", b" "))
        return decode_text(octets, charset)

    return _WORD.sub(word, value)


_BREAKING = {"br", "p", "div", "tr", "li", "td", "h1", "h2", "h3", "table", "ul", "pre", "hr"}


def strip_html(text: str) -> str:
    """The visible text, one line a block."""
    chunks = text.split("<")
    seen = [chunks[0]]
    hidden = ""
    for chunk in chunks[1:]:
        tag, closed, rest = chunk.partition(">")
        name = tag.lstrip("/")[:12].partition(" ")[0].partition("\n")[0].rstrip("/").lower()
        if not closed:
            rest = ""
        elif "@" in tag and not tag.startswith(("a ", "!", "meta")) and "=" not in tag:
            rest = "<" + chunk  # <user@example.com> written without &lt;
        if hidden:
            if tag.startswith("/") and name == hidden:
                hidden = ""
                seen.append(rest)
            continue
        if name in ("style", "script", "title") and not tag.startswith("/"):
            hidden = name
            continue
        if name in _BREAKING:
            seen.append("\n")
        seen.append(rest)
    return unescape("".join(seen)).replace("\xa0", " ")
