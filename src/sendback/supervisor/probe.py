"""Asks a part whether it answers; used for readiness, and by `sendback health`."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from sendback.bootstrap.status import read_statuses

_REQUESTS = {"web": b"GET /robots.txt", "admin": b"GET /healthz"}


def answers(part: str, host: str, port: int, data_path: Path) -> bool:
    """True when the part answered just now; the worker answers through its status file."""
    if part == "worker":
        return worker_lives(data_path)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            if request := _REQUESTS.get(part):
                connection.sendall(
                    request + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                return connection.recv(12).startswith(b"HTTP/1.1 200")
            banner = connection.recv(4)
            with contextlib.suppress(OSError):
                connection.sendall(b"QUIT\r\n")
                connection.recv(256)
            return banner.startswith(b"220")
    except OSError:
        return False


def worker_lives(data_path: Path) -> bool:
    """True when a worker's status file names a process that lives."""
    return any(status["part"] == "worker" for status in read_statuses(data_path / "control"))
