"""The DNS as checks ask it: addresses and mail exchangers, bounded in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import dns.exception
import dns.resolver
from dns.rdtypes.ANY.MX import MX

from sendback.errors import Unavailable

#: Seconds for one question over all servers and retries (fault matrix 27).
LIFETIME = 2.0


class NoAnswer(Unavailable):
    """No server answered in time; whether the record exists is not known."""


class Resolver(Protocol):
    """Both: an empty list when the name or record does not exist; NoAnswer when nobody knows."""

    def addresses(self, host: str) -> list[str]:
        """IPv4 and IPv6 addresses of the host, aliases followed."""
        ...

    def exchangers(self, domain: str) -> list[str]:
        """Hosts that take mail for the domain, best first (RFC 5321 5.1); a null MX is "."."""
        ...


class DnsResolver:
    """Asks the system's name servers, or those given, over the network."""

    def __init__(
        self, nameservers: Sequence[str] = (), *, port: int = 53, lifetime: float = LIFETIME
    ) -> None:
        self._resolver = dns.resolver.Resolver(configure=not nameservers)
        if nameservers:
            self._resolver.nameservers = list(nameservers)
        self._resolver.port = port
        self._lifetime = lifetime

    def addresses(self, host: str) -> list[str]:
        """See `Resolver`."""
        return [record.to_text() for kind in ("A", "AAAA") for record in self._ask(host, kind)]

    def exchangers(self, domain: str) -> list[str]:
        """See `Resolver`."""
        records = [record for record in self._ask(domain, "MX") if isinstance(record, MX)]
        found = sorted((record.preference, record.exchange.to_text()) for record in records)
        return [host if host == "." else host.rstrip(".").lower() for _, host in found]

    def _ask(self, name: str, kind: str) -> list[dns.rdata.Rdata]:
        try:
            return list(self._resolver.resolve(name, kind, lifetime=self._lifetime, search=False))
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except dns.exception.DNSException as error:
            raise NoAnswer(f"{kind} of {name}: {type(error).__name__}") from None
