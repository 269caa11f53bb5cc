"""Requests at a fixed rate, whatever the answers do.

    python fault_load.py URL RATE SECONDS [MOST CONNECTIONS]

Prints one JSON object: `p50`, `p99`, `max` in milliseconds, `answers` by status, `open` (never
answered). A request that finds no free connection waits, and its waiting is counted.
"""

import contextlib
import json
import selectors
import socket
import sys
import time
from collections import Counter, deque
from urllib.parse import urlsplit

MOST_CONNECTIONS = 512
_GRACE_SECONDS = 5.0


class _Connection:
    """One kept-alive connection; `since` is when its request was due, None while it is free."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.since: float | None = None
        self.got = b""


def run(
    url: str, rate: int, seconds: float, connections: int = MOST_CONNECTIONS
) -> dict[str, object]:
    """Send `rate` requests a second for so long; latencies and answers."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 80)
    request = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    free: deque[_Connection] = deque()
    due: deque[float] = deque()
    answers: Counter[str] = Counter()
    took: list[float] = []
    opened = busy = sent = 0
    began = time.perf_counter()
    while True:
        now = time.perf_counter()
        planned = min(int((now - began) * rate), int(rate * seconds))
        while sent < planned:
            due.append(now)
            sent += 1
        while due and (free or opened < connections):
            if not free:
                free.append(_Connection(address))
                selector.register(free[-1].socket, selectors.EVENT_READ, free[-1])
                opened += 1
            connection = free.pop()
            connection.since = due.popleft()
            connection.socket.send(request)
            busy += 1
        ended = now - began > seconds
        if ended and (not busy or now - began > seconds + _GRACE_SECONDS):
            break
        for key, _ in selector.select(0.001):
            connection = key.data
            data = b""
            with contextlib.suppress(OSError):
                data = connection.socket.recv(65536)
            connection.got += data
            if not data:
                selector.unregister(connection.socket)
                connection.socket.close()
                opened -= 1
                if connection.since is None:
                    free.remove(connection)
                    continue
                answers["closed"] += 1
            elif not _is_whole(connection.got):
                continue
            else:
                answers[connection.got[9:12].decode()] += 1
                took.append(time.perf_counter() - (connection.since or 0.0))
                connection.since, connection.got = None, b""
                free.append(connection)
            busy -= 1
    took.sort()
    at = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    figures = {name: took[int(len(took) * part)] * 1000 for name, part in at.items()}
    return {**figures, "max": took[-1] * 1000, "answers": dict(answers), "open": busy + len(due)}


def _is_whole(answer: bytes) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    _, _, length = head.lower().partition(b"content-length:")
    return len(body) >= int(length.split(b"\r\n")[0] or 0)


if __name__ == "__main__":
    most = int(sys.argv[4]) if len(sys.argv) > 4 else MOST_CONNECTIONS
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), most)))
