"""A site over fakes that can be broken at will, and a WSGI client that shows every octet."""

import contextlib
import io
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec
import pytest

from sendback.errors import Forged, NotFound, SendbackError, Unavailable
from sendback.journal import Level
from sendback.model import (
    Catalog,
    LinkFacts,
    LinkKind,
    MessageFacts,
    TrackingData,
    UrlDomain,
    Visit,
    VisitKind,
)
from sendback.recording import Recording
from sendback.secret_constants import Purpose
from sendback.web.app import create_app
from sendback.web.tracking import Site, Tracking
from sendback.web.visitor import TrustedProxies

MESSAGE = MessageFacts(
    email="ann+x@example.org", listid="news", sendid="news20261124", tagged_at=1_790_000_000
)
AASA = '{ "applinks": {\n "details": []} }'
ASSET_LINKS = '[{"relation": ["é"]}]'


class FakeMetadata:
    """Knows the tokens it was told; `down` makes every read after the MAC fail."""

    def __init__(self) -> None:
        self.known: dict[tuple[Purpose, bytes], LinkFacts | None] = {
            (Purpose.CLICK, b"click"): LinkFacts(url="https://shop.example/a?b=c#d", link_id="buy"),
            (Purpose.UNI, b"uni"): LinkFacts(url="https://shop.example/app", universal=True),
            (Purpose.CLICK, b"script"): LinkFacts(url="javascript:alert(1)"),
            (Purpose.CLICK, b"crlf"): LinkFacts(url="https://x.example/\r\nSet-Cookie: a=b"),
            (Purpose.CLICK, b"gone"): None,
            (Purpose.OPEN, b"open"): LinkFacts(url=""),
            (Purpose.UNSUB, b"redirect"): LinkFacts(
                url="https://list.example/bye?a=1#top", kind=LinkKind.UNSUB_BODY_REDIRECT
            ),
            (Purpose.UNSUB, b"confirm"): LinkFacts(
                url="https://list.example/bye", kind=LinkKind.UNSUB_BODY_CONFIRM
            ),
            (Purpose.UNSUB, b"header"): LinkFacts(url="", kind=LinkKind.UNSUB_HEADER),
        }
        self.down = False
        self.message_down = False
        self.fault: Exception | None = None
        self.reads = 0
        self.is_asked = False
        """A link is not at hand: a database has to say it."""

    def find(self, purpose: Purpose, token: bytes) -> "LinkFacts | FakeFetch":
        if not self.is_asked:
            return self.link(purpose, token)
        self.verify(purpose, token)
        return FakeFetch(
            lambda: self.link(purpose, token), lambda: self.resolve(purpose, token).message
        )

    def link(self, purpose: Purpose, token: bytes) -> LinkFacts:
        if self.fault:
            raise self.fault
        if (purpose, token) not in self.known:
            raise Forged("the MAC does not verify")
        self.reads += 1
        if self.down:
            raise Unavailable("primary: connection refused")
        facts = self.known[purpose, token]
        if facts is None:
            raise NotFound("no such row")
        return facts

    def verify(self, purpose: Purpose, token: bytes) -> None:
        if self.fault:
            raise self.fault
        if (purpose, token) not in self.known:
            raise Forged("the MAC does not verify")

    def resolve(self, purpose: Purpose, token: bytes) -> TrackingData:
        link = self.link(purpose, token)
        if self.message_down:
            raise Unavailable("primary: connection refused")
        return TrackingData(MESSAGE, link)


class FakeFetch:
    """Says what `link` says, by calling back."""

    def __init__(self, link, message) -> None:
        self.wait = link
        self._message = message

    def start(self, then, fail, *, with_message: bool = False) -> None:
        message = None
        if with_message:
            with contextlib.suppress(SendbackError):
                message = self._message()
        try:
            then(self.wait(), message)
        except Exception as error:  # noqa: BLE001 - as the port says
            fail(error)


