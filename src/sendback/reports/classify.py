"""From the words and codes about one recipient to one verdict. Pure; unknown is soft.

Order: what a provider is known to say and the general rules on the diagnostic text; then the
specific enhanced code in it; then the other texts with the Status field; then the stage of the
SMTP dialog. "Dead" needs positive evidence: a 5xx alone never is.
"""

import re
from typing import NamedTuple

from sendback.reports import codes, rules

_ENHANCED = re.compile(r"(?<![\w.-])([245])\.(\d{1,3})\.(\d{1,3})(?![\w.-]*\d[\w]*\.|\.?\d|/)")
_REPLY = re.compile(r"(?<![\w.:/=-])([245]\d\d)(?=[ \-:)\].,#'<]|$)(?!\.\d)")
_ANSWERED = re.compile(
    r"(?:said|replied|response|error|reason|returned|<<<)[^0-9]{0,40}([45]\d\d)\b"
)
#: The sender or the host was refused: whatever the reply says, it is not about the recipient.
_BEFORE_RCPT = (
    (
        "mail from",
        "rejected",
        re.compile(r"(?:after|in reply to|response to|during) (?:pipelined )?mail from"),
    ),
    ("lo", "blocked", re.compile(r"(?:after|in reply to|response to|during) (?:helo|ehlo)")),
)
#: Stage of the dialog, from Exim, Postfix, Sendmail, qmail, m-FILTER, Google texts.
_STAGES = (
    (
        "rejected",
        re.compile(
            r"(?:after|to|our|during) (?:pipelined )?mail from|sender was rejected"
            r"|state 1[23]\b|>>> mail "
        ),
    ),
    (
        "blocked",
        re.compile(
            r"after initial connection|while (?:performing the )?(?:initial|helo|ehlo)"
            r"|to (?:helo|ehlo)|refused to talk"
        ),
    ),
    (
        "filtered",
        re.compile(
            r"after (?:end of )?data|end of data|final data|after i sent the message"
            r"|state 1[78]\b|to data command"
        ),
    ),
)
#: Reasons that a transcript mentions on the way, against codes that say it is the address.
_FLEETING = {"networkerror", "expired", "systemerror", "mailererror", "onhold"}
_ADDRESS_CODES = {"1.1", "1.2", "1.3", "1.6", "1.10"}


class Fault(NamedTuple):
    """What a report says about one recipient; all texts as they stood, "" where silent."""

    recipient: str
    diagnostic: str = ""
    status: str = ""
    prose: str = ""
    hosts: str = ""


class Verdict(NamedTuple):
    """The reason, the best status code, how both came about, and what follows from them."""

    reason: str
    status: str
    explain: tuple[str, ...]
    hard: bool
    bad: bool


#: The table that ships with the package, read once.
TABLE = rules.load(rules.packaged())


def classify(fault: Fault, table: rules.RuleTable = TABLE) -> Verdict:
    """The verdict on one recipient."""
    steps: list[str] = []
    field, comment = _field_code(fault.status)
    # Four texts, from the most to the least telling; each with the code that stands in it.
    hosts = (fault.hosts + " " + fault.diagnostic).lower()
    status = ""
    for name, text in (
        ("diagnostic", fault.diagnostic),
        ("status comment", comment),
        ("message text", fault.prose),
    ):
        if not text:
            continue
        plain = rules.quieten(table, rules.normalise(text, fault.recipient))
        code = _best_code(text)
        if codes.is_specific(code):
            if not status:
                status = code
                steps.append(f"{name}: enhanced code {code}")
            elif status != code:
                steps.append(f"{name}: enhanced code {code} noted, {status} stands")
        reason = _by_text(table, name, plain, hosts, code, field, steps)
        if reason:
            return _done(reason, status or _usable(code, field), steps, _class_of(plain, "", ""))
        if (
            codes.is_specific(code)
            and (reason := codes.default_of(code))
            and not (name == "message text" and codes.is_specific(field) and field != code)
        ):
            steps.append(f"{name}: no rule matches; {code} by itself means {reason}")
            return _done(reason, status or code, steps)
    return _by_codes(fault, field, status, steps)


