"""Sendback: everything that mail sends back, as signed and durable events.

`create_app()` is what `flask --app sendback` finds. The library calls are `sendback.rewriting`
(messages in, tracked messages out) and `sendback.reports` (what a bounce or complaint says).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

__version__ = "0.1.0"


def create_app() -> Flask:
    """The public Flask application with the command tree; reads no configuration, opens nothing.

    The routes build their parts at the first request, commands at their first use.
    """
    from sendback.cli import tree
    from sendback.web.app import create_app as web_app
    from sendback.web.serving import build_site

    app = web_app(build=lambda: build_site()[0])
    app.cli = tree()
    return app
