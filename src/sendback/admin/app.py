"""The admin port: one Flask app of pages for people, machine routes and REST API.

Private by default (127.0.0.1). Every answer carries the headers of a page that nobody may frame,
sniff or cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Flask, Response

from sendback.admin import ops, pages
from sendback.admin.auth import Access
from sendback.admin.bodies import BoundedRequest

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    # Under `no-referrer` browsers send `Origin: null` with our own forms (Fetch, "append Origin").
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


def create_admin_app(
    readings: ops.Readings,
    access: Access,
    *,
    facts: Mapping[str, str],
    sends: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
    extensions: Sequence[Callable[[Flask], None]] = (),
) -> Flask:
    """The admin application.

    `facts` are the lines of the status page's head (addresses, paths, version), `sends` the newest
    sends with their counts; `extensions` register further routes, the REST API among them.
    """
    app = Flask("sendback.admin")
    app.request_class = BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024
    app.register_blueprint(ops.blueprint(readings))
    pages.add_login_pages(app, access)
    pages.add_status_page(app, access, readings, facts, sends)
    pages.add_error_pages(app)
    for extend in extensions:
        extend(app)

    @app.after_request
    def seal(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app
