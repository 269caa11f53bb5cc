"""Structured reports: RFC 3464 delivery status, and SES notices in JSON."""

import re

from sendback.reports import autoreply, dsn, freetext, notices, prose
from sendback.reports.context import RETURNED_KINDS, Context, judge, make_report
from sendback.reports.envelope import decode_text, open_mail
from sendback.reports.report import Report, ReportedRecipient

_STATUS_KINDS = {"message/delivery-status", "message/global-delivery-status"}
_ARRIVED = {"delivered", "relayed", "expanded"}
_REFUSED = re.compile(r"[45]\d\d[ -]")


def read_notice(context: Context) -> Report | None:
    """The report of an SES notice, or None when the message is none."""
    lower = context.mail.lower
    if b"notificationtype" not in lower and b"eventtype" not in lower:
        return None
    texts = (part.text() for part in context.mail.parts[:3])
    notice = next(filter(None, map(notices.read_notice, texts)), None)
    if notice is None:
        return None
    context.steps.append(f"SES notice: {notice.kind} {notice.subtype}".rstrip())
    if notice.kind == "complaint":
        addresses = tuple(address for address, *_ in notice.recipients)
        return make_report(
            context,
            "complaint",
            feedback_type=notice.feedback_type,
            feedback_recipients=addresses,
        )
    recipients = []
    for address, action, status, diagnostic in notice.recipients:
        reply = diagnostic.partition(";")[2].strip() or diagnostic
        delivery = dsn.Delivery(address, "", action.lower(), status, reply, "")
        if notice.kind == "delivered":
            recipients.append(_arrived(delivery._replace(status="2.0.0")))
        else:
            words = "" if diagnostic else notice.subtype
            recipients.append(judge(context, delivery, notice.reporting_mta, words))
    return make_report(context, notice.kind, tuple(recipients), reporting_mta=notice.reporting_mta)


def read_delivery_status(context: Context) -> Report | None:
    """The report of a delivery-status part, wherever it stands, or None when there is none."""
    notification = _find(context) or _find_forwarded(context)
    if notification is None:
        return None
    mta, deliveries = notification.reporting_mta, notification.deliveries
    if not deliveries:
        context.steps.append("delivery-status without a recipient: reading the text")
        return prose.read_prose(context, mta)
    context.steps.append(f"delivery-status with {len(deliveries)} recipient group(s)")
    if autoreply.is_challenge(context.subject, context.prose) and not any(
        _REFUSED.match(delivery.diagnostic) for delivery in deliveries
    ):
        context.steps.append("the text asks the sender to confirm: a challenge, not a bounce")
        return make_report(context, "auto-reply", challenge=True)
    if all(delivery.action in _ARRIVED for delivery in deliveries):
        return make_report(
            context, "delivered", tuple(map(_arrived, deliveries)), reporting_mta=mta
        )
    guess = "failed"
    if any(not delivery.action for delivery in deliveries) and prose.is_delay(context):
        guess = "delayed"
    kept = [
        delivery._replace(action=delivery.action or guess)
        for delivery in deliveries
        if delivery.action not in _ARRIVED
    ]
    kind = "delivery-delay" if all(d.action == "delayed" for d in kept) else "bounce"
    return make_report(context, kind, _judge_all(context, kept, mta), reporting_mta=mta)


def _find(context: Context) -> dsn.Notification | None:
    """The first part with groups of fields; the part's declared type only helps."""
    best = None
    plainly = dsn.looks_like_dsn(context.mail.lower)
    for part in context.mail.parts:
        declared = part.kind in _STATUS_KINDS
        if not declared and (
            part.kind in RETURNED_KINDS
            or not (plainly or part.is_encoded)
            or not dsn.looks_like_dsn(part.decoded().lower())
        ):
            continue
        text = decode_text(part.decoded(), "")
        if not declared:
            if not prose.looks_like_report(context):  # a person quotes a report
                continue
            text = freetext.split_original(text)[0]
        found = dsn.read_notification(text)
        if found and found.deliveries:
            return found
        best = best or found
    return best


def _find_forwarded(context: Context) -> dsn.Notification | None:
    """A report that a mail system passes on as an attachment and says nothing about itself."""
    if b"message/delivery-status" not in context.mail.lower or not prose.looks_like_report(context):
        return None
    if freetext.find_failures(context.prose, context.failed_recipients, context.innocent()):
        return None
    for part in context.mail.parts:
        if part.kind != "message/rfc822":
            continue
        for inner in open_mail(part.decoded()).parts:
            if inner.kind in _STATUS_KINDS:
                found = dsn.read_notification(decode_text(inner.decoded(), ""))
                if found and found.deliveries:
                    context.steps.append("a report inside an attached message")
                    return found
    return None


def _judge_all(
    context: Context, deliveries: list[dsn.Delivery], mta: str
) -> tuple[ReportedRecipient, ...]:
    """One verdict for each address; where one stands twice, failure beats delay."""
    several = len(deliveries) > 1
    failures: list[freetext.Failure] = []
    if several or not deliveries[0].address:
        failures = freetext.find_failures(
            context.prose, context.failed_recipients, context.innocent()
        )
    about = {failure.address.lower(): failure.text for failure in failures}
    judged: dict[str, ReportedRecipient] = {}
    for number, stated in enumerate(deliveries):
        address = stated.address
        if "@" not in address:
            address = _missing_address(context, failures, number)
        key = address.lower()
        known = judged.get(key)
        if known and (known.action == "failed" or stated.action != "failed"):
            continue
        words = context.prose
        if several:
            words = about.get(key) or about.get(stated.original.lower(), "")
        judged[key] = judge(context, stated._replace(address=address), mta, words)
    return tuple(judged.values())


def _missing_address(context: Context, failures: list[freetext.Failure], number: int) -> str:
    if number < len(failures):
        return failures[number].address
    if number:
        return ""
    return freetext.returned_recipient(context.returned, context.innocent())


def _arrived(delivery: dsn.Delivery) -> ReportedRecipient:
    return ReportedRecipient(
        address=delivery.address,
        original=delivery.original,
        status=delivery.status[:12].partition(" ")[0],
        action=delivery.action,
        reason="delivered",
        bounce_type="o",
        bounce_code=0,
        diagnostic_code=delivery.diagnostic,
    )
