"""DNS A, AAAA, CNAME of URL domains and MX of the bounce and complaint domains (S0.18).

An address that we were told is ours must be among the answers; without such a list, having any
address at all is what can be asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from sendback.checks.resolver import NoAnswer, Resolver
from sendback.model import Catalog


class Finding(msgspec.Struct, frozen=True):
    """What was found about one thing, and what to do about it."""

    check: str
    subject: str
    ok: bool
    detail: str
    cure: str = ""


def check_dns(
    catalog: Catalog, resolver: Resolver, *, expected: Collection[str] = ()
) -> list[Finding]:
    """One finding for each URL domain and each mail domain of the catalog.

    `expected`: addresses of the event servers (or of the proxy in front of them).
    """
    return [*_url_domains(catalog, resolver, expected), *_mail_domains(catalog, resolver, expected)]


def _url_domains(
    catalog: Catalog, resolver: Resolver, expected: Collection[str]
) -> Iterator[Finding]:
    for domain in sorted(catalog.url_domain_by_host):
        try:
            found = resolver.addresses(domain)
        except NoAnswer as error:
            yield Finding("url-domain", domain, False, str(error), "is the name server reachable?")
            continue
        if not found:
            cure = "add an A, AAAA or CNAME record that leads to the event servers"
            yield Finding("url-domain", domain, False, "no address", cure)
        else:
            yield _lead("url-domain", domain, ", ".join(found), found, expected)


def _mail_domains(
    catalog: Catalog, resolver: Resolver, expected: Collection[str]
) -> Iterator[Finding]:
    addresses = [*catalog.bounce_mailbox_by_address, *catalog.complaint_mailbox_by_address]
    for domain in sorted({address.rpartition("@")[2] for address in addresses}):
        try:
            yield _mail_domain(domain, resolver, expected)
        except NoAnswer as error:
            yield Finding("mailbox", domain, False, str(error), "is the name server reachable?")


def _mail_domain(domain: str, resolver: Resolver, expected: Collection[str]) -> Finding:
    exchangers = resolver.exchangers(domain)
    if exchangers == ["."]:
        cure = "the null MX (RFC 7505) refuses all mail: name the event servers instead"
        return Finding("mailbox", domain, False, "null MX", cure)
    if not exchangers:
        cure = "add an MX record that names the event servers"
        return Finding("mailbox", domain, False, "no MX record", cure)
    missing = [host for host in exchangers if not resolver.addresses(host)]
    if missing:
        detail = f"MX without an address: {', '.join(missing)}"
        return Finding("mailbox", domain, False, detail, "give that host an A or AAAA record")
    found = [address for host in exchangers for address in resolver.addresses(host)]
    return _lead("mailbox", domain, ", ".join(exchangers), found, expected)


def _lead(
    check: str, subject: str, detail: str, found: list[str], expected: Collection[str]
) -> Finding:
    """Whether the addresses are ours, where we were told which are."""
    strangers = [address for address in found if address not in expected] if expected else []
    if strangers:
        cure = "let it lead to the event servers only"
        return Finding(check, subject, False, f"leads elsewhere: {', '.join(strangers)}", cure)
    return Finding(check, subject, True, detail)
