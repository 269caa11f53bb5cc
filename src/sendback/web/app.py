"""The Flask application of the public side.

The tracking routes are answered by `Tracking` in front of Flask, whose dispatch costs eight times
a whole click (facts/hotpath.md section 3). The views stay for `url_for`, `flask routes` and
`fast_path = false`, and call the same `Site`: a property test compares the two octet by octet.
"""

from collections.abc import Callable
from threading import Lock

from flask import Flask, Response, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from sendback.web import answers
from sendback.web.answers import Answer, Environ
from sendback.web.tracking import Site, Tracking

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
PATHS = {
    "/click": "click",
    "/uni/click": "universal_click",
    "/open": "open",
    "/unsub": "unsubscribe",
    "/.well-known/apple-app-site-association": "apple_app_site_association",
    "/apple-app-site-association": "apple_app_site_association_legacy",
    "/.well-known/assetlinks.json": "android_asset_links",
    "/robots.txt": "robots",
}
"""Path to endpoint name."""


def create_app(
    site: Site | None = None,
    *,
    build: Callable[[], Site] | None = None,
    fast_path: bool = True,
) -> Flask:
    """The Flask application with every public route.

    Opens nothing: without a `site`, `build` makes one at the first request; without both, every
    answer is the 503 page of a node that is not configured.
    """
    app = Flask("sendback.web", static_folder=None)
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    current = site
    building = Lock()

    def answer_of(environ: Environ) -> Answer:
        nonlocal current
        if current is None:
            if build is None:
                return answers.NOT_CONFIGURED
            with building:
                if current is None:
                    current = build()
        return current.answer(environ) or current.pages.not_found(environ)

    def view() -> Response:
        return _ExactResponse.of(answer_of(request.environ))

    for path, endpoint in PATHS.items():
        app.add_url_rule(path, endpoint, view, methods=_METHODS, provide_automatic_options=False)

    @app.errorhandler(HTTPException)
    def refused(_error: HTTPException) -> Response:
        # whatever Flask says no to (an unknown path or method), the answer is the same as without
        return view()

    if site is not None and fast_path:
        app.wsgi_app = Tracking(site, app.wsgi_app)  # type: ignore[method-assign]
    return app


class _ExactResponse(Response):
    """A response whose headers go out as they are: Werkzeug would rewrite `Location`."""

    default_mimetype = None

    @classmethod
    def of(cls, answer: Answer) -> "_ExactResponse":
        response = cls(answer.body, answer.status)
        response.headers = Headers(list(answer.headers))
        return response

    def get_wsgi_headers(self, environ: object) -> Headers:  # noqa: ARG002
        return self.headers
