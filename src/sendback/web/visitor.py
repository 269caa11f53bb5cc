"""Who asks, and on which host: read from a WSGI environ, through the proxies we trust.

A forwarded header counts only when the peer is a trusted proxy, and is then walked from the
right: what a client wrote to the left of the first stranger is hearsay (W12).
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from sendback.errors import Malformed
from sendback.model import Hint
from sendback.model.catalog import normal_host
from sendback.recording import MAX_HOST, MAX_USER_AGENT, Visitor
from sendback.web.answers import Environ

_MAX_FORWARDED = 2048
_ANNOUNCEMENTS = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")


class TrustedProxies:
    """The networks whose forwarded headers we believe (`http_trusted_proxy_ips`)."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in networks)
        self._is_trusted = lru_cache(maxsize=1024)(self._lies_within)

    def visitor(self, environ: Environ, hints: int = 0) -> Visitor:
        """The visitor as an event will name him; hints from the request are added to `hints`."""
        ip = environ.get("REMOTE_ADDR", "")
        host = environ.get("HTTP_HOST", "")
        if self._networks:
            ip, host = self.client(environ)
        elif ":" in ip:
            ip = address_of(ip) or ip
        agent = environ.get("HTTP_USER_AGENT", "")
        if not agent.isascii():
            agent = agent.encode("latin-1", "replace").decode("utf-8", "replace")
        if (
            "HTTP_SEC_PURPOSE" in environ
            or "HTTP_PURPOSE" in environ
            or "HTTP_X_PURPOSE" in environ
            or "HTTP_X_MOZ" in environ
        ):
            hints |= _announced(environ)
        return Visitor(ip, agent[:MAX_USER_AGENT], hints, host[:MAX_HOST])

    def client(self, environ: Environ) -> tuple[str, str]:
        """(address, host) as the outermost trusted proxy saw them."""
        peer = environ.get("REMOTE_ADDR", "")
        ip = address_of(peer) or peer
        host: str = environ.get("HTTP_HOST", "")
        if not self._is_trusted(ip):
            return ip, host
        passed = 1
        for entry in reversed(_entries(environ, "HTTP_X_FORWARDED_FOR")):
            address = address_of(entry)
            if not address:
                break  # not an address: nothing to its left can be believed
            ip = address
            if not self._is_trusted(ip):
                break
            passed += 1
        hosts = _entries(environ, "HTTP_X_FORWARDED_HOST")
        return ip, hosts[-min(passed, len(hosts))] if hosts else host

    def scheme(self, environ: Environ) -> str:
        """`http` or `https`, as the recipient's link began."""
        peer = environ.get("REMOTE_ADDR", "")
        forwarded = environ.get("HTTP_X_FORWARDED_PROTO", "").lower()
        if forwarded in ("http", "https") and self._is_trusted(address_of(peer) or peer):
            return str(forwarded)
        return str(environ.get("wsgi.url_scheme", "http"))

    def _lies_within(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def address_of(text: str) -> str:
    """The IP address in `text`, with or without a port, IPv4-mapped as IPv4; "" for none."""
    text = text.strip()
    if text.startswith("["):
        text, _, port = text[1:].partition("]")
        if port and not _is_port(port):
            return ""
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not _is_port(f":{port}"):
            return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def host_name(text: str) -> str:
    """A Host header as the name of a URL domain: no port, no trailing dot, A-labels; "" if none."""
    if len(text) > MAX_HOST or text.startswith("["):
        return ""
    try:
        text = text.encode("latin-1").decode("utf-8")  # WSGI hands octets over as latin-1
    except UnicodeError:
        pass  # it was text already
    try:
        return normal_host(text.partition(":")[0])
    except Malformed:
        return ""


def _is_port(text: str) -> bool:
    return text[0] == ":" and text[1:].isascii() and text[1:].isdigit() and len(text) <= 6


def _entries(environ: Environ, header: str) -> list[str]:
    # the right end is what counts, so a long header loses its left
    text = environ.get(header, "")[-_MAX_FORWARDED:]
    return [entry for entry in map(str.strip, text.split(",")) if entry]


def _announced(environ: Environ) -> Hint:
    text = " ".join(environ.get(name, "")[:100] for name in _ANNOUNCEMENTS).lower()
    return Hint.PREFETCH if "prefetch" in text or "preview" in text else Hint.NONE
