"""`python -m sendback.supervisor.web_server TARGET`: one WSGI target under granian or gunicorn.

The only place that names a WSGI server. One runtime thread, HTTP/1, blocking threads as set, and
backpressure above them, so that a burst waits in the kernel instead of in Python.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from sendback.bootstrap.lifeline import watch_lifeline
from sendback.config.load import parse_listen


def main() -> None:
    """Serve until SIGTERM; the address, threads and processes come from the supervisor."""
    watch_lifeline()
    target = sys.argv[1]
    host, port = parse_listen(os.environ["SENDBACK_CHILD_LISTEN"])
    processes = int(os.environ.get("SENDBACK_CHILD_PROCESSES", "1"))
    threads = int(os.environ.get("SENDBACK_CHILD_THREADS", "16"))
    if os.environ.get("SENDBACK_CHILD_SERVER") == "gunicorn":
        _gunicorn(target, f"{host}:{port}", processes, threads)
    else:
        _granian(target, host, port, processes, threads)


def _granian(target: str, host: str, port: int, processes: int, threads: int) -> None:
    from granian.constants import HTTPModes, Interfaces, RuntimeModes
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server import Server, mp

    _let_answers_come_later(mp)
    Server(
        target,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=processes,
        blocking_threads=threads,
        runtime_threads=1,
        runtime_mode=RuntimeModes.mt,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(max_buffer_size=64 * 1024),
        websockets=False,
        backlog=4096,
        backpressure=max(512, threads * 8),
        log_level=LogLevels.error,
        respawn_failed_workers=True,
        respawn_interval=0.5,
        workers_kill_timeout=10,
    ).serve()


def _let_answers_come_later(granian_mp: Any) -> None:
    """An application that has `serve` gets granian's request as it is, and answers when it can.

    granian waits for the answer, not for the callable; only the WSGI wrapping around it, which
    this replaces in the workers, knows nothing of that. So a click that waits for the disk holds
    no thread, and nobody copies an environment into every request. With another granian, that
    wraps elsewhere, applications are called as WSGI: slower, and right (docs/adr/0052).
    """
    wrap_wsgi = getattr(granian_mp, "_wsgi_call_wrap", None)
    if wrap_wsgi is None:
        return

    def wrap(application: Any, scope_opts: dict[str, Any], access_log_fmt: Any = None) -> Any:
        if not getattr(application, "can_serve", False):
            return wrap_wsgi(application, scope_opts, access_log_fmt)
        serve = application.serve

        def run(protocol: Any, environ: dict[str, Any]) -> None:
            serve(environ, protocol.response_bytes)

        return run

    granian_mp._wsgi_call_wrap = wrap  # noqa: SLF001 - said above


def _gunicorn(target: str, address: str, processes: int, threads: int) -> None:
    from gunicorn.app.base import BaseApplication
    from gunicorn.util import import_app

    class Gunicorn(BaseApplication):  # type: ignore[misc] # gunicorn has no types
        def load_config(self) -> None:
            for key, value in {
                "bind": address,
                "reuse_port": True,
                "workers": processes,
                "threads": threads,
                "worker_class": "gthread",
                "limit_request_line": 0,  # its most is 8190: the site itself says 414 above 8192
                "graceful_timeout": 10,
                "loglevel": "warning",
                "control_socket_disable": True,
            }.items():
                if key in self.cfg.settings:
                    self.cfg.set(key, value)

        def load(self) -> object:
            return import_app(target)

    Gunicorn().run()


if __name__ == "__main__":
    main()
