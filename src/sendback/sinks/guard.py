"""Where a destination may connect to: the guard against requests into our own network (SSRF).

A name is resolved once for each connection, every address is checked, and the connection goes to
a checked address: what a name resolves to a moment later does not matter.
"""

import ipaddress
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

from sendback.errors import Malformed, Unavailable

Resolve = Callable[[str, int], list[str]]
WEB_PORTS = frozenset((80, 443))
#: The system's resolver has no deadline of its own.
RESOLVE_SECONDS = 2.0
#: Look-ups that hang hold a thread until the system gives up, some ten seconds; the names of others
#: must find one meanwhile.
_RESOLVERS = 64
_resolvers: ThreadPoolExecutor | None = None

#: Ranges that `ipaddress` calls global although they lead elsewhere.
_TUNNELS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "64:ff9b::/96",  # NAT64, RFC 6052
        "64:ff9b:1::/48",  # NAT64, RFC 8215
        "2002::/16",  # 6to4, RFC 3056
        "2001::/32",  # Teredo, RFC 4380
        "::/96",  # IPv4-compatible, RFC 4291
        "fec0::/10",  # site-local, RFC 3879
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.0.0.0/24",  # protocol assignments, RFC 6890; some Pythons know half of it
        "3fff::/20",  # documentation, RFC 9637
        "5f00::/16",  # segment identifiers, RFC 9602
    )
)


def resolve_by_system(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system knows them. Unavailable after two seconds."""
    global _resolvers
    _resolvers = _resolvers or ThreadPoolExecutor(_RESOLVERS, "resolve")
    asked = _resolvers.submit(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    try:
        found = asked.result(RESOLVE_SECONDS)
    except FutureTimeoutError:
        asked.cancel()
        raise Unavailable(f"{host} was not resolved in {RESOLVE_SECONDS:g} s") from None
    except OSError as error:
        raise Unavailable(f"{host} can't be resolved: {error.strerror or error}") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """True for an address of the public internet that is nobody's tunnel to somewhere else."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    # No resolver gives a mapped address for a name of the public internet.
    if ip.version == 6 and (ip.ipv4_mapped is not None or ip.scope_id is not None):
        return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    return not any(ip in network for network in _TUNNELS if network.version == ip.version)


class Guard:
    """The network rules of one destination."""

    def __init__(
        self,
        *,
        allow_private_networks: bool,
        ports: frozenset[int] = WEB_PORTS,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        """`ports`: those allowed; private networks allowed means any port, too."""
        self._allow_private, self._ports, self._resolve = allow_private_networks, ports, resolve

    @property
    def allows_private_networks(self) -> bool:
        """True when nothing is refused: then a socket of this machine may be meant, too."""
        return self._allow_private

    def addresses(self, host: str, port: int) -> list[str]:
        """Checked addresses of the host. Malformed for a forbidden one, Unavailable for none."""
        if not self._allow_private and port not in self._ports:
            allowed = ", ".join(map(str, sorted(self._ports)))
            raise Malformed(
                f"port {port} is not allowed (only {allowed}), see allow_private_networks"
            )
        try:
            found = [str(ipaddress.ip_address(host.strip("[]")))]
        except ValueError:
            found = self._resolve(host, port)
        if not found:
            raise Unavailable(f"{host} has no address")
        if not self._allow_private:
            for address in found:
                if not is_public(address):
                    raise Malformed(
                        f"{host} leads to {address}, which is no public address;"
                        " see allow_private_networks"
                    )
        return found

    def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """A connection to a checked address. Malformed, Unavailable, or the last OSError.

        `timeout` is for all of it: an address that does not answer leaves the others their share.
        """
        ends = time.monotonic() + timeout
        last: OSError | None = None
        addresses = self.addresses(host, port)
        for number, address in enumerate(addresses):
            share = (ends - time.monotonic()) / (len(addresses) - number)
            try:
                return socket.create_connection((address, port), max(0.01, share))
            except OSError as error:
                last = error
        assert last is not None
        raise last
