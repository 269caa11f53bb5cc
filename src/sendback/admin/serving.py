"""What the WSGI server loads for the admin port: `sendback.admin.serving:application`.

Built when a worker asks for it, not at import, so that importing this module opens nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask

if TYPE_CHECKING:
    from sendback.admin.auth import Access
    from sendback.admin.ops import Readings
    from sendback.bootstrap.processes import AdminParts


def __getattr__(name: str) -> Flask:
    if name != "application":
        raise AttributeError(name)
    from sendback import bootstrap
    from sendback.admin import auth
    from sendback.admin.app import create_admin_app
    from sendback.admin.ops import Readings
    from sendback.bootstrap.api import accounts_of
    from sendback.database.figures import Figures

    parts = bootstrap.build_admin()
    readings = Readings(
        statuses=parts.statuses,
        expected=parts.expected,
        backlogs=parts.backlogs,
        last_seq=parts.last_seq,
        catalog=parts.catalog,
    )
    secret = auth.node_secret(parts.core.path / "control" / "session-secret")
    access = auth.Access(accounts_of(parts.core), secret)
    with_api = _with_api(parts, readings, access)
    figures = Figures(parts.core.database)
    app = create_admin_app(
        readings,
        access,
        facts=parts.facts,
        sends=lambda: figures.sends(limit=10),
        extensions=[with_api],
    )
    globals()[name] = app
    return app


def _with_api(parts: AdminParts, readings: Readings, access: Access) -> Callable[[Flask], None]:
    """Adds the REST API."""
    from sendback.admin import ops
    from sendback.admin.api import Services, mount
    from sendback.bootstrap.api import api_parts

    def status() -> dict[str, Any]:
        return {
            "problems": ops.problems(readings),
            "processes": list(readings.statuses()),
            "last_seq": readings.last_seq(),
            "facts": parts.facts,
            "time_ms": int(time.time() * 1000),
        }

    def extend(app: Flask) -> None:
        made = api_parts(parts.core, status=status, readings=parts.backlogs)
        services = Services(**made, stopping=_told_to_end())
        mount(app, services, access)

    return extend


def _told_to_end() -> Callable[[], bool]:
    """Tells whether this process got a signal, whoever handles it.

    Servers install their handlers after loading us, so we watch the wake-up descriptor instead.
    """
    import os
    import select
    import signal

    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    except ValueError:  # not the main thread: a server that answers signals elsewhere
        return lambda: False
    return lambda: bool(select.select([woken], [], [], 0)[0])