def _by_text(
    table: rules.RuleTable,
    name: str,
    plain: str,
    hosts: str,
    code: str,
    field: str,
    steps: list[str],
) -> str:
    """The reason that the words (with the code among them) give, or ""."""
    decided = codes.DECIDING.get((code or (field if name == "diagnostic" else ""))[2:], "")
    if decided:
        steps.append(f"{name}: code {code or field} decides: {decided}")
        return decided
    found = rules.match(table, plain, hosts + " " + plain[:400], _class_of(plain, code, field))
    if not found:
        return ""
    origin = f"provider table {found.provider}" if found.provider else "rule"
    shown = found.phrases.search(plain)
    steps.append(f"{name}: {origin} for {found.reason} matches {shown[0][:80]!r}" if shown else "")
    reason = found.reason
    if codes.REASONS[reason].bad and reason != "notaccept":
        for word, earlier, pattern in _BEFORE_RCPT:
            if word in plain and pattern.search(plain) and "rcpt to" not in plain:
                steps.append(f"refused before the recipient was named: {earlier}")
                return earlier
        if reason == "hostunknown" and (code or field)[2:4] == "7.":
            steps.append(f"code {code or field} is about security: the sending host is meant")
            return "blocked"
    if reason == "userunknown" and (code or field)[2:] == "2.1":
        steps.append("code x.2.1 (mailbox disabled) with 'unknown': suspended")
        return "suspend"
    if name != "diagnostic" and reason in _FLEETING and field[2:] in _ADDRESS_CODES and not code:
        steps.append(f"Status {field} is more definite: {codes.DEFAULTS[field[2:]]}")
        return codes.DEFAULTS[field[2:]]
    if (
        name != "diagnostic"
        and codes.REASONS[reason].bad
        and codes.is_specific(field)
        and not code
        and codes.DEFAULTS.get(field[2:], "userunknown")
        not in ("userunknown", "hostunknown", "filtered")
    ):
        steps.append(f"Status {field} speaks against a dead address: {codes.DEFAULTS[field[2:]]}")
        return codes.DEFAULTS[field[2:]]
    return reason


def _by_codes(fault: Fault, field: str, status: str, steps: list[str]) -> Verdict:
    """No words helped: the Status field, then the stage of the dialog, then nothing."""
    text = (fault.diagnostic or fault.prose)[: rules.RULE_CAP].lower()
    if codes.is_specific(field):
        reason = codes.DECIDING.get(field[2:]) or codes.default_of(field)
        if reason:
            steps.append(f"no rule matches; Status {field} means {reason}")
            return _done(reason, status or field, steps)
    for reason, pattern in _STAGES:
        if pattern.search(text) or pattern.search(fault.prose[:2048].lower()):
            steps.append(f"no rule matches; refused at that stage of the dialog: {reason}")
            return _done(reason, status or field, steps)
    reason = "onhold" if text.strip() else "undefined"
    steps.append(f"no rule matches: {reason}, soft")
    return _done(reason, status or field, steps)


def _done(reason: str, status: str, steps: list[str], reply: str = "") -> Verdict:
    weight = codes.REASONS[reason]
    temporary = (status[:1] or reply) == "4"
    hard = weight.hard and not (reason == "notaccept" and temporary)
    bad = weight.bad and not (reason == "suspend" and temporary)
    return Verdict(reason, status, tuple(step for step in steps if step), hard, bad)


def _usable(code: str, field: str) -> str:
    """The better of two codes: specific ones first, the diagnostic's before the field's."""
    for candidate in (code, field):
        if codes.is_specific(candidate):
            return candidate
    return code or field


def _field_code(status: str) -> tuple[str, str]:
    """The code of a Status field, and the comment that follows it."""
    found = re.match(r"\s*([245])\.(\d{1,3})\.(\d{1,3})", status)
    if not found:
        return "", status
    return found[0].strip(), status[found.end() :].strip(" ()")


def _best_code(text: str) -> str:
    """The last specific enhanced code of a text, else its last one."""
    best = ""
    for found in _ENHANCED.finditer(text[: rules.RULE_CAP]):
        code = f"{found[1]}.{int(found[2])}.{int(found[3])}"
        if found[1] == "2":
            continue
        if codes.is_specific(code) or not codes.is_specific(best):
            best = code
    return best


def _class_of(plain: str, code: str, field: str) -> str:
    """4 or 5: of the reply code in the text, else of the enhanced codes."""
    found = _ANSWERED.search(plain) or _REPLY.search(plain)
    if found and found[1][0] in "45":
        return found[1][0]
    return (code or field)[:1]
