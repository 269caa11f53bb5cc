"""One message, as it arrived or as `rewrite` made it: is everything there that brings events home?

Offline: our keys verify every link and address, no row is looked up and no signature of others is
verified. Links that lead elsewhere untracked are told, not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import urlsplit

from sendback import verp
from sendback.checks.finding import Finding, fine, problem, skipped, warning
from sendback.checks.rfc8058 import check_unsubscribe
from sendback.checks.tagged_copy import TaggedCopy, TrackedLink, read_copy
from sendback.errors import Forged, Malformed, NotFound
from sendback.metadata import BounceRef
from sendback.metadata.base import AnotherStore
from sendback.model import Catalog, TrackingData
from sendback.secret_constants import Purpose

_KEYS = "compare `sendback secret-constants list` on the servers; or was the message changed?"
_LOCAL = "check it on the node that tagged it, or use stateless or external metadata in a fleet"
_CLICKS = (Purpose.CLICK, Purpose.UNI)


class Verifier(Protocol):
    """`sendback.metadata.Metadata`, as far as it is needed here."""

    def verify(self, purpose: Purpose, token: bytes) -> None:
        """Forged, NotFound, Malformed."""

    def resolve(self, purpose: Purpose, token: bytes) -> TrackingData:
        """What a header of the message says; the same errors."""

    def resolve_bounce(self, token: str | bytes) -> BounceRef:
        """What a bounce address says; the same errors."""

    def matches(self, ref: BounceRef, email: str, sendid: str = "") -> bool:
        """True when the bounce address was made for this recipient and send."""


def check_message(raw: bytes, verifier: Verifier, catalog: Catalog) -> list[Finding]:
    """What was found in the message, in the order in which it comes into play."""
    copy = read_copy(raw)
    return [
        *_links(copy, verifier),
        *_domains(copy, catalog),
        *_pixel(copy, verifier),
        *_other_links(copy),
        *check_unsubscribe(copy, lambda link: _fault(verifier, link)),
        *_mailer_info(copy, verifier),
        _return_path(copy, verifier, catalog),
        *_leftovers(copy),
    ]


def _fault(verifier: Verifier, link: TrackedLink) -> Finding | None:
    """What is wrong with a link of ours; None when our keys made it."""
    subject = _short(link.url)
    try:
        verifier.verify(link.purpose, link.token)
    except (AnotherStore, NotFound) as error:
        return skipped("link", subject, f"local metadata: {error}", _LOCAL)
    except Forged as error:
        return problem("link", subject, f"bad MAC: {error}", _KEYS)
    except Malformed as error:
        return problem("link", subject, str(error), "upgrade: an Event Server must not be older")
    return None


def _links(copy: TaggedCopy, verifier: Verifier) -> Iterator[Finding]:
    ours = [link for link in copy.tracked if link.purpose is not Purpose.OPEN]
    faults = [fault for link in ours if (fault := _fault(verifier, link)) is not None]
    yield from faults
    clicks = len(copy.links(*_CLICKS))
    unsubs = len(copy.links(Purpose.UNSUB))
    good = len(ours) - len(faults)
    if good or faults:
        detail = f"{good} of {len(ours)} verify: {clicks} to click, {unsubs} to unsubscribe"
        if good:
            yield fine("links", "tracked links", detail)
    else:
        cure = "did it pass the submission port or `sendback rewrite`, with track_clicks set?"
        yield problem("links", "tracked links", "none", cure)


def _domains(copy: TaggedCopy, catalog: Catalog) -> Iterator[Finding]:
    for host, count in Counter(link.host for link in copy.tracked).items():
        if host in catalog.url_domain_by_host or host in _base_hosts(catalog):
            yield fine("url-domain", host, f"a URL domain of this node, in {count} links")
        else:
            cure = "add it, or check with the configuration of the Sending Server"
            yield warning("url-domain", host, f"no URL domain of this node, in {count} links", cure)


def _base_hosts(catalog: Catalog) -> set[str]:
    """Hosts of the link bases that were set apart from the domain."""
    return {urlsplit(domain.link_base).hostname or "" for domain in catalog.url_domains}


def _pixel(copy: TaggedCopy, verifier: Verifier) -> Iterator[Finding]:
    pixels = copy.links(Purpose.OPEN)
    if not copy.has_html:
        yield skipped("pixel", "open pixel", "there is no HTML part")
        return
    if not pixels:
        cure = "set track_opens for its mail class; or was it signed before it came to us?"
        yield warning("pixel", "open pixel", "none: opens are not seen", cure)
        return
    for pixel in pixels:
        yield _fault(verifier, pixel) or fine("pixel", "open pixel", "verifies")


def _other_links(copy: TaggedCopy) -> Iterator[Finding]:
    hosts = Counter(url.split("/")[2].rpartition("@")[2].lower() for url in copy.others)
    if hosts:
        shown = ", ".join(f"{host} ({count})" for host, count in hosts.most_common(10))
        yield fine("other-links", "untracked links", shown)


def _mailer_info(copy: TaggedCopy, verifier: Verifier) -> Iterator[Finding]:
    check, name = "mailer-info", "X-Mailer-Info"
    text = "".join(copy.value(name).split()).removeprefix("1.")
    extra = "".join(copy.value("X-Mailer-Info-Extra").split())
    if not text:
        cure = "without it a complaint can't be attributed; did a server on the way cut it out?"
        yield problem(check, name, "missing", cure)
        return
    ref: BounceRef | None = None
    try:
        if extra:
            ref = verifier.resolve_bounce(text)
        else:
            verifier.resolve(Purpose.REPORT, text.encode("ascii", "replace"))
    except (AnotherStore, NotFound) as error:
        yield skipped(check, name, f"local metadata: {error}", _LOCAL)
        return
    except Malformed as error:
        yield problem(check, name, f"bad MAC: {error}", _KEYS)
        return
    yield fine(check, name, "verifies")
    if ref is not None:
        yield _extra(verifier, ref, extra)


def _extra(verifier: Verifier, ref: BounceRef, extra: str) -> Finding:
    check, name = "mailer-info", "X-Mailer-Info-Extra"
    try:
        message = verifier.resolve(Purpose.REPORT, extra.encode("ascii", "replace")).message
    except Malformed as error:
        return problem(check, name, f"bad MAC: {error}", _KEYS)
    if not verifier.matches(ref, message.email, message.sendid):
        cure = "two messages were mixed: attribution would trust neither"
        return problem(check, name, "of another message than X-Mailer-Info", cure)
    return fine(check, name, f"verifies: SendID {message.sendid}, ListID {message.listid}")


def _return_path(copy: TaggedCopy, verifier: Verifier, catalog: Catalog) -> Finding:
    check, address = "return-path", copy.return_path
    if not copy.values("return-path"):
        cure = "final delivery writes it: check a copy from a mailbox"
        return skipped(check, "Return-Path", "missing: `rewrite` tells the sender apart", cure)
    mailbox, token = verp.split(address)
    if not token:
        cure = "does a server behind the submission port change the envelope sender?"
        return problem(check, mailbox or "<>", "no signed bounce address", cure)
    try:
        ref = verifier.resolve_bounce(token)
    except (AnotherStore, NotFound) as error:
        return skipped(check, mailbox, f"local metadata: {error}", _LOCAL)
    except Malformed as error:
        return problem(check, mailbox, f"bad MAC: {error}", _KEYS)
    if ref.expired:
        return warning(check, mailbox, "verifies, expired", "bounces of old mail name nobody")
    if mailbox not in catalog.bounce_mailbox_by_address:
        cure = "right on a Sending Server; the Event Servers must have this bounce mailbox"
        return warning(check, mailbox, "verifies; no bounce mailbox of this node", cure)
    return fine(check, mailbox, "verifies")


def _leftovers(copy: TaggedCopy) -> Iterator[Finding]:
    left = sorted({n for n, _ in copy.headers if n.startswith(("x-greenarrow-", "x-sendback-"))})
    cure = "the message did not pass the submission port, or `rewrite`"
    if left:
        yield problem("leftovers", "instructions", f"still there: {', '.join(left)}", cure)
    if "##unsubscribetag##" in copy.raw_text:
        cure = "set unsubscribe_links for its mail class"
        yield problem("leftovers", "##unsubscribetag##", "readers see it", cure)


def _short(url: str) -> str:
    return url if len(url) <= 60 else f"{url[:57]}..."
