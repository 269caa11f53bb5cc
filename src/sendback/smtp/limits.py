"""What one process and one client may use, on either door."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one process and one client may use. Times in seconds, sizes in octets."""

    max_size: int = 52_428_800
    """Of a message; the SIZE we announce."""
    keep_bytes: int = 52_428_800
    """Of a message's beginning that is kept; the rest is counted only."""
    max_buffered: int = 268_435_456
    """Over all messages that are arriving; beyond it 452."""
    max_connections: int = 1000
    max_connections_per_ip: int = 50
    """Per IPv4 address or IPv6 /64."""
    max_recipients: int = 1000
    max_errors: int = 20
    max_junk_commands: int = 100
    idle_seconds: float = 60.0
    session_seconds: float = 1200.0
    data_grace_seconds: float = 30.0
    min_data_rate: float = 500.0
    """Octets a second over the whole DATA phase, after the grace."""
    proxy_header_seconds: float = 5.0
    drain_seconds: float = 10.0
