"""The hot path: /click, /uni/click and /open, answered before Flask sees the request.

Our share of a click is about 5 us (tests/bench/bench_web.py): a dictionary look-up, one MAC, one
record, one append. So nothing here builds a request object, logs, or asks for more than it needs.
`Site.answer` serves the Flask views as well: one handler, the same octets either way. Where the
server can wait for an answer (`Tracking.serve`), no thread stands still while the disk is written.

Order of checks (CONTRACT section 6): path, method, length, host, token.
"""

from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from sendback.errors import Malformed, NotFound, SendbackError, Unavailable
from sendback.links import token_of_query
from sendback.model import Catalog, Hint
from sendback.recording import Recording
from sendback.secret_constants import Purpose
from sendback.web import answers
from sendback.web.answers import Answer, Environ, Respond, StartResponse, Wsgi
from sendback.web.pages import Pages
from sendback.web.unsubscribe import Unsubscribe
from sendback.web.visitor import TrustedProxies, host_name
from sendback.web.wellknown import ROBOTS, WellKnown

MAX_URI = 8192
"""Octets of path and query; over it 414."""
SENT = Answer("", ())
"""In place of an answer: `respond` was called or will be."""


class Tracking:
    """WSGI: answers the public routes by itself and hands everything else to `fallback`.

    Without one everything else is the 404 page, as Flask's views would say.
    """

    def __init__(self, site: "Site", fallback: Wsgi | None = None) -> None:
        self._answer = site.answer
        self._not_found = site.pages.not_found
        self._fallback = fallback

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """One request; PEP 3333."""
        answer = self._answer(environ)
        if answer is None:
            if self._fallback is not None:
                return self._fallback(environ, start_response)
            answer = self._not_found(environ)
        start_response(answer.status, list(answer.headers))
        # a list: granian takes its one item as it is, where a tuple costs 6 us of iteration
        return [answer.body] if environ["REQUEST_METHOD"] != "HEAD" else []

    def serve(self, environ: Environ, respond: Respond) -> None:
        """One request, for servers that can wait: `respond` is called once, perhaps later.

        So no thread stands still while a database is asked or the disk is written. Only without a
        fallback.
        """
        answer = self._answer(environ, respond)
        if answer is not SENT:
            if answer is None:
                answer = self._not_found(environ)
            answers.send(respond, answer, with_body=environ["REQUEST_METHOD"] != "HEAD")

    @property
    def can_serve(self) -> bool:
        """True when `serve` answers all that the call does."""
        return self._fallback is None


class Route(msgspec.Struct, frozen=True):
    """How one path is answered, and what is said before a look at its token."""

    answer: Callable[[Environ], Answer]
    sends: Callable[[Environ, Respond], Answer] | None = None
    """The same for a GET whose answer may come later, through `respond`: SENT then."""
    takes_post: bool = False
    of_token: bool = False
    """Limited to our own hosts by `strict_hosts`."""
    always: Answer | None = None
    """Given in place of every refusal but 405."""


