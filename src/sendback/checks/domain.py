"""One URL domain as recipients meet it: DNS, TLS, an event server of ours, well-known files.

Nothing is recorded: HEAD on a genuine link records nothing (CONTRACT section 6), and that link is
made up here, for nobody.
"""

from __future__ import annotations

import datetime as dt
import secrets
import ssl
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from sendback import links
from sendback.checks.asking import Answered, Asking, Unreachable
from sendback.checks.certificate import check_certificate, trusting
from sendback.checks.dns import check_url_domain
from sendback.checks.finding import Finding, fine, problem, warning
from sendback.checks.resolver import Resolver
from sendback.metadata import Metadata
from sendback.model import LinkFacts, MessageFacts, Storage, UrlDomain
from sendback.secret_constants import Keyring

#: Path of each well-known file, and the field that holds it (seed 004).
WELL_KNOWN = {
    "/.well-known/apple-app-site-association": "apple_app_site_association",
    "/apple-app-site-association": "apple_app_site_association",
    "/.well-known/assetlinks.json": "android_asset_links",
}
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
    context = trusting(ca_file)
    base = urlsplit(domain.link_base)
    host = base.hostname or ""
    if domain.link_base.lower().startswith("https://"):
        seen = check_certificate(
            host, base.port or 443, now=dt.datetime.fromtimestamp(now, dt.UTC), ca_file=ca_file
        )
        found += seen
        if not all(finding.ok for finding in seen):
            context = _trusting_anybody()  # already said; what is behind it is worth a look too
    elif domain.tls:
        found.append(
            warning("tls", domain.domain, f"TLS is set, and links begin with {domain.link_base}",
                    "leave link_base out, or let it begin with https://")
        )  # fmt: skip
    asking = Asking(context)
    reached = _reached(asking, domain)
    found.append(reached)
    if not reached.ok:
        return found
    found.append(_event_server(asking, domain, keyring, now))
    found += _well_known(asking, domain)
    return found


def probe(keyring: Keyring, link_base: str, now: float) -> tuple[str, str]:
    """A genuine link made for nobody, and the destination that only our keys can read from it."""
    destination = _NOWHERE + secrets.token_hex(16)
    message = MessageFacts(email="check@check.invalid", tagged_at=int(now))
    issued = Metadata(keyring).issue(Storage.STATELESS, message, [LinkFacts(url=destination)])
    purpose, token = issued.link_tokens[0]
    return links.build(link_base, purpose, token), destination


def _trusting_anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _reached(asking: Asking, domain: UrlDomain) -> Finding:
    base = domain.link_base
    try:
        answer = asking.ask(f"{base}/robots.txt")
    except Unreachable as error:
        cure = "does the web port, or the proxy in front of it, listen there?"
        return problem("link-base", base, str(error), cure)
    if answer.status == 200 and b"Allow: /.well-known/" in answer.body:
        return fine("link-base", base, "answers, with our robots.txt")
    cure = f"{_PROXY}; Google's fetcher of assetlinks.json obeys robots.txt"
    return warning("link-base", base, f"answers, robots.txt is not ours: {_told(answer)}", cure)


def _event_server(asking: Asking, domain: UrlDomain, keyring: Keyring, now: float) -> Finding:
    check, base = "event-server", domain.link_base
    url, destination = probe(keyring, base, now)
    try:
        answer = asking.ask(url, "HEAD")
    except Unreachable as error:
        return problem(check, base, f"a link gets no answer: {error}", "look at the web port's log")
    if answer.status == 302 and answer.location == destination:
        return fine(check, base, "an event server with our secret constants answers")
    if answer.status == 404:
        return problem(
            check, base, "a link that our keys made is not known there (404)",
            "compare `sendback secret-constants fingerprint` on both; does the domain lead to an "
            "event server at all? with strict_hosts it must have this URL domain",
        )  # fmt: skip
    if 300 <= answer.status < 400:
        return problem(
            check, base, f"a link is redirected to {_short(answer.location)}",
            "links must be answered where they lead: mend link_base, or the proxy's redirect",
        )  # fmt: skip
    return problem(check, base, f"a link is answered with {answer.status}", _PROXY)


def _well_known(asking: Asking, domain: UrlDomain) -> Iterator[Finding]:
    for path, field in WELL_KNOWN.items():
        subject = f"{domain.link_base}{path}"
        stored: str = getattr(domain, field)
        try:
            answer = asking.ask(subject)
        except Unreachable as error:
            yield problem("well-known", subject, str(error), "look at the web port's log")
            continue
        if stored and domain.tls:
            yield _served(subject, stored.encode(), answer)
        elif answer.status == 404:
            why = "stored, and not served without TLS" if stored else "none stored, and 404"
            yield fine("well-known", subject, why)
        else:
            yield problem(
                "well-known", subject, f"none is to be served, and there is: {_told(answer)}",
                "does the proxy serve a file of its own, or another node one that is not yours?",
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
