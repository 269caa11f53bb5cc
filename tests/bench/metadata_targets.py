"""WSGI targets that bench_metadata_web.py serves: the public side over external metadata.

The connection string and the size of the cache come by environment.
"""

import os

from web_targets import KEYRING, LINKS, MESSAGE, bare_flask

from sendback.journal import Journal, Level
from sendback.metadata import Metadata
from sendback.metadata.external import ExternalStore
from sendback.model import Catalog, LinkFacts, Storage, UrlDomain, VisitKind
from sendback.recording import Recording
from sendback.web.serving import calm_collector
from sendback.web.tracking import Site, Tracking


def issued(dsn: str, count: int) -> list[str]:
    """Tokens of links that all lead elsewhere, each in a row of its own."""
    store = ExternalStore(dsn, send_deadline=10)
    metadata = Metadata(KEYRING, external=store)
    links = [LinkFacts(url=f"{LINKS[0].url}&n={n}", pos=n + 1) for n in range(count)]
    made = []
    for start in range(0, count, 500):
        given = metadata.issue(Storage.EXTERNAL, MESSAGE, links[start : start + 500])
        assert given.storage is Storage.EXTERNAL
        made += [token for _, token in given.link_tokens]
    store.close()
    return made


def external():
    """The whole public side, durable, over external metadata."""
    catalog = Catalog(url_domains=(UrlDomain(domain="links.example.com", tls=True),))
    store = ExternalStore(
        os.environ["BENCH_DSN"],
        cached_rows=int(os.environ["BENCH_CACHE"]),
        connections=int(os.environ["BENCH_CONNECTIONS"]),
    )
    recording = Recording(
        Metadata(KEYRING, external=store),
        Journal(os.environ["BENCH_JOURNAL"], "web"),
        dict.fromkeys(VisitKind, Level[os.environ["BENCH_LEVEL"].upper()]),
        lambda: catalog,
    )
    calm_collector()
    return Tracking(Site(recording, lambda: catalog))


def __getattr__(name: str):
    if name == "app_external":
        return external()
    if name == "app_bare_flask":
        return bare_flask()
    raise AttributeError(name)
