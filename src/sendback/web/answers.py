"""What goes out: answers as plain values, prebuilt wherever they can be.

Every header of every answer stands here (facts/reliability.md W10). No Werkzeug object: building
one costs more than all the rest of a click.
"""

from base64 import b64decode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse as StartResponse  # noqa: PLC0414 - exported
    from _typeshed.wsgi import WSGIApplication

    Wsgi = WSGIApplication
else:
    StartResponse = Wsgi = Any

Environ = dict[str, Any]
Respond = Callable[[int, list[tuple[str, str]], bytes], None]
"""Sends one whole answer: status, headers, body. From any thread, once."""


class Answer(msgspec.Struct, frozen=True):
    """One HTTP answer. `Content-Length` is among the headers; a HEAD gets them, and no body."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""


def send(respond: Respond, answer: Answer, *, with_body: bool = True) -> None:
    """Sends `answer` whole, or its headers for a HEAD."""
    respond(int(answer.status[:3]), list(answer.headers), answer.body if with_body else b"")


UNCACHED = (
    ("Cache-Control", "no-store, private, max-age=0"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Robots-Tag", "noindex"),
    ("X-Content-Type-Options", "nosniff"),
)
#: form-action is left out on purpose: Chrome applies it to the redirect after the POST as well,
#: and that goes to the sender's site.
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
)
RETRY_AFTER_S = "5"

_REDIRECT = (*UNCACHED, ("Content-Length", "0"))


def redirect(location: str) -> Answer:
    """302 with `location` as it is; the body is empty."""
    return Answer("302 Found", (("Location", location), *_REDIRECT))


def send_redirect(respond: Respond, location: str) -> None:
    """Sends what `redirect` makes."""
    respond(302, [("Location", location), *_REDIRECT], b"")


def see_other(location: str) -> Answer:
    """303, the answer to a form."""
    return Answer("303 See Other", (("Location", location), *_REDIRECT))


def document(body: bytes, content_type: str, *, max_age: int = 300) -> Answer:
    """200 with a public document that may be cached for `max_age` seconds."""
    return Answer(
        "200 OK",
        (
            ("Content-Type", content_type),
            ("Cache-Control", f"public, max-age={max_age}"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Length", str(len(body))),
        ),
        body,
    )


def page(status: str, html: bytes, language: str, *extra: tuple[str, str]) -> Answer:
    """A page for a person, never cached."""
    return Answer(
        status,
        (
            ("Content-Type", "text/html; charset=utf-8"),
            *UNCACHED,
            ("Content-Security-Policy", _PAGE_POLICY),
            ("Content-Language", language),
            ("Vary", "Accept-Language"),
            *extra,
            ("Content-Length", str(len(html))),
        ),
        html,
    )


def plain(status: str, text: str, *extra: tuple[str, str]) -> Answer:
    """A line of text for a program."""
    body = f"{text}\n".encode()
    headers = (
        ("Content-Type", "text/plain; charset=utf-8"),
        *UNCACHED,
        *extra,
        ("Content-Length", str(len(body))),
    )
    return Answer(status, headers, body)


def not_allowed(allow: str) -> Answer:
    """405 naming the methods that are."""
    return plain(
        "405 Method Not Allowed", "This address does not take that method.", ("Allow", allow)
    )


#: 43 octets, one transparent pixel. GIF, because no mail program fails to show it.
_GIF = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")
PIXEL = Answer("200 OK", (("Content-Type", "image/gif"), *UNCACHED, ("Content-Length", "43")), _GIF)

_PIXEL_HEADERS = list(PIXEL.headers)


def send_pixel(respond: Respond) -> None:
    """Sends the PIXEL."""
    respond(200, _PIXEL_HEADERS, _GIF)


READ_ONLY = not_allowed("GET, HEAD")
READ_OR_POST = not_allowed("GET, HEAD, POST")
TOO_LONG = plain("414 URI Too Long", "This address is too long.")
ONE_CLICK_DONE = plain("200 OK", "You are unsubscribed.")
BAD_FORM = plain("400 Bad Request", "Nothing was changed: the request body is not understood.")
NOT_KEPT = plain(
    "503 Service Unavailable",
    "Nothing was changed: please try again in a moment.",
    ("Retry-After", RETRY_AFTER_S),
)
NOT_CONFIGURED = plain("503 Service Unavailable", "This node is not configured.")
