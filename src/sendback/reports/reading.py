"""`parse`: from the bytes of a message to a Report. Never raises; the steps stand in `explain`.

Order, from what is said most clearly to what must be guessed: feedback report, SES notice,
delivery status, automatic answers that say so, bounces in prose, weaker automatic answers.
"""

import re
from typing import NamedTuple

from sendback.reports import arf, autoreply, codes, dsn, freetext, notices
from sendback.reports.addresses import find_address, is_system
from sendback.reports.classify import Fault, Verdict, classify
from sendback.reports.envelope import TEXT_CAP, Mail, Part, decode_text, decode_words, open_mail, strip_html
from sendback.reports.evidence import Evidence, find_evidence
from sendback.reports.phrases import Phrases
from sendback.reports.report import MAX_TEXT, Report, ReportedRecipient

#: What of a message is read: more is attachments.
MAX_BYTES = 512 * 1024

_STATUS_KINDS = {"message/delivery-status", "message/global-delivery-status"}
_RETURNED_KINDS = {
    "message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers",
    "message/rfc822-headers", "text/rfc822-header", "message/partial",
}
_FEEDBACK_KINDS = {"message/feedback-report", "text/feedback-report"}

_FAILING_SUBJECT = Phrases(
    r"undeliver(?:able|ed)|non[- ]?deliver|deliver\w* (?:\w+ )?(?:fail|error|problem|status|notif|report|warning|has failed|delay)|(?:mail|message|e-?mail)(?: \w+){0,3} (?:fail|not (?:be )?deliver|undeliver|delay|return|bounc|reject|could not|blocked|error)"
    r"|failure (?:notice|delivery|notification)|fail(?:ed|ure) (?:delivery|mail|to deliver|notice)|returned (?:mail|message|e-?mail|to sender)|return(?:ed)? to sender|could(?: not|n.t) (?:be )?(?:deliver|send)|(?:mail|delivery) (?:system|subsystem)|postmaster notify|bounced? (?:mail|message|action)|mail delivery|user unknown|unknown user|(?:permanent|fatal|transient) (?:delivery )?(?:fail|error)|unzustellbar|nicht zugestellt|unzustellbarkeit|zustell(?:ung|fehler)|fehlgeschlagen|non remis|échec|echec de|remise|non distribu|non recens|no (?:se )?(?:ha )?(?:podido )?entreg|devuelto|devolvid|n[aã]o (?:foi )?entreg|falha (?:na|de)|mancat[oa] |impossibile|onbestelbaar|niet (?:bezorgd|afgeleverd)|недостав|не доставлен|не удалось|доставк|配信|配送|不達|送信(?:でき|エラー|失敗)|エラー|退信|投递|无法(?:送达|投递)|系统退信|退件|未送达|전송.{0,6}실패|반송|error sending your mail|mail (?:could not|error)|delivery|loop alert|message you sent blocked|errors from|oletettu|não pôde|rejected (?:mail|message)|mail blocked|spam (?:rejected|blocked)|notification d.tat|warning: (?:could not|message)|was not delivered|problem delivering|unable to deliver|failed mail|failed:"
)
_FAILING_TEXT = Phrases(
    r"(?:could|can|was|were|is|has|have|did|been|be|able to)(?: ?n[o']t|not)? ?(?:not )?(?:be |been |yet )?(?:able to )?(?:successfully )?(?:deliver|reach the following|relayed|sent to|send your)"
    r"|(?:unable|failed|failure|impossible|wasn.t able|not able|trouble|error) (?:to |in |while |when |occurred )?(?:\w+ )?(?:deliver|attempting to deliver|trying to deliver|sending)|undeliver|non[- ]?delivery|delivery (?:to|of|attempt|status|fail|error|has)|failed (?:recipient|address|permanently|delivery)|(?:permanent|fatal|transient) (?:fatal )?(?:delivery )?error|returned (?:to you|mail)|mailbox (?:is )?(?:full|unavailable)|user unknown|unknown user|no such user|does(?:n.t| not) (?:exist|have an)|transcript of session|error message below|server message|rejected|following (?:address|recipient)|(?:mail|message)(?: \w+){0,3} (?:bounced|blocked|rejected|failed|refused)|qmail|mail delivery (?:software|system|agent)|nicht zugestellt|konnte nicht|n.a pas pu|n.ont pas pu|no (?:se )?(?:ha )?(?:podido|pudo)|n[aã]o (?:pôde|foi poss|pode)|impossibile|non (?:è|e) stato|не может быть доставлен|не доставлен|недоставл|не удалось|できませんでした|送信できません|届けできません|失敗|退信|无法|未能|投递失败|投递|반송|전송하지|may not exist|loop|message size|giving up|quota"
)
_DELAYED = Phrases(
    r"(?:has|have) (?:been )?(?:delayed|postponed|deferred|not yet been|not been deliver\w+ yet)|warning message only|do not need to resend|(?:will|is going to) (?:be retried|continue (?:to )?tr|keep trying|retry|try again|attempt|be attempted)|(?:is|are|still) (?:still )?(?:being retried|trying|awaiting delivery|in the queue|being attempted)|delivery (?:is |has been )?delayed|delivery attempts will|continue trying|will continue|further (?:attempts|delivery attempts)|retried for|noch nicht zugestellt|verzögert|retardé|en retard|retras(?:ad|o)|atrasad|задерж|遅延|遅れ|延迟|message (?:is )?delayed|message will be retried|temporarily delayed|not (?:yet )?been delivered after|warning: could not send"
)
_DELAYED_SUBJECT = Phrases(r"delay|warning: (?:could not|message)|delivery warning|deferred|still being|retard|verzöger|атраз|задерж|遅延|not yet"
)
_FINAL = Phrases(r"giving up|given up|gave up|permanent|failed permanently|has failed|too long|not going to try|expired|could not be delivered (?:after|within|for)|aborted|returned to sender|was not delivered|removed from the (?:mail )?queue"
)
_REPLY_PREFIX = re.compile(r"^\s*(?:re|fwd?|aw|wg|sv|rv|tr|vs|antw|ответ)\s*:", re.IGNORECASE)
_SYSTEM_FROM = Phrases(
    r"mail(?:er)?[-_. ]?(?:daemon|delivery|admin|system)|postmaster|post_master|mdaemon|mail (?:delivery|service|system|administrator|subsystem)|system administrator|delivery (?:system|subsystem|service)|smtp_mail|ndr administrator|content-filter|bounce|daemon@|spam firewall|e500_smtp|mailadm|<>"
)