class FakeJournal:
    """Keeps what it is given; may be slow or full."""

    def __init__(self) -> None:
        self.visits: list[Visit] = []
        self.levels: list[Level] = []
        self.in_time = True
        self.full = False
        self._decode = msgspec.msgpack.Decoder(Visit).decode

    def append(self, payload: bytes, *, level: Level, timeout: float | None = None) -> bool:
        assert timeout is not None
        assert timeout <= 0.25
        if self.full:
            raise Unavailable("no space left on device")
        self.visits.append(self._decode(payload))
        self.levels.append(level)
        return self.in_time

    def append_then(self, payload: bytes, then, fail, *, timeout: float) -> None:
        try:
            if not self.append(payload, level=Level.DISK, timeout=timeout):
                fail(None)
        except Unavailable as error:
            fail(error)
        then()


@dataclass
class Got:
    """One answer, as a WSGI server would send it."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} stands there {len(values)} times"
        return values[0] if values else ""

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Node:
    """The public side of a node over fakes; `app` is called as a WSGI server would."""

    metadata: FakeMetadata = field(default_factory=FakeMetadata)
    journal: FakeJournal = field(default_factory=FakeJournal)
    catalog: Catalog = field(
        default_factory=lambda: Catalog(
            url_domains=(
                UrlDomain(
                    domain="links.example.com",
                    tls=True,
                    apple_app_site_association=AASA,
                    android_asset_links=ASSET_LINKS,
                ),
                UrlDomain(domain="plain.example.com", apple_app_site_association=AASA),
                UrlDomain(domain="bücher.example", tls=True, android_asset_links="[]"),
                UrlDomain(domain="bare.example.com", tls=True),
            )
        )
    )
    lines: list[str] = field(default_factory=list)
    app: object = None
    site: Site | None = None
    recording: Recording | None = None

    def build(self, *, fast_path: bool = True, proxies: tuple[str, ...] = (), **options) -> "Node":
        self.recording = Recording(
            self.metadata,
            self.journal,
            {
                VisitKind.CLICK: Level.DISK,
                VisitKind.OPEN: Level.OS,
                VisitKind.UNSUB: Level.DISK,
            },
            lambda: self.catalog,
            clock=lambda: 1_790_000_123.456,
        )
        site = Site(
            self.recording,
            lambda: self.catalog,
            proxies=TrustedProxies(proxies),
            log=self.lines.append,
            **options,
        )
        self.site = site
        self.app = create_app(site, fast_path=fast_path)
        return self

    def ask(
        self, uri: str, method: str = "GET", *, body: bytes = b"", content_type: str = "", **environ
    ) -> Got:
        path, _, query = uri.partition("?")
        request = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8080",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "203.0.113.9",
            "HTTP_HOST": "links.example.com",
            "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        if body:
            request["CONTENT_LENGTH"] = str(len(body))
        if content_type:
            request["CONTENT_TYPE"] = content_type
        request.update({key: value for key, value in environ.items() if value is not None})
        for key in [key for key, value in environ.items() if value is None]:
            request.pop(key, None)
        answers: list[tuple[str, list[tuple[str, str]]]] = []
        chunks = self.app(
            request, lambda status, headers, _exc=None: answers.append((status, headers))
        )
        got = b"".join(chunks)
        if hasattr(chunks, "close"):
            chunks.close()
        ((status, headers),) = answers
        code, _, reason = status.partition(" ")
        return Got(int(code), reason, list(headers), got)


def as_wsgi(tracking) -> object:
    """`Tracking.serve` behind the face of a WSGI callable, so that `Node.ask` can call it."""

    def application(environ, start_response):
        answers: list[tuple[int, list[tuple[str, str]], bytes]] = []
        tracking.serve(environ, lambda *answer: answers.append(answer))
        ((code, headers, body),) = answers
        start_response(f"{code} {HTTPStatus(code).phrase}", headers)
        return [body]

    return application


@pytest.fixture
def node() -> Node:
    return Node().build()


@pytest.fixture
def make_node():
    """Nodes with other options: `make_node(strict_hosts=True)`."""
    return lambda **options: Node().build(**options)


@pytest.fixture(scope="session")
def served():
    """Makes a node answer through `Tracking.serve`."""

    def change(node: Node) -> Node:
        node.app = as_wsgi(Tracking(node.site))
        return node

    return change


@pytest.fixture(scope="session")
def make_nodes():
    """Two nodes alike but for the fast path: (with, without)."""
    options = {"strict_hosts": True, "proxies": ("203.0.113.0/24",)}
    return lambda: (Node().build(**options), Node().build(fast_path=False, **options))
