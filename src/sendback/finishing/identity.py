"""Whose mail it was that came back: signed evidence only.

For bounces the envelope's token wins, for complaints the header. Nothing that is only written in
a report names anybody: backscatter must not suppress addresses.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from sendback import verp
from sendback.errors import Malformed, NotFound
from sendback.metadata import BounceRef
from sendback.model import MessageFacts, TrackingData
from sendback.reports import Report, unwrap_srs_batv
from sendback.secret_constants import Purpose

#: Mangled copies may stand beside good ones, so each is tried; a hostile mail brings thousands.
_TRIES = 16
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,1024}")


class ReportMetadata(Protocol):
    """What finishing asks of `sendback.metadata.Metadata` about returned mail."""

    def resolve(self, purpose: Purpose, token: bytes) -> TrackingData:
        """Everything the token stands for. Forged, NotFound, Unavailable."""

    def resolve_bounce(self, token: str) -> BounceRef:
        """What the token of a bounce address says. Forged, NotFound, Unavailable."""

    def matches(self, ref: BounceRef, email: str, sendid: str = "") -> bool:
        """True when the address is the one hashed into the bounce address."""


class Identity(NamedTuple):
    """Who a returned mail is about."""

    message: MessageFacts | None
    """None: unknown."""
    is_signed_envelope: bool
    """It came to a bounce address whose token is genuine."""
    reason: str = ""
    """Why nobody is known."""


def of_bounce(metadata: ReportMetadata, rcpt_to: str, report: Report) -> Identity:
    """The envelope's token first; with hashes only, a header or recipient that agrees with it."""
    ref = _reference(metadata, verp.split(rcpt_to)[1])
    if ref is None:
        message = _of_headers(metadata, report) or _of_return_paths(metadata, report)
        return Identity(message, is_signed_envelope=False, reason="no signed address in it")
    if ref.expired:
        return Identity(None, is_signed_envelope=True, reason="the signed address is too old")
    if ref.message is not None:
        return Identity(ref.message, is_signed_envelope=True)
    return Identity(
        _agreeing(metadata, ref, report),
        is_signed_envelope=True,
        reason="the signed address has a hash only, and nothing in the mail agrees with it",
    )


def of_complaint(metadata: ReportMetadata, rcpt_to: str, report: Report) -> Identity:
    """The signed header first, then signed return paths, then the envelope."""
    message = _of_headers(metadata, report) or _of_return_paths(metadata, report)
    if message is not None:
        return Identity(message, is_signed_envelope=False)
    return of_bounce(metadata, rcpt_to, report)


def of_unsubscribe(metadata: ReportMetadata, rcpt_to: str, subject: str) -> Identity:
    """A token of purpose MAILTO, in the address or in the subject."""
    token = verp.split(rcpt_to)[1]
    candidates = ([token] if token else []) + _TOKEN.findall(subject)[:_TRIES]
    for candidate in candidates:
        data = _resolved(metadata, Purpose.MAILTO, candidate)
        if data is not None:
            return Identity(data.message, is_signed_envelope=True)
    return Identity(None, is_signed_envelope=False, reason="no signed unsubscribe token in it")


def _reference(metadata: ReportMetadata, token: str) -> BounceRef | None:
    if not token:
        return None
    try:
        return metadata.resolve_bounce(token)
    except (Malformed, NotFound):
        return None


def _resolved(metadata: ReportMetadata, purpose: Purpose, token: str) -> TrackingData | None:
    try:
        return metadata.resolve(purpose, token.encode("ascii", "replace"))
    except (Malformed, NotFound):
        return None


def _of_headers(metadata: ReportMetadata, report: Report) -> MessageFacts | None:
    for purpose, texts in (
        (Purpose.REPORT, report.mailer_info_extra),
        (Purpose.REPORT, map(_without_version, report.mailer_info)),
        (Purpose.FEEDBACK, _feedback_tokens(report.feedback_ids)),
    ):
        for text in _first(texts):
            data = _resolved(metadata, purpose, text)
            if data is not None:
                return data.message
    return _of_tokens(metadata, map(_without_version, report.mailer_info), report)


def _of_return_paths(metadata: ReportMetadata, report: Report) -> MessageFacts | None:
    tokens = (verp.split(unwrap_srs_batv(path))[1] for path in report.return_paths)
    return _of_tokens(metadata, tokens, report)


def _of_tokens(
    metadata: ReportMetadata, tokens: Iterable[str], report: Report
) -> MessageFacts | None:
    """Bounce tokens that stand in the returned copy."""
    for token in _first(tokens):
        ref = _reference(metadata, token)
        if ref is None or ref.expired:
            continue
        message = ref.message or _agreeing(metadata, ref, report)
        if message is not None:
            return message
    return None


def _agreeing(metadata: ReportMetadata, ref: BounceRef, report: Report) -> MessageFacts | None:
    """The message of a signed header that agrees with the hashes, else a recipient that does."""
    for text in _first(report.mailer_info_extra):
        data = _resolved(metadata, Purpose.REPORT, text)
        if data is not None and metadata.matches(ref, data.message.email, data.message.sendid):
            return data.message
    addresses = [a for r in report.recipients for a in (r.original, r.address) if a]
    for address in _first([*addresses, *report.feedback_recipients]):
        if metadata.matches(ref, address):
            return MessageFacts(email=address)
    return None


def _without_version(text: str) -> str:
    return text.removeprefix("1.")


def _feedback_tokens(feedback_ids: Iterable[str]) -> Iterable[str]:
    for text in feedback_ids:
        yield text
        yield from text.split(":")


def _first(texts: Iterable[str]) -> list[str]:
    found: list[str] = []
    for text in texts:
        if text and text not in found:
            found.append(text)
        if len(found) >= _TRIES:
            break
    return found
