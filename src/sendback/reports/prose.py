"""Reports in prose: is it a bounce, a delay, an automatic answer, or none of these?"""

import re

import msgspec

from sendback.reports import autoreply, dsn, freetext
from sendback.reports.addresses import find_address, is_system
from sendback.reports.context import Context, judge, make_report
from sendback.reports.report import Report, ReportedRecipient
from sendback.reports.signals import signal

#: Points that make a bounce, and points that no sign of an automatic answer outweighs.
ENOUGH = 3
PLENTY = 5

_REPLY_PREFIX = re.compile(r"\s*(?:re|fwd?|aw|wg|sv|rv|tr|vs|antw|ответ)\s*:", re.IGNORECASE)
#: Subjects that state the reason, not the subject of the returned message.
_TITLED = re.compile(
    r"(?:returned mail|delivery (?:failure|error)|mail (?:failed|failure))[ \t]*[:;-](.{4,200})",
    re.IGNORECASE,
)
_UNTOLD = ("onhold", "undefined")
_GIVEN_UP = re.compile(r"fail|undeliver|returned")
#: HOST of qmail's first line and its variants: "the qmail-send program at HOST."
_QSBF = re.compile(r"(?:program|agent|daemon|server) at ([a-z0-9.-]{3,255})")


def read_prose(context: Context, reporting_mta: str = "") -> Report:
    """The report of a message that no structure explains; `other` when nothing else does."""
    headers, subject, words = context.headers, context.subject, context.prose
    if autoreply.is_unsubscribe(headers, subject) and "x-failed-recipients" not in headers:
        context.steps.append("an unsubscribe request by mail")
        address = context.sender
        return make_report(
            context, "unsubscribe", feedback_recipients=(address,) if address else ()
        )
    weight = _bounce_weight(context)
    if weight <= PLENTY and autoreply.is_challenge(subject, words):
        context.steps.append("the text asks the sender to confirm: a challenge")
        return make_report(context, "auto-reply", challenge=True)
    marked_wins = weight < PLENTY or (weight == PLENTY and not _from_system(context))
    if marked_wins and (sign := autoreply.is_marked(headers, subject)):
        context.steps.append(f"auto-reply by {sign}")
        return make_report(context, "auto-reply")
    if weight >= ENOUGH and (bounce := _bounce(context, reporting_mta, weight)):
        return bounce
    if sign := autoreply.is_automatic(headers, subject, words):
        context.steps.append(f"auto-reply by {sign}")
        return make_report(context, "auto-reply")
    context.steps.append("neither structure nor words of a report")
    return make_report(context, "other")


def is_answer(context: Context) -> bool:
    """Whether a person answers or forwards."""
    return bool(_REPLY_PREFIX.match(context.subject)) and not _from_system(context)


def looks_like_report(context: Context) -> bool:
    """Whether anything but the body says that a mail system wrote it."""
    title = "" if is_answer(context) else context.subject.lower()
    return (
        _from_system(context)
        or _has_null_path(context.headers)
        or "x-failed-recipients" in context.headers
        or signal("failing_subject").search(title) is not None
    )


def _from_system(context: Context) -> bool:
    return signal("system_sender").search(context.headers.get("from", "").lower()) is not None


def _bounce_weight(context: Context) -> int:
    """How much speaks for a bounce."""
    headers = context.headers
    system, answer = _from_system(context), is_answer(context)
    title = "" if answer else context.subject.lower()
    own = freetext.unquoted(context.prose[:6000]).lower()
    points = 0
    said: list[str] = []
    for worth, name, holds in (
        (6, "X-Failed-Recipients", "x-failed-recipients" in headers),
        (4, "report-type=delivery-status", _is_declared(context)),
        (2, "a mail system's From", system),
        (1, "null return path", _has_null_path(headers, but_for_systems=system)),
        (2, "the subject", signal("failing_subject").search(title) is not None),
        (2, "the words", signal("failing_text").search(own) is not None),
        (1, "a returned copy", bool(context.returned)),
        (1, "Auto-Submitted", headers.get("auto-submitted", "").lower().startswith("auto-gen")),
        (-2, "a person's answer", answer or (not system and "in-reply-to" in headers)),
        (-1, "a mailing list", not system and ("list-id" in headers or "list-post" in headers)),
        (-1, "List-Unsubscribe", not system and "list-unsubscribe" in headers),
    ):
        if holds:
            points += worth
            said.append(f"{name} ({worth:+d})")
    context.steps.append(f"bounce weight {points} of {ENOUGH}: {', '.join(said) or 'nothing'}")
    return points


