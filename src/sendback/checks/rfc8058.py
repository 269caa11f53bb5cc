"""The unsubscribe headers: RFC 2369, and one-click by RFC 8058 with the DKIM cover it demands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sendback.checks.finding import Finding, fine, problem, skipped, warning
from sendback.checks.tagged_copy import TaggedCopy, TrackedLink, tracked_link
from sendback.secret_constants import Purpose

_LIST, _POST = "List-Unsubscribe", "List-Unsubscribe-Post"
_ONE_CLICK = "List-Unsubscribe=One-Click"


def check_unsubscribe(
    copy: TaggedCopy, fault: Callable[[TrackedLink], Finding | None]
) -> Iterator[Finding]:
    """The pair of headers, and the signature over them. `fault`: what is wrong with our link."""
    entries = copy.unsubscribe_entries
    webs = [entry for entry in entries if entry.lower().startswith(("https://", "http://"))]
    if not copy.values(_LIST):
        cure = "set list_unsubscribe for its mail class: big receivers demand it of bulk mail"
        yield problem("unsubscribe", _LIST, "missing", cure)
    elif not entries:
        yield problem("unsubscribe", _LIST, "names no <URI>", "RFC 2369 wants brackets around it")
    else:
        ours = [link for web in webs if (link := tracked_link(web, "header")) is not None]
        ours = [link for link in ours if link.purpose is Purpose.UNSUB]
        faults = [found for link in ours if (found := fault(link)) is not None]
        yield from faults
        if not ours:
            yield fine("unsubscribe", _LIST, "the sender's own: leads past us, no engine_unsub")
        elif not faults:
            yield fine("unsubscribe", _LIST, "our link verifies")
    yield from _one_click(copy, webs)
    yield _signature(copy)


def _one_click(copy: TaggedCopy, webs: list[str]) -> Iterator[Finding]:
    posts = copy.values(_POST)
    secure = [web for web in webs if web.lower().startswith("https://")]
    if posts:
        if posts[0].replace(" ", "") != _ONE_CLICK or len(posts) > 1:
            cure = f"RFC 8058 section 3.1: once, and exactly {_ONE_CLICK}"
            yield problem("one-click", _POST, f"says {posts[0][:60]!r}", cure)
        elif not secure:
            cure = "one-click is for https only: set tls on the URL domain, with a certificate"
            yield problem("one-click", _POST, "promised, and there is no https URI", cure)
        elif len(webs) > 1:
            cure = "RFC 8058 section 3.1: exactly one http(s) URI"
            yield problem("one-click", _POST, f"promised for {len(webs)} URIs", cure)
        else:
            yield fine("one-click", _POST, "promised, over https")
    elif secure:
        cure = "is it the sender's own header? else did a server on the way cut it out?"
        yield problem("one-click", _POST, "missing, though the link is https", cure)
    elif webs:
        cure = "set tls on the URL domain, with a certificate: one-click is for https only"
        yield warning("one-click", _POST, "missing: the link is http", cure)


def _signature(copy: TaggedCopy) -> Finding:
    signatures = [_tags(value) for value in copy.values("dkim-signature")]
    needed = [name for name in (_LIST, _POST) if copy.values(name)]
    check, subject = "dkim", "DKIM-Signature"
    if not signatures:
        if copy.values("received"):
            cure = "let your mail server sign behind sendback: RFC 8058 demands it for one-click"
            return warning(check, subject, "none", cure)
        return skipped(
            check, subject, "none yet: the mail server behind us signs",
            "check a copy that has arrived, too",
        )  # fmt: skip
    if not needed:
        return skipped(check, subject, "there is no unsubscribe header to cover")
    missing = [_uncovered(tags, needed) for tags in signatures]
    if [] in missing:
        domain = signatures[missing.index([])].get("d", "?")
        covered = " and ".join(needed)
        return fine(check, subject, f"{domain} covers {covered} (the signature is not verified)")
    best = min(missing, key=len)
    cure = "add them to the header list (h=, OversignHeaders) of your mail server's signer"
    return problem(check, subject, f"h= leaves out {' and '.join(best)}", cure)


def _uncovered(tags: dict[str, str], needed: list[str]) -> list[str]:
    covered = {name.strip().lower() for name in tags.get("h", "").split(":")}
    return [name for name in needed if name.lower() not in covered]


def _tags(value: str) -> dict[str, str]:
    """The tag list of RFC 6376 section 3.2."""
    pairs = (item.partition("=") for item in value.split(";"))
    return {name.strip(): "".join(text.split()) for name, _, text in pairs if name.strip()}
