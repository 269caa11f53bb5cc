"""Seed 000, "Testing": URL domains and mail domains must lead to the event servers.

An A, AAAA or CNAME record for each URL domain, an MX record whose hosts have addresses for each
domain of a bounce or complaint mailbox, those of mail classes too; with the event servers'
addresses given, also that they lead there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection

from sendback.checks.finding import Finding, fine, problem, skipped
from sendback.checks.resolver import NoAnswer, Resolver
from sendback.model import Catalog

_URL, _MAIL = "url-domain", "mailbox"
_NO_SERVER = "is the name server reachable?"


def check_dns(
    catalog: Catalog, resolver: Resolver, *, expected: Collection[str] = ()
) -> list[Finding]:
    """One finding for each URL domain and each mail domain of the catalog.

    `expected`: addresses of the event servers (or of the proxy in front of them).
    """
    urls = [
        check_url_domain(domain, resolver, expected=expected)
        for domain in sorted(catalog.url_domain_by_host)
    ]
    # On a Sending Server the bounce mailbox stands in the mail class alone (seed 000).
    named = [item.bounce_mailbox for item in catalog.mail_classes if item.bounce_mailbox]
    addresses = [
        *catalog.bounce_mailbox_by_address, *catalog.complaint_mailbox_by_address, *named
    ]  # fmt: skip
    domains = sorted({address.rpartition("@")[2] for address in addresses})
    return [*urls, *(_mail_domain(domain, resolver, expected) for domain in domains)]


def check_url_domain(domain: str, resolver: Resolver, *, expected: Collection[str] = ()) -> Finding:
    """Whether the domain has addresses, and, where `expected` says which, only those."""
    if is_local_name(domain):
        return _only_here(_URL, domain)
    try:
        found = resolver.addresses(domain)
    except NoAnswer as error:
        return problem(_URL, domain, str(error), _NO_SERVER)
    if not found:
        cure = "add an A, AAAA or CNAME record that leads to the event servers"
        return problem(_URL, domain, "no address", cure)
    return _lead(_URL, domain, ", ".join(found), found, expected)


def is_local_name(domain: str) -> bool:
    """RFC 6761 section 6.3: never asked of a name server, always this machine."""
    return domain == "localhost" or domain.endswith(".localhost")


def _only_here(check: str, domain: str) -> Finding:
    return skipped(
        check, domain, "leads to the reader's own machine: for trying out only",
        "name a domain of yours before mail goes out",
    )  # fmt: skip


def _mail_domain(domain: str, resolver: Resolver, expected: Collection[str]) -> Finding:
    if is_local_name(domain):
        return _only_here(_MAIL, domain)
    try:
        return _exchangers(domain, resolver, expected)
    except NoAnswer as error:
        return problem(_MAIL, domain, str(error), _NO_SERVER)


def _exchangers(domain: str, resolver: Resolver, expected: Collection[str]) -> Finding:
    exchangers = resolver.exchangers(domain)
    if exchangers == ["."]:
        cure = "the null MX (RFC 7505) refuses all mail: name the event servers instead"
        return problem(_MAIL, domain, "null MX", cure)
    if not exchangers:
        return problem(
            _MAIL, domain, "no MX record", "add an MX record that names the event servers"
        )
    missing = [host for host in exchangers if not resolver.addresses(host)]
    if missing:
        detail = f"MX without an address: {', '.join(missing)}"
        return problem(_MAIL, domain, detail, "give that host an A or AAAA record")
    found = [address for host in exchangers for address in resolver.addresses(host)]
    return _lead(_MAIL, domain, ", ".join(exchangers), found, expected)


def _lead(
    check: str, subject: str, detail: str, found: list[str], expected: Collection[str]
) -> Finding:
    """Whether the addresses are ours, where we were told which are."""
    strangers = [address for address in found if address not in expected] if expected else []
    if strangers:
        cure = "let it lead to the event servers only"
        return problem(check, subject, f"leads elsewhere: {', '.join(strangers)}", cure)
    return fine(check, subject, detail)