class _Context(NamedTuple):
    """What several readers need of one message."""

    mail: Mail
    evidence: Evidence
    subject: str
    sender: str
    prose: str
    returned: str
    steps: list[str]
    local_servers: frozenset[str]


def parse(
    raw: bytes,
    *,
    at_complaint_mailbox: bool = False,
    local_servers: frozenset[str] = frozenset(),
    max_bytes: int = MAX_BYTES,
) -> Report:
    """What a returned message is, about whom, and what it means for each address.

    Any input gives a Report; nothing is raised, time is linear in `max_bytes`. `local_servers`
    are lower-case names of our own sending servers: their QSBF or DSN is `is_local`. At the
    complaint mailbox any message that carries X-Mailer-Info-Extra is a complaint (the caller
    still has to verify the token), as some loops return plain copies.
    """
    try:
        return _parse(raw[:max_bytes], at_complaint_mailbox, local_servers)
    except Exception as fault:  # noqa: BLE001 - hostile input; the raw mail is kept as "other"
        return Report(explain=(f"parser fault: {type(fault).__name__}; kept as other",))


def _parse(raw: bytes, at_complaint_mailbox: bool, local_servers: frozenset[str]) -> Report:
    mail = open_mail(raw)
    steps: list[str] = []
    prose, returned = _texts(mail)
    context = _Context(
        mail,
        find_evidence(mail),
        decode_words(mail.headers.get("subject", "")[:500]),
        find_address(mail.headers.get("from", "")),
        prose,
        returned,
        steps,
        local_servers,
    )
    for reader in (_complaint, _notice, _delivery_status):
        report = reader(context, at_complaint_mailbox)
        if report:
            return report
    return _by_prose(context, at_complaint_mailbox)


