"""Complaints: feedback reports, and what stands in for them where a provider sends none."""

import re

from sendback.reports import arf, freetext
from sendback.reports.context import FEEDBACK_KINDS, RETURNED_KINDS, Context, make_report
from sendback.reports.envelope import TEXT_CAP, decode_text
from sendback.reports.report import Report

_COMPLAINING_SUBJECT = re.compile(
    r"\s*(?:complaint about message from|e-?mail feedback report for|abuse report for)",
    re.IGNORECASE,
)
_XARF_ABOUT_MAIL = {"spam", "abuse", "feedback", "messaging", "complaint"}


def read_complaint(context: Context) -> Report | None:
    """The complaint, or None when the message is none."""
    feedback = _machine_readable(context) or _unwrapped(context)
    if feedback is None:
        return None
    recipients = feedback.recipients
    if not recipients:
        address = arf.old_hotmail_recipient(context.returned) or arf.unmasked(
            freetext.returned_recipient(context.returned, frozenset())
        )
        recipients = (address,) if address else ()
    return make_report(
        context,
        "complaint",
        feedback_type=feedback.feedback_type,
        feedback_recipients=recipients,
        reported_domain=feedback.reported_domain,
        source_ip=feedback.source_ip,
        reporting_mta=feedback.reporting_mta,
    )


def _machine_readable(context: Context) -> arf.Feedback | None:
    mail = context.mail
    if b"feedback-" not in mail.lower:
        return None
    for part in mail.parts:
        named = part.kind in FEEDBACK_KINDS
        if named or (
            part.kind not in RETURNED_KINDS and b"feedback-type:" in part.body[:TEXT_CAP].lower()
        ):
            feedback = arf.read_feedback(decode_text(part.decoded(), ""))
            if feedback:
                context.steps.append(f"{part.kind}: feedback type {feedback.feedback_type!r}")
                return feedback
    if "feedback-report" not in mail.headers.get("content-type", "").lower():
        return None
    context.steps.append("Content-Type: report-type=feedback-report")
    for part in mail.parts:  # the fields are encoded, or in a part of another name
        if feedback := arf.read_feedback(decode_text(part.decoded(), "")):
            return feedback
    return arf.Feedback("abuse")


def _unwrapped(context: Context) -> arf.Feedback | None:
    """Reports without the ARF part: old Hotmail, XARF, plain copies at the complaint mailbox."""
    mail, subject = context.mail, context.subject
    if (
        b"x-hmxmr" in mail.lower
        and arf.old_hotmail_recipient(context.returned)
        and arf.sounds_like_complaint(subject, context.sender)
    ):
        context.steps.append("X-HmXmrOriginalRecipient in the returned copy: old JMRP report")
        return arf.Feedback("abuse")
    if b"xarf" in mail.lower and (
        "x-xarf" in mail.headers or any("xarf" in str(p.headers).lower() for p in mail.parts)
    ):
        kinds = {arf.read_xarf(decode_text(part.decoded(), "")) for part in mail.parts}
        if kinds & _XARF_ABOUT_MAIL:
            context.steps.append("XARF report about mail")
            return arf.Feedback("abuse")
        context.steps.append("XARF report that is no complaint about mail")
        return None
    if _COMPLAINING_SUBJECT.match(subject) and any(p.kind in RETURNED_KINDS for p in mail.parts):
        context.steps.append("the subject names a complaint, and a copy is attached")
        return arf.Feedback("abuse")
    evidence = context.evidence
    if context.at_complaint_mailbox and (evidence.mailer_info or evidence.mailer_info_extra):
        if "delivery-status" in mail.headers.get("content-type", "").lower():
            return None
        context.steps.append("at the complaint mailbox with our header: a complaint")
        return arf.Feedback("abuse")
    return None
