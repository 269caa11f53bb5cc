"""What the WSGI server loads for the admin port: `sendback.admin.serving:application`.

Built when a worker asks for it, not at import, so that importing this module opens nothing.
"""

from __future__ import annotations

from flask import Flask


def __getattr__(name: str) -> Flask:
    if name != "application":
        raise AttributeError(name)
    from sendback import bootstrap
    from sendback.admin.app import create_admin_app

    parts = bootstrap.build_admin()
    app = create_admin_app(parts.readings, facts=parts.facts, extensions=parts.extensions)
    globals()[name] = app
    return app