def _texts(mail: Mail) -> tuple[str, str]:
    """The report's own words, and the text of the returned copy."""
    chosen: Part | None = None
    html: Part | None = None
    returned = b""
    seen_returned = False
    for part in mail.parts:
        kind = part.kind
        if kind in _RETURNED_KINDS:
            if not seen_returned:
                returned, seen_returned = part.decoded(), True
        elif kind == "preamble":
            continue
        elif kind == "text/html":
            html = html or part
        elif kind.startswith("text/") and kind not in _FEEDBACK_KINDS:
            if chosen is None or (not chosen.body.strip() and part.body.strip()):
                chosen = part
    part = chosen if chosen and chosen.body.strip() else html or chosen
    text = part.text() if part else ""
    if not text.strip():
        preamble = next((p for p in mail.parts if p.kind == "preamble"), None)
        text = decode_text(preamble.decoded(), "") if preamble else text
    elif part and part.kind != "text/html" and "<br" in text[:4096].lower():
        text = strip_html(text)
    prose, below = freetext.split_original(text)
    return prose, (returned.decode("utf-8", "replace") if returned else below)


# ------------------------------------------------------------------------------ complaints


def _complaint(context: _Context, at_complaint_mailbox: bool) -> Report | None:
    mail = context.mail
    content_type = mail.headers.get("content-type", "").lower()
    feedback = None
    for part in mail.parts:
        if part.kind in _FEEDBACK_KINDS or (
            b"eedback-" in part.body[:TEXT_CAP] and part.kind not in _RETURNED_KINDS
        ):
            text = decode_text(part.decoded(), "")
            feedback = arf.read_feedback(text) if part.kind in _FEEDBACK_KINDS or "feedback-type:" in text.lower() else None
            if feedback:
                context.steps.append(f"{part.kind}: feedback report of type {feedback.feedback_type!r}")
                break
    if feedback is None and "feedback-report" in content_type:
        for part in mail.parts:  # base64 without a name for it, or cut off before the fields
            feedback = feedback or arf.read_feedback(decode_text(part.decoded(), ""))
        context.steps.append("Content-Type: report-type=feedback-report")
        feedback = feedback or arf.Feedback("abuse", (), "", "", "")
    if feedback is None:
        feedback = _unwrapped_complaint(context, at_complaint_mailbox)
    if feedback is None:
        return None
    recipients = feedback.recipients
    if not recipients:
        address = arf.old_hotmail_recipient(context.returned)
        if not address:
            address = arf.unmasked(freetext.returned_recipient(context.returned, frozenset()))
        recipients = (address,) if address else ()
    return _report(
        context,
        "complaint",
        feedback_type=feedback.feedback_type,
        feedback_recipients=recipients,
        reported_domain=feedback.reported_domain,
        source_ip=feedback.source_ip,
        reporting_mta=feedback.reporting_mta,
    )


def _unwrapped_complaint(context: _Context, at_complaint_mailbox: bool) -> arf.Feedback | None:
    """Reports without the ARF part: old Hotmail, XARF, plain copies at the complaint mailbox."""
    mail, subject = context.mail, context.subject
    if arf.old_hotmail_recipient(context.returned) and arf.sounds_like_complaint(subject, context.sender):
        context.steps.append("X-HmXmrOriginalRecipient in the returned copy: old JMRP report")
        return arf.Feedback("abuse", (), "", "", "")
    if "x-xarf" in mail.headers or any("xarf" in p.headers.get("content-type", "").lower() or "xarf" in p.headers.get("content-disposition", "").lower() for p in mail.parts):
        for part in mail.parts:
            kind = arf.read_xarf(decode_text(part.decoded(), ""))
            if kind in ("spam", "abuse", "feedback", "messaging", "complaint"):
                context.steps.append(f"XARF report of type {kind}")
                return arf.Feedback("abuse", (), "", "", "")
        context.steps.append("XARF report of a type that is no complaint about mail")
        return None
    if any(p.kind in _RETURNED_KINDS for p in mail.parts) and re.match(
        r"\s*(?:complaint about message from|e-?mail feedback report for|abuse report for)", subject, re.IGNORECASE
    ):
        context.steps.append("the subject names a complaint, and a copy is attached")
        return arf.Feedback("abuse", (), "", "", "")
    if at_complaint_mailbox and (context.evidence.mailer_info_extra or context.evidence.mailer_info):
        context.steps.append("at the complaint mailbox with our header: a complaint")
        return arf.Feedback("abuse", (), "", "", "")
    return None