class Site:
    """Every public route, from a WSGI environ to an `Answer`."""

    def __init__(
        self,
        recording: Recording,
        catalog: Callable[[], Catalog],
        *,
        proxies: TrustedProxies | None = None,
        strict_hosts: bool = False,
        strict_one_click: bool = False,
        log: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._recording = recording
        self._proxies = proxies or TrustedProxies()
        self._visitor = self._proxies.visitor
        self._catalog = catalog
        self._strict_hosts = strict_hosts
        self._log = log
        self.pages = Pages()
        unsubscribe = Unsubscribe(
            recording, self._visitor, self.pages, self.failed, strict_one_click=strict_one_click
        )
        wellknown = WellKnown(catalog, self._proxies, self.pages)
        self._routes = {
            "/click": _both(partial(self._click, Purpose.CLICK, int(Hint.NONE))),
            "/uni/click": _both(partial(self._click, Purpose.UNI, int(Hint.UNIVERSAL))),
            "/open": _both(self._open, always=answers.PIXEL),
            "/unsub": Route(unsubscribe.answer, takes_post=True, of_token=True),
            "/robots.txt": Route(lambda _environ: ROBOTS),
        }
        for path, document in wellknown.documents.items():
            self._routes[path] = Route(partial(wellknown.answer, document))

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that is ours."""
        return tuple(self._routes)

    def answer(self, environ: Environ, respond: Respond | None = None) -> Answer | None:
        """The answer to a request, None when its path is none of ours; never raises.

        With `respond` it may be SENT: then that is called once, as soon as the visit is kept.
        """
        path = environ.get("PATH_INFO", "")  # PEP 3333 lets a server leave both out
        query = environ.setdefault("QUERY_STRING", "")
        route = self._routes.get(path)
        if route is None:
            return None
        method = environ["REQUEST_METHOD"]
        if method != "GET" and method != "HEAD" and not (route.takes_post and method == "POST"):
            return answers.READ_OR_POST if route.takes_post else answers.READ_ONLY
        if len(path) + len(query) >= MAX_URI:
            return route.always or answers.TOO_LONG
        try:
            if self._strict_hosts and route.of_token and not self._is_own_host(environ):
                return route.always or self.pages.not_found(environ)
            if respond is not None and route.sends is not None and method == "GET":
                return route.sends(environ, respond)
            return route.answer(environ)
        except Exception as fault:  # noqa: BLE001 - a fault of ours is no recipient's traceback
            sorry = self._refusal(environ, fault)
            return route.always or sorry

    def _click(
        self, purpose: Purpose, hints: int, environ: Environ, respond: Respond | None = None
    ) -> Answer:
        visitor = self._visitor(environ, hints) if environ["REQUEST_METHOD"] == "GET" else None
        token = token_of_query(environ["QUERY_STRING"])
        try:
            if respond is not None:
                self._recording.click_then(
                    purpose,
                    token,
                    visitor,
                    partial(answers.send_redirect, respond),
                    partial(self._send_refusal, environ, respond),
                )
                return SENT
            return answers.redirect(self._recording.click(purpose, token, visitor))
        except SendbackError as reason:
            return self._refusal(environ, reason)

    def _open(self, environ: Environ, respond: Respond | None = None) -> Answer:
        visitor = self._visitor(environ) if environ["REQUEST_METHOD"] == "GET" else None
        token = token_of_query(environ["QUERY_STRING"])
        try:
            if respond is not None:
                self._recording.open(token, visitor, partial(answers.send_pixel, respond))
                return SENT
            self._recording.open(token, visitor)
        except (Malformed, NotFound):
            pass  # the picture is shown whatever happens, or readers see a broken one
        return answers.PIXEL

    def _refusal(self, environ: Environ, reason: Exception) -> Answer:
        if isinstance(reason, (Malformed, NotFound)):
            return self.pages.not_found(environ)
        if isinstance(reason, Unavailable):
            return self.failed(environ, reason)
        self._log(f"ERROR WEB: {environ['PATH_INFO']}: {type(reason).__name__}: {reason}")
        return self.pages.unavailable(environ)

    def _send_refusal(self, environ: Environ, respond: Respond, reason: Exception) -> None:
        """The refusal of a GET that was put off; any thread's, and never raises."""
        answers.send(respond, self._refusal(environ, reason))

    def failed(self, environ: Environ, reason: Unavailable, *, form: bool = False) -> Answer:
        """The 503 page, and the line that operators look for (seed 004).

        With `form` the page holds the button that unsubscribes, for that needs no database.
        """
        host = environ.get("HTTP_HOST", "")
        _, original = self._proxies.client(environ)
        url = f"{self._proxies.scheme(environ)}://{original}{environ['PATH_INFO']}"
        query = environ["QUERY_STRING"]
        self._log(
            "ERROR EXTERNAL METADATA: "
            f"original_url={_shown(f'{url}?{query}')} original_domain={_shown(original)} "
            f"request_domain={_shown(host)}: {reason}"
        )
        return (
            self.pages.unavailable_unsubscribe(environ) if form else self.pages.unavailable(environ)
        )

    def _is_own_host(self, environ: Environ) -> bool:
        known = self._catalog().url_domain_by_host
        if host_name(environ.get("HTTP_HOST", "")) in known:
            return True
        return host_name(self._proxies.client(environ)[1]) in known


def _both(answer: Callable[..., Answer], always: Answer | None = None) -> Route:
    """A route of tokens whose answer may come later."""
    return Route(answer, sends=answer, of_token=True, always=always)


def _shown(text: str) -> str:
    """`text` for one line of a log: what could move a terminal's cursor is escaped (W14)."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    return text.encode("unicode_escape").decode("ascii").replace(" ", "\\x20")
