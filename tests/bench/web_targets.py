"""WSGI targets that bench_web.py serves: the public side as a node builds it, and bare Flask.

The journal directory and its level come by environment; everything else is the product's own.
"""

import os
import time
from pathlib import Path

from sendback.journal import FileOps, Journal, Level
from sendback.metadata import Metadata
from sendback.model import Catalog, LinkFacts, LinkKind, MessageFacts, Storage, UrlDomain, VisitKind
from sendback.recording import Recording
from sendback.secret_constants import Keyring
from sendback.web.serving import calm_collector
from sendback.web.tracking import Site, Tracking

KEYRING = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64)))
LINKS = (
    LinkFacts(url="https://shop.example.com/sale/item-4711?utm_source=mail&utm_id=17", pos=1),
    LinkFacts(url="https://news.example.com/bye", kind=LinkKind.UNSUB_BODY_CONFIRM, pos=2),
)
MESSAGE = MessageFacts(
    email="somebody@example.org",
    listid="news",
    sendid="news20261124",
    mail_class="news",
    url_domain="links.example.com",
    tagged_at=1_790_000_000,
)


class SlowFiles(FileOps):
    """A disk that takes BENCH_SLOW_SYNC_MS longer for each sync."""

    def fdatasync(self, fd: int) -> None:
        """As `FileOps.fdatasync`, later."""
        if _SLOW_SYNC_S:
            time.sleep(_SLOW_SYNC_S)
        super().fdatasync(fd)


_SLOW_SYNC_S = float(os.environ.get("BENCH_SLOW_SYNC_MS") or 0) / 1000


class NoJournal:
    """Keeps nothing: what is left is the web's own cost."""

    def append(self, payload: bytes, *, level: Level, timeout: float | None = None) -> bool:
        """As `Journal.append`."""
        return True

    def append_then(self, payload, then, fail, *, timeout: float) -> None:
        """As `Journal.append_then`."""
        then()


def issued():
    """Tokens of one message, as its links would hold them."""
    return Metadata(KEYRING).issue(Storage.STATELESS, MESSAGE, LINKS)


def bare_flask():
    """The yardstick: Flask that answers one 302."""
    from flask import Flask, Response

    app = Flask("bare")

    @app.get("/click")
    def click() -> Response:
        return Response(status=302, headers={"Location": LINKS[0].url})

    return app


def bare_wsgi():
    """The floor: what granian and the kernel cost before a line of ours runs."""
    from sendback.web.answers import redirect

    answer = redirect(LINKS[0].url)
    headers = list(answer.headers)

    def application(_environ, start_response):
        start_response(answer.status, headers)
        return [b""]

    return application


def public_side(*, fast_path: bool = True):
    """The whole public side over a real journal; BENCH_LEVEL is `os` or `disk`."""
    if os.environ["BENCH_LEVEL"]:
        level = Level[os.environ["BENCH_LEVEL"].upper()]
        journal = Journal(Path(os.environ["BENCH_JOURNAL"]), "web", files=SlowFiles())
    else:
        level, journal = Level.OS, NoJournal()
    catalog = Catalog(url_domains=(UrlDomain(domain="links.example.com", tls=True),))
    recording = Recording(
        Metadata(KEYRING), journal, dict.fromkeys(VisitKind, level), lambda: catalog
    )
    site = Site(recording, lambda: catalog)
    if fast_path:
        calm_collector()
        return Tracking(site)
    from sendback.web.app import create_app

    return create_app(site, fast_path=False)


def views():
    """The same through the Flask views (`fast_path = false`)."""
    return public_side(fast_path=False)


def __getattr__(name: str):
    if name.startswith("app_"):
        return globals()[name.removeprefix("app_")]()
    raise AttributeError(name)
