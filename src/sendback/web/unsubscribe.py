"""The unsubscribe link: page, button, redirect, and the one-click POST of RFC 8058.

A link in a header never acts on GET: scanners follow it (RFC 8058 section 3.2, R14). A POST acts,
needs no cookie, is no redirect for a mail program, and may be repeated: 200 each time. A token
of ours always gets its answer, also while the metadata database is down, for the event can be
completed later.
"""

from collections.abc import Callable
from email.parser import BytesParser
from email.policy import compat32
from typing import Protocol
from urllib.parse import parse_qsl

from sendback.errors import Malformed, NotFound, Unavailable
from sendback.links import token_of_query
from sendback.model import Hint, LinkKind
from sendback.recording import Recording, Visitor
from sendback.web import answers
from sendback.web.answers import Answer, Environ
from sendback.web.pages import Pages

MAX_BODY = 1024
"""Octets of a POST that are looked at; a one-click body has 26, in multipart about 200."""

_ONE_CLICK = ("list-unsubscribe", "one-click")
_CONFIRMED = ("confirm", "1")


class Failed(Protocol):
    """Makes the 503 and its log line."""

    def __call__(self, environ: Environ, reason: Unavailable, *, form: bool = False) -> Answer:
        """With `form`, the page carries the unsubscribe button."""


class Unsubscribe:
    """Answers GET, HEAD and POST of /unsub."""

    def __init__(
        self,
        recording: Recording,
        visitor: Callable[[Environ, int], Visitor],
        pages: Pages,
        failed: Failed,
        *,
        strict_one_click: bool,
    ) -> None:
        self._recording = recording
        self._visitor = visitor
        self._pages = pages
        self._failed = failed
        self._strict_one_click = strict_one_click

    def answer(self, environ: Environ) -> Answer:
        """The answer; path, method and length are checked already."""
        try:
            token = token_of_query(environ["QUERY_STRING"])
            if environ["REQUEST_METHOD"] == "POST":
                return self._post(environ, token)
            return self._get(environ, token)
        except (Malformed, NotFound):
            return self._pages.not_found(environ)

    def _get(self, environ: Environ, token: bytes) -> Answer:
        try:
            link = self._recording.unsubscribe_link(token)
        except Unavailable as reason:
            return self._failed(environ, reason, form=True)
        if link.kind is not LinkKind.UNSUB_BODY_REDIRECT:
            return self._pages.confirm(environ)
        is_visit = environ["REQUEST_METHOD"] == "GET"
        visitor = self._visitor(environ, Hint.NONE) if is_visit else None
        location = self._recording.unsubscribe(token, visitor, must_keep=False)
        return answers.redirect(location) if location else self._pages.done(environ)

    def _post(self, environ: Environ, token: bytes) -> Answer:
        try:
            self._recording.unsubscribe_link(token)
        except Unavailable:
            pass  # the MAC was good: accepted now, completed later
        fields = _fields(environ)
        if fields is None:
            return answers.BAD_FORM
        if _ONE_CLICK in fields or (not fields and not self._strict_one_click):
            hint = Hint.ONE_CLICK
        elif _CONFIRMED in fields:
            hint = Hint.CONFIRMED
        else:
            return answers.BAD_FORM
        try:
            location = self._recording.unsubscribe(
                token, self._visitor(environ, hint), must_keep=True
            )
        except Unavailable:
            return answers.NOT_KEPT
        if hint is Hint.ONE_CLICK:
            return answers.ONE_CLICK_DONE
        return answers.see_other(location) if location else self._pages.done(environ)


def _fields(environ: Environ) -> set[tuple[str, str]] | None:
    """The form's pairs in lower case, empty for an empty body; None when it can't be read."""
    body = _body(environ)
    if body is None:
        return None
    if not body.strip():
        return set()
    content_type = environ.get("CONTENT_TYPE", "")
    if content_type[:20].lower() == "multipart/form-data;"[:20]:
        pairs = _multipart(content_type, body)
    else:
        pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=None)
    return {(name.strip().lower(), value.strip().lower()) for name, value in pairs} or None


def _body(environ: Environ) -> bytes | None:
    length = environ.get("CONTENT_LENGTH") or ""
    if not length and "HTTP_TRANSFER_ENCODING" not in environ:
        return b""
    if length and not (length.isascii() and length.isdigit() and len(length) < 9):
        return None
    if length and int(length) > MAX_BODY:
        return None
    body: bytes = environ["wsgi.input"].read(int(length) if length else MAX_BODY + 1)
    return body if len(body) <= MAX_BODY else None


def _multipart(content_type: str, body: bytes) -> list[tuple[str, str]]:
    """Pairs of a multipart/form-data body of at most 1 KB, so the parser can't be overtaxed."""
    head = f"Content-Type: {content_type[:200]}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser(policy=compat32).parsebytes(head + body)
    pairs = []
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes):
            pairs.append((name, value.decode("latin-1")))
    return pairs
