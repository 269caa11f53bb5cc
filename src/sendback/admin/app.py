"""The admin port: one Flask app of status page, machine routes and REST API.

Private by default (127.0.0.1). Every answer carries the headers of a page that nobody may frame,
sniff or cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flask import Flask, Response, render_template

from sendback.admin import ops

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


def create_admin_app(
    readings: ops.Readings,
    *,
    facts: dict[str, str],
    extensions: Sequence[Callable[[Flask], None]] = (),
) -> Flask:
    """The admin application.

    `facts` are the lines of the status page's head (addresses, paths, version); `extensions`
    register further routes, the REST API among them.
    """
    app = Flask("sendback.admin")
    app.register_blueprint(ops.blueprint(readings))
    for extend in extensions:
        extend(app)

    @app.get("/")
    def status_page() -> str:
        statuses = [{**s, "uptime": ops.uptime(s)} for s in readings.statuses()]
        return render_template(
            "status.html",
            facts=facts,
            statuses=sorted(statuses, key=lambda s: (s["part"], s["pid"])),
            problems=ops.problems(readings),
            backlogs=readings.backlogs(),
            last_seq=readings.last_seq(),
        )

    @app.after_request
    def seal(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app
