"""Command arguments of SMTP, strictly: paths and ESMTP parameters (RFC 5321 section 4.1.2).

Pure. What is wrong raises `BadArgument` with the reply that says so; nothing is guessed, because
a lenient reader and a strict one behind it are how commands and recipients get smuggled.
"""

import re

from sendback.smtp.replies import TOO_BIG

MAX_PATH = 254
MAX_LOCAL_PART = 64

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_UTF8 = r"\u00a1-\U0010ffff"
# Dots may stand anywhere in a local part: mailboxes like `a..b.@docomo.example` exist.
_LOCAL_PART = rf'[{_ATEXT}{_UTF8}.]+|"(?:[\x20\x21\x23-\x5b\x5d-\x7e{_UTF8}]|\\[\x20-\x7e])*"'
_LABEL = rf"[A-Za-z0-9_{_UTF8}](?:[A-Za-z0-9_\-{_UTF8}]{{0,61}}[A-Za-z0-9_{_UTF8}])?"
_DOMAIN = rf"(?:{_LABEL})(?:\.(?:{_LABEL}))*|\[[\x21-\x5a\x5e-\x7e]{{1,60}}\]"
_MAILBOX = re.compile(rf"({_LOCAL_PART})@({_DOMAIN})\Z")
_ARGUMENT = re.compile(r'<((?:"(?:\\.|[^"\\])*"|[^<>"])*)>(.*)\Z', re.DOTALL)
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([\x21-\x3c\x3e-\x7e]+))?\Z")
_NUMBER = re.compile(r"[0-9]{1,20}\Z")


class BadArgument(Exception):
    """The argument can't be used; `reply` is the line to answer with."""

    def __init__(self, reply: bytes) -> None:
        super().__init__(reply)
        self.reply = reply


def path_and_parameters(
    argument: bytes, keyword: bytes, bad_address: bytes
) -> tuple[str, list[tuple[str, str | None]]]:
    """`FROM:<a@b> K=V` as (address, [(K, V)]); the null path is "".

    `bad_address` is the reply for a path that is none: 501 5.1.7 for senders, 501 5.1.3 for
    recipients (RFC 3463).
    """
    if argument[: len(keyword)].upper() != keyword:
        raise BadArgument(b"501 5.5.4 Syntax: " + keyword + b"<address>\r\n")
    try:
        text = argument[len(keyword) :].decode("utf-8").strip(" ")
    except UnicodeDecodeError:
        raise BadArgument(bad_address) from None
    match = _ARGUMENT.match(text)
    if match is None:
        raise BadArgument(bad_address)
    address, rest = match.groups()
    parameters = []
    if rest:
        if not rest.startswith(" "):
            raise BadArgument(bad_address)
        for word in rest.split():
            found = _PARAMETER.match(word)
            if found is None:
                raise BadArgument(b"501 5.5.4 Malformed parameter\r\n")
            parameters.append((found[1].upper(), found[2]))
    return address, parameters


def is_mailbox(address: str, *, max_local_part: int = MAX_LOCAL_PART) -> bool:
    """True for `local@domain` within the limits; source routes and control characters are not."""
    match = _MAILBOX.match(address)
    if match is None:
        return False
    octets = len(address.encode())
    return octets <= MAX_PATH and len(match[1].encode()) <= max_local_part


def check_mail_parameters(
    parameters: list[tuple[str, str | None]], size_limit: int, *, auth: bool
) -> tuple[bool, bool]:
    """(body is 8 bit, SMTPUTF8) of MAIL's parameters; `BadArgument` for what must be refused.

    RET and ENVID (RFC 3461) are accepted and ignored: refusing them would refuse the mail.
    """
    is_8bit = utf8 = False
    for key, value in parameters:
        if key == "SIZE":
            if value is None or not _NUMBER.match(value):
                raise BadArgument(b"501 5.5.4 SIZE is a number of octets\r\n")
            if int(value) > size_limit:
                raise BadArgument(TOO_BIG)
        elif key == "BODY":
            if value is None or value.upper() not in ("7BIT", "8BITMIME"):
                raise BadArgument(b"501 5.5.4 BODY is 7BIT or 8BITMIME\r\n")
            is_8bit = value.upper() == "8BITMIME"
        elif key == "SMTPUTF8" and value is None:
            utf8 = True
        elif not (
            (key == "RET" and value is not None and value.upper() in ("FULL", "HDRS"))
            or (key == "ENVID" and value)
            or (key == "AUTH" and value and auth)
        ):
            raise BadArgument(b"555 5.5.4 Unsupported MAIL parameter\r\n")
    return is_8bit, utf8


def check_rcpt_parameters(parameters: list[tuple[str, str | None]]) -> None:
    """NOTIFY and ORCPT (RFC 3461) pass, accepted and ignored; all else raises `BadArgument`."""
    for key, value in parameters:
        if key not in ("NOTIFY", "ORCPT") or not value:
            raise BadArgument(b"555 5.5.4 Unsupported RCPT parameter\r\n")
