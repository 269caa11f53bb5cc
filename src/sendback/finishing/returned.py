"""A mail that came back: attributed, parsed, counted.

The mail is kept raw whenever it is no plain bounce, delay, automatic answer or complaint of
somebody we know. A parser never stops anything: it answers `other`.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sendback.errors import Unavailable
from sendback.finishing import identity
from sendback.finishing.identity import Identity, ReportMetadata
from sendback.finishing.made import Made, event_id
from sendback.finishing.unparsed import Unparsed
from sendback.finishing.visits import UNSUBSCRIBED_ONCE_MS
from sendback.model import (
    BounceAll,
    BounceBadAddress,
    CapturedMail,
    Complaint,
    Event,
    MessageFacts,
    Unsubscribe,
)
from sendback.model.bounce import Bounce
from sendback.reports import Report, ReportedRecipient

SAME_MAIL_MS = 86_400_000
_MAX_RECIPIENTS = 100


class Parse(Protocol):
    """`sendback.reports.parse`."""

    def __call__(
        self, raw: bytes, *, at_complaint_mailbox: bool, local_servers: frozenset[str]
    ) -> Report:
        """Any bytes give a Report; nothing is raised."""


class Count(Protocol):
    """`sendback.bounces.Counting.count`."""

    def __call__(self, bounces: Sequence[Bounce], /) -> Sequence[bool]:
        """True for each whose address is a bad one now; idempotent by record. Unavailable: none
        was counted.
        """


class Returned:
    """Makes events of captured mail."""

    def __init__(
        self,
        metadata: ReportMetadata,
        parse: Parse,
        count: Count,
        unparsed: Unparsed,
        server_id: str,
        local_servers: Callable[[], frozenset[str]],
    ) -> None:
        self._metadata, self._parse, self._count = metadata, parse, count
        self._unparsed, self._server_id = unparsed, server_id
        self._local_servers = local_servers

    def make(self, mail: CapturedMail) -> Made:
        """The events of one mail. Unavailable when its identity can't be looked up now."""
        at_complaints = mail.mailbox in ("complaint", "abuse")
        report = self._parse(
            mail.raw,
            at_complaint_mailbox=at_complaints,
            local_servers=self._local_servers(),
        )
        made = self._of_report(mail, report, at_complaints)
        if made.once is None:
            made.once, made.once_ms = content_key(mail), SAME_MAIL_MS
            made.once_name = "repeated_mails"
        return made

    def _of_report(self, mail: CapturedMail, report: Report, at_complaints: bool) -> Made:
        if mail.mailbox == "unsubscribe" or report.kind == "unsubscribe":
            made = self._unsubscribe(mail, report)
            if made is not None:
                return made
        if at_complaints or report.kind == "complaint":
            found = identity.of_complaint(self._metadata, mail.rcpt_to, report)
            if found.message is not None:
                return Made([self._complaint(mail, report, found.message)])
            return self._keep(mail, "unattributed")
        if report.kind == "bounce":
            return self._bounce(mail, report)
        if report.kind in ("delivery-delay", "delivered", "auto-reply"):
            return Made(counts=[f"mails.{report.kind}"])
        made = self._unsubscribe(mail, report)
        return made if made is not None else self._keep(mail, "other")

    def count(self, made: Sequence[Made]) -> None:
        """Count the bounces of a batch in one go, and add the events of bad addresses.

        While counting is not available the bounces go out now, and come again to be counted.
        """
        bounces = [one.bounce for one in made if one.bounce is not None]
        if not bounces:
            return
        counted = [one for one in made if one.bounce is not None]
        try:
            answers = self._count(bounces)
        except Unavailable as error:
            for one in counted:
                one.retry = str(error)
            return
        for one, is_bad in zip(counted, answers, strict=True):
            if is_bad and one.when_bad is not None:
                one.events = [*one.events, one.when_bad]

    def make_kept(self, mail: CapturedMail) -> Made:
        """The mail is given up: kept raw."""
        return self._keep(mail, "fault")

    def _keep(self, mail: CapturedMail, why: str) -> Made:
        self._unparsed.keep(mail.record_id, mail.time_ms, mail.raw, why)
        return Made(counts=["unparsed", f"unparsed.{why}"])

    # -- the kinds -------------------------------------------------------------------------

    def _unsubscribe(self, mail: CapturedMail, report: Report) -> Made | None:
        found = identity.of_unsubscribe(self._metadata, mail.rcpt_to, report.subject)
        message = found.message
        if message is None:
            return None
        key = hashlib.blake2b(
            message.key + b"\0" + message.listid.encode(), digest_size=16, person=b"unsubscribe"
        ).digest()
        return Made(
            [Unsubscribe(**self._shared(mail, message, 0, ""))],
            once=key,
            once_ms=UNSUBSCRIBED_ONCE_MS,
            once_name="repeated_unsubscribes",
        )

    def _complaint(self, mail: CapturedMail, report: Report, message: MessageFacts) -> Complaint:
        return Complaint(
            **self._shared(mail, message, 0, "scomp"),
            feedback_type=report.feedback_type,
            reported_domain=report.reported_domain,
            source_ip=report.source_ip,
        )

    def _bounce(self, mail: CapturedMail, report: Report) -> Made:
        found = identity.of_bounce(self._metadata, mail.rcpt_to, report)
        message = found.message
        if message is None:
            return self._keep(mail, "unattributed")
        failed = _failed(report, message.email)
        events: list[Event] = []
        for index, recipient in enumerate(failed):
            facts = self._bounce_facts(report, recipient, found)
            events.append(BounceAll(**self._shared(mail, message, index, "bounce_all"), **facts))
        mildest = min(failed, key=lambda r: (r.bad_address, r.hard))
        facts = self._bounce_facts(report, mildest, found)
        return Made(
            events,
            bounce=Bounce(
                email=message.email,
                listid=message.listid,
                reason=mildest.reason,
                bounce_type=mildest.bounce_type,
                hard=mildest.hard,
                bad_address=mildest.bad_address,
                time_ms=mail.time_ms,
                record_id=mail.record_id,
            ),
            when_bad=BounceBadAddress(
                **self._shared(mail, message, len(failed), "bounce_bad_address"), **facts
            ),
        )

    def _shared(
        self, mail: CapturedMail, message: MessageFacts, index: int, kind: str
    ) -> dict[str, Any]:
        return {
            "event_time": mail.time_ms // 1000,
            "event_time_ms": mail.time_ms,
            "event_unique_id": event_id(mail.record_id, index, kind),
            "server_id": self._server_id,
            "email": message.email,
            "listid": message.listid,
            "sendid": message.sendid,
            "click_tracking_id": message.click_tracking_id,
            "mail_class": message.mail_class,
            "url_domain": message.url_domain,
            "instance_id": message.instance_id,
        }

    def _bounce_facts(
        self, report: Report, recipient: ReportedRecipient, found: Identity
    ) -> dict[str, Any]:
        return {
            "bounce_type": recipient.bounce_type,
            "bounce_code": recipient.bounce_code,
            "bounce_text": (recipient.text or recipient.diagnostic_code)[:1000],
            "synchronous": report.is_local and found.is_signed_envelope,
            "bounce_reason": recipient.reason,
            "bounce_status": recipient.status,
            "bounce_action": recipient.action,
            "reporting_mta": recipient.reporting_mta or report.reporting_mta,
            "diagnostic_code": recipient.diagnostic_code[:1000],
        }


def _failed(report: Report, email: str) -> Sequence[ReportedRecipient]:
    """The failed recipients that the bounce is about: those of the mailed address when it names
    it, else all of them (it was forwarded; the address we mailed is credited).
    """
    failed = [r for r in report.recipients if r.action in ("failed", "")] or list(report.recipients)
    wanted = email.lower()
    own = [r for r in failed if wanted in (r.address.lower(), r.original.lower())]
    return (own or failed)[:_MAX_RECIPIENTS] or [ReportedRecipient(address=email, action="failed")]


def content_key(mail: CapturedMail) -> bytes:
    """Equal for the same message sent again to the same address."""
    digest = hashlib.blake2b(digest_size=16, person=b"mail")
    digest.update(mail.rcpt_to.lower().encode() + b"\0")
    digest.update(mail.raw)
    return digest.digest()