def _is_declared(context: Context) -> bool:
    return "delivery-status" in context.headers.get("content-type", "").lower()


def _has_null_path(headers: dict[str, str], *, but_for_systems: bool = False) -> bool:
    """Whether the return path is empty or a mail system's (which a From may say already)."""
    path = headers.get("return-path")
    if path is None:
        return False
    bare = path.strip(" <>")
    return not bare or (is_system(bare) and not but_for_systems)


def _bounce(context: Context, reporting_mta: str, weight: int) -> Report | None:
    """The bounce or delay; None when it accuses nobody plainly and returns nothing."""
    sure = weight >= PLENTY or _from_system(context) or _has_null_path(context.headers)
    failures = freetext.find_failures(
        context.prose, context.failed_recipients, context.innocent(), plain_forms_only=not sure
    )
    if not failures:
        address = _guess_recipient(context)
        returns = context.returned or _has_null_path(context.headers) or _is_declared(context)
        if not address and not returns:
            context.steps.append("accuses nobody and returns nothing: not a bounce")
            return None
        address = address or freetext.accuse_anybody(context.prose)
        failures = [freetext.Failure(address, context.prose)]
    action, kind = ("delayed", "delivery-delay") if is_delay(context) else ("failed", "bounce")
    mta = reporting_mta or _qsbf_host(context.prose)
    context.steps.append(f"{kind} in prose, {len(failures)} address(es)")
    judged: dict[str, ReportedRecipient] = {}  # equal words are judged once, however many they name
    recipients = []
    for failure in failures:
        known = judged.get(failure.text)
        if known is None:
            delivery = dsn.Delivery(failure.address, "", action, "", "", "")
            known = judged[failure.text] = judge(context, delivery, mta, failure.text)
        recipients.append(msgspec.structs.replace(known, address=failure.address))
    words = _TITLED.match(context.subject)
    if len(recipients) == 1 and words and recipients[0].reason in _UNTOLD:
        context.steps.append("the text gives no reason, but the subject may")
        delivery = dsn.Delivery(recipients[0].address, "", action, "", "", "")
        recipients = [judge(context, delivery, mta, words[1])]
    return make_report(context, kind, tuple(recipients), reporting_mta=mta)


def _guess_recipient(context: Context) -> str:
    """The recipient of a report that names none: bare name, subject, returned copy."""
    name = freetext.bare_name(context.prose)
    if name and "@" in context.sender:
        return f"{name}@{context.sender.rpartition('@')[2].lower()}"
    address = find_address(context.subject)
    accused = f"from {address}" not in context.subject and not is_system(address)
    if address and accused and address.lower() not in context.innocent():
        return address
    return _returned_to(context)


def _returned_to(context: Context) -> str:
    return freetext.returned_recipient(context.returned, context.innocent())


def is_delay(context: Context) -> bool:
    """Whether the words say that delivery is still tried."""
    own, title = context.prose[:8192].lower(), context.subject.lower()
    trying = signal("delayed").search(own) is not None
    if signal("delayed_subject").search(title) and not _GIVEN_UP.search(title):
        return trying or not signal("final").search(own)
    return trying and not signal("final").search(own)


def _qsbf_host(words: str) -> str:
    """HOST of 'Hi. This is the qmail-send program at HOST.', or ""."""
    found = _QSBF.search(words[:1000].lower())
    return found[1].rstrip(".") if found else ""
