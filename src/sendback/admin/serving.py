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
    from sendback.admin.ops import Readings

    parts = bootstrap.build_admin()
    readings = Readings(
        statuses=parts.statuses,
        expected=parts.expected,
        backlogs=parts.backlogs,
        last_seq=parts.last_seq,
        catalog=parts.catalog,
    )
    app = create_admin_app(readings, facts=parts.facts)
    globals()[name] = app
    return app