# ---------------------------------------------------------------------- structured reports


def _notice(context: _Context, _: bool) -> Report | None:
    if b"otificationType" not in context.mail.body and b"eventType" not in context.mail.body:
        return None
    notice = next(filter(None, (notices.read_notice(p.text()) for p in context.mail.parts[:3])), None)
    if notice is None:
        return None
    context.steps.append(f"SES notice: {notice.kind} {notice.subtype}".rstrip())
    if notice.kind == "complaint":
        return _report(
            context, "complaint", feedback_type=notice.feedback_type,
            feedback_recipients=tuple(r[0] for r in notice.recipients),
        )
    recipients = []
    for address, action, status, diagnostic in notice.recipients:
        if notice.kind == "delivered":
            recipients.append(ReportedRecipient(address, action="delivered", reason="delivered", status="2.0.0", bounce_type="o", bounce_code=0))
            continue
        found = dsn.Delivery(address, "", action.lower(), status, diagnostic.partition(";")[2].strip() or diagnostic, "")
        recipients.append(_recipient(context, found, notice.reporting_mta, notice.subtype if not diagnostic else ""))
    return _report(context, notice.kind, tuple(recipients), reporting_mta=notice.reporting_mta)


def _delivery_status(context: _Context, _: bool) -> Report | None:
    mail = context.mail
    notification = None
    for part in mail.parts:
        if part.kind in _STATUS_KINDS or (
            part.kind not in _RETURNED_KINDS and dsn.looks_like_dsn(part.decoded().lower())
        ):
            text = decode_text(part.decoded(), "")
            if part.kind not in _STATUS_KINDS:
                text = freetext.split_original(text)[0]
            found = dsn.read_notification(text)
            if found and (found.deliveries or notification is None):
                notification = found
            if found and found.deliveries:
                break
    if notification is None:
        return None
    if not notification.deliveries:
        context.steps.append("delivery-status without a recipient: reading the text")
        return _by_prose(context, False, notification.reporting_mta)
    context.steps.append(f"delivery-status with {len(notification.deliveries)} recipient group(s)")
    if autoreply.is_challenge(context.subject, context.prose) and not any(
        dsn_code_in(d) for d in notification.deliveries
    ):
        context.steps.append("the text asks the sender to confirm: a challenge, not a bounce")
        return _report(context, "auto-reply", challenge=True)
    actions = {d.action for d in notification.deliveries}
    if actions and actions <= {"delivered", "relayed", "expanded"}:
        recipients = tuple(
            ReportedRecipient(d.address, d.original, d.status[:20].split(" ")[0], d.action, "delivered", bounce_type="o", bounce_code=0)
            for d in notification.deliveries
        )
        return _report(context, "delivered", recipients, reporting_mta=notification.reporting_mta)
    if "" in actions:
        guess = "delayed" if _is_delay(context) else "failed"
    else:
        guess = "failed"
    kept = [d._replace(action=d.action or guess) for d in notification.deliveries if d.action not in ("delivered", "relayed", "expanded")]
    kind = "delivery-delay" if all(d.action == "delayed" for d in kept) else "bounce"
    multiple = len(kept) > 1
    failures = freetext.find_failures(context.prose, _named(mail), _innocent(context)) if multiple or not kept[0].address else []
    about = {f.address.lower(): f.text for f in failures}
    recipients_found: dict[str, ReportedRecipient] = {}
    for number, delivery in enumerate(kept):
        address = delivery.address
        if "@" not in address:
            address = _missing_address(context, failures, number)
            delivery = delivery._replace(address=address)
        known = recipients_found.get(address.lower())
        if known and (known.action == "failed" or delivery.action != "failed"):
            continue
        prose = about.get(address.lower(), about.get(delivery.original.lower(), "")) if multiple else context.prose
        recipients_found[address.lower()] = _recipient(
            context, delivery, notification.reporting_mta, prose
        )
    return _report(context, kind, tuple(recipients_found.values()), reporting_mta=notification.reporting_mta)


