"""Reasons, their weight and numbers, and what status codes mean by themselves. Tables only.

docs/reference/bounces.md prints these tables; a test keeps page and code equal.
"""

from typing import NamedTuple


class Reason(NamedTuple):
    """`hard`: permanently undeliverable; `bad`: stop mailing; `type` h, s or o; stable `code`."""

    code: int
    type: str
    hard: bool
    bad: bool
    meaning: str


REASONS: dict[str, Reason] = {
    "userunknown": Reason(10, "h", True, True, "no such mailbox"),
    "hostunknown": Reason(11, "h", True, True, "no such domain or host"),
    "hasmoved": Reason(12, "h", True, True, "mailbox moved away"),
    "notaccept": Reason(13, "h", True, True, "host or domain takes no mail"),
    "suspend": Reason(20, "h", False, True, "account disabled or suspended"),
    "mailboxfull": Reason(30, "s", False, False, "mailbox over quota"),
    "exceedlimit": Reason(31, "s", False, False, "message too big for the mailbox"),
    "mesgtoobig": Reason(40, "s", False, False, "message too big for the host"),
    "contenterror": Reason(41, "o", False, False, "content or MIME refused"),
    "virusdetected": Reason(42, "o", False, False, "virus or malware found"),
    "syntaxerror": Reason(43, "o", False, False, "SMTP syntax or command error"),
    "notcompliantrfc": Reason(44, "o", False, False, "message breaks an RFC"),
    "spamdetected": Reason(50, "o", False, False, "judged spam"),
    "blocked": Reason(51, "o", False, False, "sending host or address blocked"),
    "badreputation": Reason(52, "o", False, False, "sender reputation too low"),
    "rejected": Reason(53, "o", False, False, "sender address refused"),
    "policyviolation": Reason(54, "o", False, False, "recipient side policy"),
    "authfailure": Reason(55, "o", False, False, "SPF, DKIM or DMARC failed"),
    "requireptr": Reason(56, "o", False, False, "sending host lacks reverse DNS"),
    "norelaying": Reason(57, "o", False, False, "relaying denied"),
    "securityerror": Reason(58, "o", False, False, "other security refusal"),
    "failedstarttls": Reason(59, "o", False, False, "TLS could not be started"),
    "speeding": Reason(60, "o", False, False, "sending too fast"),
    "toomanyconn": Reason(61, "o", False, False, "too many connections or messages"),
    "expired": Reason(70, "s", False, False, "gave up after retrying"),
    "networkerror": Reason(71, "s", False, False, "DNS, connection or routing failure, loop"),
    "systemerror": Reason(72, "s", False, False, "remote system fault"),
    "systemfull": Reason(73, "s", False, False, "remote disk full"),
    "mailererror": Reason(74, "s", False, False, "delivery program failed"),
    "filtered": Reason(80, "s", False, False, "refused without saying whether the mailbox exists"),
    "onhold": Reason(81, "s", False, False, "reason stated, but not classified"),
    "suppressed": Reason(82, "o", False, False, "on a suppression list before it was sent"),
    "undefined": Reason(90, "s", False, False, "no reason can be told"),
}

#: Codes (without the class) that decide before any words do: they name the sender, the size, a
#: loop or an authentication, never the recipient (facts/bounces.md section 4.1).
DECIDING: dict[str, str] = {
    "1.7": "rejected",
    "1.8": "rejected",
    "2.3": "exceedlimit",
    "3.4": "mesgtoobig",
    "4.6": "networkerror",
    "7.8": "securityerror",
    "7.20": "authfailure",
    "7.21": "authfailure",
    "7.22": "authfailure",
    "7.23": "authfailure",
    "7.24": "authfailure",
    "7.25": "requireptr",
    "7.26": "authfailure",
    "7.509": "authfailure",
    "7.515": "authfailure",
    "7.606": "blocked",
    "7.13": "suspend",
}

#: What a code means when the words are silent (RFC 3463, RFC 5248, RFC 7505, RFC 7372).
DEFAULTS: dict[str, str] = {
    "1.1": "userunknown",
    "1.2": "hostunknown",
    "1.3": "userunknown",
    "1.6": "hasmoved",
    "1.10": "userunknown",
    "1.351": "userunknown",
    "2.1": "filtered",
    "2.2": "mailboxfull",
    "2.4": "filtered",
    "3.1": "systemfull",
    "3.2": "notaccept",
    "3.3": "systemerror",
    "3.5": "systemerror",
    "4.1": "expired",
    "4.2": "networkerror",
    "4.3": "systemerror",
    "4.4": "hostunknown",
    "4.5": "systemerror",
    "4.7": "expired",
    "4.310": "hostunknown",
    "4.312": "networkerror",
    "4.316": "expired",
    "5.1": "syntaxerror",
    "5.2": "syntaxerror",
    "5.3": "toomanyconn",
    "5.4": "syntaxerror",
    "6.0": "contenterror",
    "6.1": "contenterror",
    "6.2": "contenterror",
    "6.3": "contenterror",
    "6.5": "contenterror",
    "6.6": "contenterror",
    "6.7": "contenterror",
    "7.1": "policyviolation",
    "7.2": "rejected",
    "7.9": "securityerror",
    "7.17": "hasmoved",
    "7.27": "rejected",
    "7.28": "speeding",
}


#: What stands in for "dead" when the code's class is 4: temporary codes never kill by themselves.
_TEMPORARY = {
    "4.4": "networkerror",
    "4.310": "networkerror",
    "1.2": "networkerror",
    "3.2": "systemerror",
}


def default_of(code: str) -> str:
    """The reason that an enhanced code means when the words are silent, or ""."""
    reason = DEFAULTS.get(code[2:], "")
    if code[:1] == "4" and reason and REASONS[reason].bad:
        return _TEMPORARY.get(code[2:], "onhold")
    return reason


def is_specific(code: str) -> bool:
    """Whether the enhanced code says more than its class and subject (5.1.0 does not)."""
    return bool(code) and not code.endswith(".0")
