"""What the readers of one message share: parts, texts, evidence, the steps of the verdict."""

import re
from dataclasses import dataclass, field

from sendback.reports import codes, dsn, freetext
from sendback.reports.addresses import find_address
from sendback.reports.classify import Fault, classify
from sendback.reports.envelope import Mail, Part, decode_text, decode_words, strip_html
from sendback.reports.evidence import Evidence, find_evidence
from sendback.reports.report import MAX_TEXT, Report, ReportedRecipient

FEEDBACK_KINDS = frozenset({"message/feedback-report", "text/feedback-report"})
RETURNED_KINDS = frozenset(
    {
        "message/rfc822",
        "text/rfc822-headers",
        "message/global",
        "message/global-headers",
        "message/rfc822-headers",
        "text/rfc822-header",
        "message/partial",
    }
)

_FROM = re.compile(
    r"^[> \t]{0,4}(?:from|return-path|sender)[ \t]*:[ \t]*([^\n]*)", re.IGNORECASE | re.MULTILINE
)
_MESSAGE_ID = re.compile(
    r"^[> \t]{0,4}message-id[ \t]*:\s*<?([^\s<>]{3,400})", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Context:
    """One message as its readers see it; `steps` is the explanation as it grows."""

    mail: Mail
    evidence: Evidence
    subject: str
    prose: str
    returned: str
    at_complaint_mailbox: bool
    local_servers: frozenset[str]
    steps: list[str] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        """First value of each header of the outer message."""
        return self.mail.headers

    @property
    def sender(self) -> str:
        """The address in From, or ""."""
        return find_address(self.mail.headers.get("from", ""))

    @property
    def failed_recipients(self) -> tuple[str, ...]:
        """The addresses of X-Failed-Recipients (Exim, Google)."""
        value = self.mail.headers.get("x-failed-recipients", "")
        return tuple(filter(None, map(find_address, value.split(",")[:100])))

    def innocent(self) -> frozenset[str]:
        """Addresses the report is hardly about: whom it was sent to, who sent the original."""
        named = [self.headers.get("to", ""), self.headers.get("from", "")]
        if found := _FROM.search(self.returned[:8192]):
            named.append(found[1])
        return frozenset(filter(None, (find_address(value).lower() for value in named)))


def open_context(mail: Mail, at_complaint_mailbox: bool, local_servers: frozenset[str]) -> Context:
    """The context of a message taken apart."""
    prose, returned = _texts(mail)
    return Context(
        mail,
        find_evidence(mail),
        decode_words(mail.headers.get("subject", "")[:500]),
        prose,
        returned,
        at_complaint_mailbox,
        local_servers,
    )


def judge(
    context: Context, delivery: dsn.Delivery, reporting_mta: str, prose: str
) -> ReportedRecipient:
    """The verdict on one recipient, its steps added to the explanation."""
    spoke = delivery.remote_mta or reporting_mta
    verdict = classify(Fault(delivery.address, delivery.diagnostic, delivery.status, prose, spoke))
    context.steps.extend(f"{delivery.address or '?'}: {step}" for step in verdict.explain)
    weight = codes.REASONS[verdict.reason]
    final = delivery.action != "delayed"
    text = delivery.diagnostic or " ".join(prose[: 4 * MAX_TEXT].split())
    return ReportedRecipient(
        address=delivery.address,
        original=delivery.original,
        status=verdict.status,
        action=delivery.action,
        reason=verdict.reason,
        hard=verdict.hard and final,
        bad_address=verdict.bad and final,
        bounce_type=weight.type if final else "s",
        bounce_code=weight.code,
        diagnostic_code=delivery.diagnostic[:MAX_TEXT],
        text=text[:MAX_TEXT],
        reporting_mta=reporting_mta,
        remote_mta=delivery.remote_mta,
    )


def make_report(
    context: Context,
    kind: str,
    recipients: tuple[ReportedRecipient, ...] = (),
    *,
    reporting_mta: str = "",
    feedback_type: str = "",
    reported_domain: str = "",
    source_ip: str = "",
    feedback_recipients: tuple[str, ...] = (),
    challenge: bool = False,
) -> Report:
    """The report of that kind, with the message's evidence and the steps so far."""
    evidence = context.evidence
    found = _MESSAGE_ID.search(context.returned[:16384])
    return Report(
        kind=kind,
        recipients=recipients,
        reporting_mta=reporting_mta,
        is_local=bool(reporting_mta) and reporting_mta in context.local_servers,
        feedback_type=feedback_type,
        reported_domain=reported_domain,
        source_ip=source_ip,
        feedback_recipients=feedback_recipients,
        challenge=challenge,
        mailer_info=evidence.mailer_info,
        mailer_info_extra=evidence.mailer_info_extra,
        feedback_ids=evidence.feedback_ids,
        return_paths=evidence.return_paths,
        message_id=found[1] if found else "",
        subject=context.subject[:MAX_TEXT],
        explain=tuple(context.steps[:200]),
    )


def _texts(mail: Mail) -> tuple[str, str]:
    """The report's own words, and the text of the returned copy."""
    chosen: Part | None = None
    html: Part | None = None
    returned = b""
    seen_returned = False
    for part in mail.parts:
        kind = part.kind
        if kind in RETURNED_KINDS:
            if not seen_returned:
                returned, seen_returned = part.decoded(), True
        elif kind == "preamble":
            continue
        elif kind == "text/html":
            html = html or part
        elif kind in FEEDBACK_KINDS or not kind.startswith("text/"):
            continue
        elif chosen is None or (not chosen.body.strip() and part.body.strip()):
            chosen = part
    best = chosen if chosen and chosen.body.strip() else html or chosen
    text = best.text() if best else ""
    if not text.strip():
        preamble = next((p for p in mail.parts if p.kind == "preamble"), None)
        text = decode_text(preamble.decoded(), "") if preamble else text
    elif best and best.kind != "text/html" and "<br" in text[:4096].lower():
        text = strip_html(text)
    prose, below = freetext.split_original(text)
    return prose, (returned.decode("utf-8", "replace") if returned else below)