def dsn_code_in(delivery: dsn.Delivery) -> bool:
    """Whether the group quotes a remote server's refusal: no challenge does."""
    return bool(re.match(r"[45]\d\d[ -]", delivery.diagnostic))


def _missing_address(context: _Context, failures: list[freetext.Failure], number: int) -> str:
    if number < len(failures):
        return failures[number].address
    return freetext.returned_recipient(context.returned, _innocent(context)) if number == 0 else ""


# --------------------------------------------------------------------------------- prose


def _by_prose(context: _Context, at_complaint_mailbox: bool, reporting_mta: str = "") -> Report:
    mail, subject, prose = context.mail, context.subject, context.prose
    headers = mail.headers
    if autoreply.is_unsubscribe(headers, subject) and not mail.headers.get("x-failed-recipients"):
        context.steps.append("an unsubscribe request by mail")
        address = find_address(headers.get("from", ""))
        return _report(context, "unsubscribe", feedback_recipients=(address,) if address else ())
    weight = _bounce_weight(context)
    marked = autoreply.is_marked(headers, subject)
    if autoreply.is_challenge(subject, prose) and weight < 6:
        context.steps.append("the text asks the sender to confirm: a challenge")
        return _report(context, "auto-reply", challenge=True)
    if marked and weight < 5:
        context.steps.append(f"auto-reply by {marked}")
        return _report(context, "auto-reply")
    if weight >= 3:
        return _prose_bounce(context, reporting_mta)
    automatic = autoreply.is_automatic(headers, subject, prose)
    if automatic:
        context.steps.append(f"auto-reply by {automatic}")
        return _report(context, "auto-reply")
    context.steps.append("neither structure nor words of a report")
    return _report(context, "other")


def _bounce_weight(context: _Context) -> int:
    """How much speaks for a bounce; 3 is enough."""
    headers, subject = context.mail.headers, context.subject
    weight = 0
    said: list[str] = []
    system = _SYSTEM_FROM.search(headers.get("from", "").lower()) is not None
    content_type = headers.get("content-type", "").lower()
    own = freetext.unquoted(context.prose[:6000]).lower()
    title = subject.lower()
    for points, name, holds in (
        (6, "X-Failed-Recipients", "x-failed-recipients" in headers),
        (4, "report-type=delivery-status", "delivery-status" in content_type),
        (2, "a mail system's From", system),
        (1, "null return path", _is_null(headers)),
        (2, "the subject", _FAILING_SUBJECT.search(title) is not None and (system or not _REPLY_PREFIX.match(subject))),
        (2, "the words", _FAILING_TEXT.search(own) is not None),
        (1, "a returned copy", bool(context.returned)),
        (-2, "an answer of a person", not system and ("in-reply-to" in headers or bool(_REPLY_PREFIX.match(subject)))),
        (-1, "a mailing list", "list-id" in headers or "list-post" in headers),
    ):
        if holds:
            weight += points
            said.append(f"{name} ({points:+d})")
    context.steps.append(f"bounce weight {weight} of 3: " + ", ".join(said or ["nothing"]))
    return weight


def _is_null(headers: dict[str, str]) -> bool:
    path = headers.get("return-path")
    if path is None:
        return False
    return path.strip() in ("<>", "") or is_system(path.strip(" <>") + "@") or is_system(path.strip(" <>"))


def _prose_bounce(context: _Context, reporting_mta: str) -> Report:
    innocent = _innocent(context)
    failures = freetext.find_failures(context.prose, _named(context.mail), innocent)
    if not failures:
        address = _guess_recipient(context, innocent)
        failures = [freetext.Failure(address, context.prose)]
    delayed = _is_delay(context)
    kind = "delivery-delay" if delayed else "bounce"
    action = "delayed" if delayed else "failed"
    mta = reporting_mta or _qsbf_host(context.prose)
    context.steps.append(f"{kind} in prose, {len(failures)} address(es)")
    recipients = tuple(
        _recipient(context, dsn.Delivery(f.address, "", action, "", "", ""), mta, f.text)
        for f in failures
    )
    return _report(context, kind, recipients, reporting_mta=mta)


