"""Claims listening addresses before anything starts, and holds them while children come and go.

A bind without SO_REUSEPORT finds a port in use (with it, two nodes would silently share one); then
a bound socket with SO_REUSEPORT, never listening, holds the number, port 0 included. The kernel
sends connections to listening sockets only, so the holder takes none.
"""

from __future__ import annotations

import errno
import socket

from sendback.config.load import parse_listen
from sendback.errors import Unavailable


class Claim:
    """One address, held until `release`."""

    def __init__(self, part: str, listen: str) -> None:
        host, port = parse_listen(listen)
        family, address = _resolve(host, port)
        if port:
            _probe(part, listen, family, address)
        self._holder = _hold(family, address)
        self.host = host
        self.port: int = self._holder.getsockname()[1]

    @property
    def listen(self) -> str:
        """The address as `host:port`, with the real port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> str:
        """`listen`, with a loopback address where every address was asked for."""
        if self.host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            return f"127.0.0.1:{self.port}" if self.host != "::" else f"[::1]:{self.port}"
        return self.listen

    def release(self) -> None:
        """Let the address go."""
        self._holder.close()


def _resolve(host: str, port: int) -> tuple[int, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise Unavailable(f"{host}: no such address: {error.strerror or error}") from None
    family, _, _, _, address = found[0]
    return family, (str(address[0]), int(address[1]))


def _hold(family: int, address: tuple[str, int]) -> socket.socket:
    """A bound socket. Without SO_REUSEADDR nobody else's probe can slip in beside it."""
    holder = socket.socket(family, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        holder.bind(address)
    except OSError:  # connections of an earlier server linger; the probe has shown it is gone
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(address)
    return holder


def _probe(part: str, listen: str, family: int, address: tuple[str, int]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            reason = {
                errno.EADDRINUSE: "is in use by another program",
                errno.EACCES: "needs more rights (ports below 1024)",
                errno.EADDRNOTAVAIL: "is not an address of this machine",
            }.get(error.errno or 0, f"can't be bound: {error.strerror}")
            raise Unavailable(f"{part}.listen: {listen} {reason}") from None
