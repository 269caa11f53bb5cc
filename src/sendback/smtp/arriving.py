"""The message of one DATA command, as its octets come: limits before allocation.

It ends at CR LF . CR LF and nowhere else (RFC 5321 section 4.1.1.4), however it is cut into
packets and whatever it has for lines; only so much of it is kept. Both doors collect with it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sendback.smtp.server import Server

_END = b"\r\n.\r\n"
#: Octets behind twice the size limit after which nobody waits for an end any more.
_PATIENCE = 65536


class Endless(Exception):
    """Far over the size limit, and no end in sight: the connection must go."""


class Arriving:
    """Feed it until it gives the rest behind the end; then `take` the message, or `drop` it."""

    __slots__ = ("_held", "_is_starved", "_kept", "_server", "since", "total")

    def __init__(self, server: "Server") -> None:
        self._server = server
        # One growing buffer: a list of packets would let one-octet packets cost fifty.
        self._kept = bytearray()
        # As if a line had ended: a dot at the very start is one at the start of a line.
        self._held = b"\r\n"
        self._is_starved = False
        self.since = server.now()
        self.total = 0
        """Octets so far, with two for the line end that was put in front."""

    @property
    def size(self) -> int:
        """Octets of the message, those that were not kept included."""
        return self.total - 2

    def feed(self, data: bytes) -> bytes | None:
        """What lies behind the end, None while it has not come; `Endless`.

        The hot path: keep up to the limit, look for the end, count the rest.
        """
        # The last four octets may be the beginning of the end: they wait for the next packet.
        data = self._held + data
        end = data.find(_END)
        content = data[: end + 2] if end >= 0 else data[:-4]
        self.total += len(content)
        server = self._server
        room = server.limits.keep_bytes - len(self._kept)
        if room > 0 and content and not self._is_starved:
            if server.buffered > server.limits.max_buffered:
                self._is_starved = True
            else:
                kept = content if len(content) <= room else content[:room]
                self._kept += kept
                server.buffered += len(kept)
        if end >= 0:
            return data[end + 5 :]
        self._held = data[-4:]
        if self.total > 2 * server.limits.max_size + _PATIENCE:
            server.count("endless_data")
            raise Endless
        return None

    def take(self) -> bytes | None:
        """What was kept, without dot-stuffing; None when the memory of all ran out."""
        whole = bytes(self._kept)
        self.drop()
        if self._is_starved:
            return None
        if b"\r\n.." in whole:  # RFC 5321 section 4.5.2
            whole = whole.replace(b"\r\n..", b"\r\n.")
        return whole[2:]

    def drop(self) -> None:
        """Give the memory back; harmless when done twice."""
        self._server.buffered -= len(self._kept)
        self._kept = bytearray()