def _guess_recipient(context: _Context, innocent: frozenset[str]) -> str:
    """The recipient of a report that names none: bare name, subject, returned copy."""
    name = freetext.bare_name(context.prose)
    if name and "@" in context.sender:
        return f"{name}@{context.sender.rpartition('@')[2].lower()}"
    address = find_address(context.subject)
    if address and address.lower() not in innocent and not is_system(address):
        return address
    return freetext.returned_recipient(context.returned, innocent)


def _is_delay(context: _Context) -> bool:
    own, title = context.prose[:8192].lower(), context.subject.lower()
    if _DELAYED_SUBJECT.search(title) and not re.search(r"fail|undeliver|returned", title):
        return not _FINAL.search(own) or bool(_DELAYED.search(own))
    return bool(_DELAYED.search(own)) and not _FINAL.search(own)


def _named(mail: Mail) -> tuple[str, ...]:
    value = mail.headers.get("x-failed-recipients", "")
    return tuple(filter(None, map(find_address, value.split(",")[:100]))) if value else ()


def _innocent(context: _Context) -> frozenset[str]:
    """Addresses the report can't be about: whom it was sent to, who sent the original."""
    headers = context.mail.headers
    found = set()
    for name in ("to", "from"):
        address = find_address(headers.get(name, ""))
        if address:
            found.add(address.lower())
    match = re.search(r"(?im)^[> \t]{0,4}(?:from|return-path|sender)[ \t]*:[ \t]*([^\n]*)", context.returned[:8192])
    if match and (address := find_address(match[1])):
        found.add(address.lower())
    return frozenset(found)


_QSBF = re.compile(
    r"(?:this is the|from the|by the|the) (?:qmail-send|qmail|mta|deliver|mail delivery|indimail\w*|[\w.-]+) (?:program|agent|daemon) at ([A-Za-z0-9.-]{3,255})",
    re.IGNORECASE,
)


def _qsbf_host(prose: str) -> str:
    """HOST of 'Hi. This is the qmail-send program at HOST.', or ""."""
    found = _QSBF.search(prose[:1000])
    return found[1].rstrip(".").lower() if found else ""


# ------------------------------------------------------------------------------- verdicts


def _recipient(context: _Context, delivery: dsn.Delivery, reporting_mta: str, prose: str) -> ReportedRecipient:
    verdict = classify(
        Fault(
            delivery.address,
            delivery.diagnostic,
            delivery.status,
            prose,
            f"{delivery.remote_mta} {reporting_mta if not delivery.remote_mta else ''}",
        )
    )
    context.steps.extend(f"{delivery.address or '?'}: {step}" for step in verdict.explain)
    weight = codes.REASONS[verdict.reason]
    final = delivery.action != "delayed"
    hard = weight.hard and final and not (verdict.reason == "notaccept" and verdict.status[:1] == "4")
    text = delivery.diagnostic or " ".join(prose.split())
    return ReportedRecipient(
        address=delivery.address,
        original=delivery.original,
        status=verdict.status or _field_status(delivery.status),
        action=delivery.action,
        reason=verdict.reason,
        hard=hard,
        bad_address=weight.bad and final,
        bounce_type=weight.type if final else "s",
        bounce_code=weight.code,
        diagnostic_code=delivery.diagnostic[:MAX_TEXT],
        text=text[:MAX_TEXT],
        reporting_mta=reporting_mta,
        remote_mta=delivery.remote_mta,
    )


def _field_status(value: str) -> str:
    found = re.match(r"[245]\.\d{1,3}\.\d{1,3}", value.strip())
    return found[0] if found else ""


def _report(
    context: _Context,
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
    evidence = context.evidence
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
        message_id=_message_id(context),
        subject=context.subject[:MAX_TEXT],
        explain=tuple(context.steps[:200]),
    )


_MESSAGE_ID = re.compile(r"^[> \t]{0,4}message-id[ \t]*:\s*<?([^\s<>]{3,400})", re.IGNORECASE | re.MULTILINE)


def _message_id(context: _Context) -> str:
    """Message-ID of the returned copy, or ""."""
    found = _MESSAGE_ID.search(context.returned[:16384])
    return found[1] if found else ""


__all__ = ["Verdict", "parse"]
