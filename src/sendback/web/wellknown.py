"""Association files of URL domains (seed 004), and robots.txt.

The document goes out byte for byte, as application/json and without a redirect: Apple's and
Google's fetchers accept nothing else.
"""

from collections.abc import Callable

from sendback.model import Catalog
from sendback.web import answers
from sendback.web.answers import Answer, Environ
from sendback.web.pages import Pages
from sendback.web.visitor import TrustedProxies, host_name

#: Google's fetcher of assetlinks.json obeys robots.txt; everything else here is no page to index.
ROBOTS = answers.document(
    b"User-agent: *\nAllow: /.well-known/\nAllow: /apple-app-site-association\nDisallow: /\n",
    "text/plain; charset=utf-8",
    max_age=86400,
)


class WellKnown:
    """Serves the two documents of a URL domain with TLS; 404 for everything else."""

    documents = {  # noqa: RUF012 - a constant table
        "/.well-known/apple-app-site-association": "apple_app_site_association",
        "/apple-app-site-association": "apple_app_site_association",
        "/.well-known/assetlinks.json": "android_asset_links",
    }

    def __init__(
        self, catalog: Callable[[], Catalog], proxies: TrustedProxies, pages: Pages
    ) -> None:
        self._catalog = catalog
        self._proxies = proxies
        self._pages = pages

    def answer(self, field: str, environ: Environ) -> Answer:
        """The document for the request's Host; a trusted proxy's X-Forwarded-Host comes second."""
        known = self._catalog().url_domain_by_host
        domain = known.get(host_name(environ.get("HTTP_HOST", ""))) or known.get(
            host_name(self._proxies.client(environ)[1])
        )
        text: str = getattr(domain, field) if domain is not None and domain.tls else ""
        if not text:
            return self._pages.not_found(environ)
        return answers.document(text.encode(), "application/json")
