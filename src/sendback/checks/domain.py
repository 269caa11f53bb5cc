"""One URL domain as recipients meet it: DNS, TLS, an event server of ours, well-known files.

Nothing is recorded: HEAD on a genuine link records nothing (CONTRACT section 6), and that link is
made up here, for nobody.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import secrets
import socket
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from sendback import links
from sendback.checks.asking import Answered, Asking, Unreachable
from sendback.checks.certificate import Door, check_certificate, trusting, trusting_anybody
from sendback.checks.dns import check_url_domain, is_local_name
from sendback.checks.finding import Finding, fine, problem, skipped, warning
from sendback.checks.resolver import NoAnswer, Resolver
from sendback.metadata import Metadata
from sendback.model import LinkFacts, MessageFacts, Storage, UrlDomain
from sendback.secret_constants import Keyring

#: Path of each well-known file, and the field that holds it (seed 004).
WELL_KNOWN = {
    "/.well-known/apple-app-site-association": "apple_app_site_association",
    "/apple-app-site-association": "apple_app_site_association",
    "/.well-known/assetlinks.json": "android_asset_links",
}
#: Event servers behind one name that are visited.
_MOST_ADDRESSES = 16
_NOWHERE = "https://check.invalid/"
_PROXY = "let the proxy hand this path to the web port unchanged"


def check_domain(
    domain: UrlDomain,
    keyring: Keyring,
    resolver: Resolver,
    *,
    now: float,
    expected: Collection[str] = (),
    ca_file: Path | None = None,
) -> list[Finding]:
    """Everything about this domain; some seconds at the most when nobody answers.

    `expected`: addresses of the event servers; `ca_file`: authorities trusted beside the system's.
    """
    found = [check_url_domain(domain.domain, resolver, expected=expected)]
    base = urlsplit(domain.link_base)
    if domain.tls and base.scheme != "https":
        found.append(
            warning("tls", domain.domain, f"TLS is set, and links begin with {domain.link_base}",
                    "leave link_base out, or let it begin with https://")
        )  # fmt: skip
    addresses = _addresses(base.hostname or "", resolver)
    for address in addresses:
        at = f" at {address}" if len(addresses) > 1 else ""
        if _has_route(address):
            found += _Visit(domain, keyring, address, at, now, ca_file).findings()
        else:
            why = "this machine has no route there"
            found.append(skipped("link-base", domain.link_base + at, why))
    return found


def _addresses(host: str, resolver: Resolver) -> list[str]:
    """Each event server behind the name has to be right; [""] leaves it to the system."""
    if is_local_name(host) or _is_address(host):
        return [""]
    try:
        return resolver.addresses(host)[:_MOST_ADDRESSES] or [""]
    except NoAnswer:
        return [""]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _has_route(address: str) -> bool:
    """False where this machine has no IPv6 at all, for one; nothing is sent."""
    if not address:
        return True
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probing:
            probing.connect((address, 53))
    except OSError:
        return False
    return True


def probe(keyring: Keyring, link_base: str, now: float) -> tuple[str, str]:
    """A genuine link made for nobody, and the destination that only our keys can read from it."""
    destination = _NOWHERE + secrets.token_hex(16)
    message = MessageFacts(email="check@check.invalid", tagged_at=int(now))
    issued = Metadata(keyring).issue(Storage.STATELESS, message, [LinkFacts(url=destination)])
    purpose, token = issued.link_tokens[0]
    return links.build(link_base, purpose, token), destination


class _Visit:
    """One domain at one address."""

    def __init__(
        self,
        domain: UrlDomain,
        keyring: Keyring,
        address: str,
        at: str,
        now: float,
        ca_file: Path | None,
    ) -> None:
        """`at`: what findings add to the name, where there are several addresses."""
        self._domain, self._keyring = domain, keyring
        self._address, self._at = address, at
        self._now, self._ca_file = now, ca_file
        self._base = domain.link_base

    def findings(self) -> Iterator[Finding]:
        """Certificate, reachability; and what is behind it, when somebody answers."""
        base = urlsplit(self._base)
        host = base.hostname or ""
        context = trusting(self._ca_file)
        if base.scheme == "https":
            port = base.port or 443
            name = (host if port == 443 else f"{host}:{port}") + self._at
            now = dt.datetime.fromtimestamp(self._now, dt.UTC)
            door = Door(host, port, self._address or host, name)
            seen = check_certificate(door, now=now, ca_file=self._ca_file)
            yield from seen
            if not all(finding.ok for finding in seen):
                context = trusting_anybody()  # already said; what is behind is worth a look too
        asking = Asking(context, host=host, address=self._address)
        reached = self._reached(asking)
        yield reached
        if reached.ok:
            yield self._event_server(asking)
            yield from self._well_known(asking)

    def _reached(self, asking: Asking) -> Finding:
        subject = self._base + self._at
        try:
            answer = asking.ask(f"{self._base}/robots.txt")
        except Unreachable as error:
            cure = "does the web port, or the proxy in front of it, listen there?"
            return problem("link-base", subject, str(error), cure)
        if answer.status == 200 and b"Allow: /.well-known/" in answer.body:
            return fine("link-base", subject, "answers, with our robots.txt")
        cure = f"{_PROXY}; Google's fetcher of assetlinks.json obeys robots.txt"
        detail = f"answers, robots.txt is not ours: {_told(answer)}"
        return warning("link-base", subject, detail, cure)

    def _event_server(self, asking: Asking) -> Finding:
        check, subject = "event-server", self._base + self._at
        url, destination = probe(self._keyring, self._base, self._now)
        try:
            answer = asking.ask(url, "HEAD")
        except Unreachable as error:
            cure = "look at the web port's log"
            return problem(check, subject, f"a link gets no answer: {error}", cure)
        if answer.status == 302 and answer.location == destination:
            return fine(check, subject, "an event server with our secret constants answers")
        if answer.status == 404:
            return problem(
                check, subject, "a link that our keys made is not known there (404)",
                "compare `sendback secret-constants fingerprint` on both; does the domain lead to "
                "an event server at all? with strict_hosts it must have this URL domain",
            )  # fmt: skip
        if 300 <= answer.status < 400:
            return problem(
                check, subject, f"a link is redirected to {_short(answer.location)}",
                "links must be answered where they lead: mend link_base, or the proxy's redirect",
            )  # fmt: skip
        return problem(check, subject, f"a link is answered with {answer.status}", _PROXY)

    def _well_known(self, asking: Asking) -> Iterator[Finding]:
        for path, field in WELL_KNOWN.items():
            subject = f"{self._base}{path}{self._at}"
            stored: str = getattr(self._domain, field)
            try:
                answer = asking.ask(f"{self._base}{path}")
            except Unreachable as error:
                yield problem("well-known", subject, str(error), "look at the web port's log")
                continue
            if stored and self._domain.tls:
                yield _served(subject, stored.encode(), answer)
            elif answer.status == 404:
                why = "stored, and not served without TLS" if stored else "none stored, and 404"
                yield fine("well-known", subject, why)
            else:
                yield problem(
                    "well-known", subject, f"none is to be served, and there is: {_told(answer)}",
                    "does the proxy serve a file of its own, or another node one of its own?",
                )  # fmt: skip


def _served(subject: str, stored: bytes, answer: Answered) -> Finding:
    check = "well-known"
    if 300 <= answer.status < 400:
        cure = "Apple and Google follow no redirect here: serve it on this very URL"
        return problem(check, subject, f"is redirected to {_short(answer.location)}", cure)
    if answer.status != 200:
        cure = "does the event server have this URL domain, with TLS and the document?"
        return problem(check, subject, f"answered with {answer.status}", cure)
    if answer.media_type != "application/json":
        detail = f"comes as {answer.media_type or 'nothing'}, not as application/json"
        return problem(check, subject, detail, _PROXY)
    if answer.body != stored:
        detail = f"differs from the stored document: {len(answer.body)} bytes, not {len(stored)}"
        return problem(check, subject, detail, "is the document the same on every event server?")
    return fine(check, subject, f"{len(stored)} bytes, as stored")


def _told(answer: Answered) -> str:
    where = f" to {_short(answer.location)}" if answer.location else ""
    return f"{answer.status}{where}, {answer.media_type or 'no type'}, {len(answer.body)} bytes"


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."
