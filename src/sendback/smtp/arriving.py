"""The message of one DATA command, as its octets come: limits before allocation.

It ends at CR LF . CR LF and nowhere else (RFC 5321 section 4.1.1.4), however it is cut into
packets and whatever it has for lines; only so much of it is kept. Both doors collect with it.
"""

from typing import Protocol

from sendback.smtp.limits import Limits

_END = b"\r\n.\r\n"
#: Octets behind twice the size limit after which nobody waits for an end any more.
_PATIENCE = 65536


class Endless(Exception):
    """Far over the size limit, and no end in sight: the connection must go."""


class Process(Protocol):
    """What all messages that arrive in one process share."""

    limits: Limits
    buffered: int
    """Octets kept of messages that are arriving."""

    def now(self) -> float:
        """Seconds, by a clock that never jumps."""

    def count(self, what: str) -> None:
        """One more of `what`, for /metrics."""


class Arriving:
    """Feed it until it gives the rest behind the end; then `take` the message, or `drop` it."""

    __slots__ = ("_held", "_is_starved", "_kept", "_process", "since", "total")

    def __init__(self, process: Process) -> None:
        self._process = process
        # One growing buffer: a list of packets would let one-octet packets cost fifty.
        self._kept = bytearray()
        # As if a line had ended: a dot at the very start is one at the start of a line.
        self._held = b"\r\n"
        self._is_starved = False
        self.since = process.now()
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
        process = self._process
        room = process.limits.keep_bytes - len(self._kept)
        if room > 0 and content and not self._is_starved:
            if process.buffered > process.limits.max_buffered:
                self._is_starved = True
            else:
                kept = content if len(content) <= room else content[:room]
                self._kept += kept
                process.buffered += len(kept)
        if end >= 0:
            return data[end + 5 :]
        self._held = data[-4:]
        if self.total > 2 * process.limits.max_size + _PATIENCE:
            process.count("endless_data")
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
        self._process.buffered -= len(self._kept)
        self._kept = bytearray()
