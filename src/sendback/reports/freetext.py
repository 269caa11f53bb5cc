"""Bounces in prose: where the report ends, which addresses it names, what it says of each.

For everything that is not RFC 3464: qmail's format and its many variants, Exim, Sendmail's
transcripts, Exchange's notes, gateways and phone carriers, in the main languages.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from sendback.reports.addresses import ADDRESS, find_address, has_domain, is_system
from sendback.reports.signals import alternatives

#: Lines of prose that are looked at.
MAX_LINES = 400
#: Recipients of one report at most.
MAX_RECIPIENTS = 100

_ADDRESS = ADDRESS.pattern
_MARK = re.compile(
    rf"^[ \t|>*=#_-]{{0,60}}(?:{alternatives('original_follows')})"
    r"|^[ \t>]{0,4}(?:received|return-path|dkim-signature|x-received|domainkey-signature|arc-seal)"
    r":[ \t]*\S",
    re.MULTILINE,
)
_QUOTED_LINE = re.compile(r"^[ \t]*[>|].*\n?", re.MULTILINE)
#: `<addr>:`, `addr: 550 ...`, `"addr":`; the form of qmail, Postfix, OpenSMTPD, GMX, Yahoo.
_COLON = re.compile(
    rf"^[ \t]*(?:[*•·-] |\d+[.)] )?[<\"'\[]?({_ADDRESS})[>\"'\]]?[ \t]*(?:\([^()\n]{{1,200}}\))?"
    r":(?!//)[ \t]*(.*)$"
)
_LED = re.compile(
    rf"^[ \t]*(?:[>*•·-]+[ \t]+|\d+[.)][ \t]+)?[<\"'\[(]*({_ADDRESS})[>\"'\])]*"
    rf"(?=[\s,;.(<\uff08\uff1a\uff0c\u3001\u3002]|$)(.*)$"
)
#: `Anna Example <addr>: text` and what Outlook makes of it, `Anna (addr)<mailto:addr>`.
_DISPLAYED = re.compile(rf"^[ \t]*[\w.,'\" -]{{1,60}}[<(]({_ADDRESS})[>)](?=[ \t]*:|<mailto:)(.*)$")
#: A line after which an address is the sender's.
_SENT_BY = re.compile(r"(?:sent by|from|sender)[ \t]*:?[ \t]*$", re.IGNORECASE)
_CODED = re.compile(
    rf"^[ \t]*(?:[45]\d\d[ -](?:[45]\.\d\.\d+ )?)<?({_ADDRESS})>?[.,:]+(?=\s|$)(.*)$"
)
_ACCUSED = re.compile(
    r"(?:rcpt to|recipients?|addressed to|address(?:ed)?(?: \w+)?|deliver(?:ed|y) to"
    r"|undeliverable(?: to)?|deliver (?:your )?(?:message|mail|e-?mail)? ?to"
    r"|(?:message|mail|e-?mail|sent?) to|mailbox|attempts|user|for|to)[ \t]*:?[ \t\n]*"
    rf"[<\"'(\[]*({_ADDRESS})",
    re.IGNORECASE,
)
_INNOCENT = re.compile(
    r"(?:mail from|from|sender|contact|write to|assistance|questions|support|help|reply|postmaster"
    r"|return-path|envelope-from|e-?mail us|administrator|send (?:a )?mail(?: to)?|forward|by"
    r"|cc|bcc)[ \t]*:?[^@\n]{0,40}$",
    re.IGNORECASE,
)
_BARE_NAME = re.compile(
    r"(?:recipient|delivered to|undeliverable to|address)[^\n]{0,120}\n"
    r"(?:[^\n]{0,120}:[ \t]*\n)?\s{0,40}([A-Za-z0-9._-]{2,40})[ \t]*(?:\n|$|\(|[ \t]{3})"
)
_RETURNED_TO = re.compile(
    r"^[> \t]{0,6}(?:to|apparently-to|宛先)[ \t]*:[ \t]*([^\n]*(?:\n[ \t]+[^\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
_RETURNED_ELSE = re.compile(
    r"^[> \t]{0,6}(?:x-original-to|original-rcpt-to|envelope-to|x-rcpt-to|delivered-to|rcpt to)"
    r"[ \t]*:[ \t]*([^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_RECEIVED_FOR = re.compile(r"\bfor[ \t]+<([^<>\s]{1,255}@[^<>\s]{1,255})>", re.IGNORECASE)


#: What joins one address to the next in a list of them.
_AND = re.compile(
    r"[>\"'\])]*(?:\s*[,;]\s*|\s+(?:and|und|et|y|e)\s+|[ \t]+)[<\"'(\[]*"
    rf"({_ADDRESS})",
    re.IGNORECASE,
)
#: Lines of a transcript that come before what the system concludes from them.
_TRANSCRIPT = (">>>", "<<<", "...")

#: Spares nobody but the daemons themselves.
_ANYBODY: frozenset[str] = frozenset(("",))


class Failure(NamedTuple):
    """One accused address and the words about it."""

    address: str
    text: str


def split_original(text: str) -> tuple[str, str]:
    """The report's own words, and what is returned below them."""
    lower = text.lower()
    if len(lower) != len(text):  # a few letters grow when lowered; places must stay the same
        lower = text
    start = 0
    while found := _MARK.search(lower, start):
        if lower[: found.start()].strip():
            return text[: found.start()], text[found.start() :]
        start = lower.find("\n", found.end())
        if start < 0:
            break
    return text, ""


def unquoted(text: str) -> str:
    """The text without quoted lines."""
    return _QUOTED_LINE.sub("", text)


def find_failures(
    prose: str,
    named: tuple[str, ...],
    innocent: frozenset[str],
    *,
    plain_forms_only: bool = False,
) -> list[Failure]:
    """The accused addresses, best form first; `named` (X-Failed-Recipients) is authoritative.

    `innocent` addresses (whom the report was sent to, who sent the original) are accused only by
    the plainest form, `<addr>:`, as people do write to themselves; `accuse_anybody` goes further.
    `plain_forms_only` leaves out addresses in running text.
    """
    lines = prose.replace("\u3000", " ").split("\n")[:MAX_LINES]
    naming = [number for number, line in enumerate(lines) if "@" in line]
    found: list[Failure] = []
    for pattern, spared in (
        (_COLON, innocent),
        (_CODED, innocent),
        (_LED, innocent),
        (_DISPLAYED, innocent),
        (_COLON, _ANYBODY),
    ):
        if found := _by_lines(lines, naming, pattern, spared):
            break
    if named:
        texts = {failure.address.lower(): failure.text for failure in found}
        return [Failure(a, texts.get(a.lower(), prose)) for a in named[:MAX_RECIPIENTS]]
    address = found[0].address if found else ""
    if not address and not plain_forms_only:
        address = _inline(prose, innocent)
        found = _alike(lines, address, innocent) if address else []
    if len(found) > 1:
        return _sharing(found[:MAX_RECIPIENTS])
    return [Failure(one, prose) for one in _listed(prose, address, innocent)] if address else []


def accuse_anybody(prose: str) -> str:
    """The address that the report names, even a postmaster's or its own addressee's, or ""."""
    lines = prose.split("\n")[:MAX_LINES]
    found = _by_lines(lines, range(len(lines)), _LED, _ANYBODY)
    return found[0].address if found else _inline(prose, _ANYBODY)


def _by_lines(
    lines: list[str], naming: Iterable[int], pattern: re.Pattern[str], innocent: frozenset[str]
) -> list[Failure]:
    """Addresses at the head of the lines `naming`; the words are those up to the next one."""
    heads: list[tuple[str, int, str]] = []
    for number in naming:
        if found := pattern.match(lines[number]):
            address = found[1].strip(".-")
            if not _excused(address, innocent) and not _is_senders(lines, number):
                heads.append((address, number, found[2]))
    if any(has_domain(address) for address, _, _ in heads):
        heads = [head for head in heads if has_domain(head[0])]
    return _blocks(lines, heads, of_transcript=pattern is _CODED)


def _is_senders(lines: list[str], number: int) -> bool:
    """Whether the line above, blank ones aside, says that the sender follows."""
    above = next((line for line in lines[max(0, number - 3) : number][::-1] if line.strip()), "")
    return _SENT_BY.search(above[-40:]) is not None


def _alike(lines: list[str], address: str, innocent: frozenset[str]) -> list[Failure]:
    """The accused address and others in lines that begin as its line does (`Recipient: `)."""
    label = next((line.partition(address)[0] for line in lines if address in line), "")
    if not label.strip():
        return []
    heads = []
    for number, line in enumerate(lines):
        if line.startswith(label) and (found := ADDRESS.match(line, len(label))):
            name = found[0].strip(".-")
            if name == address or not _excused(name, innocent):
                heads.append((name, number, line[found.end() :]))
    failures = _sharing(_blocks(lines, heads))  # the label may be the reason: `Unknown user: `
    return [failure._replace(text=f"{label}{failure.text}") for failure in failures]


def _listed(prose: str, address: str, innocent: frozenset[str]) -> list[str]:
    """The accused address and those that follow it in one list: `to <a@b>, <c@d>`."""
    names = {address.lower(): address}
    place = prose.find(address) + len(address)
    while len(names) < MAX_RECIPIENTS and (found := _AND.match(prose, place)):
        name = found[1].strip(".-")
        if _excused(name, innocent):
            break
        names.setdefault(name.lower(), name)
        place = found.end()
    return list(names.values())


def _sharing(failures: list[Failure]) -> list[Failure]:
    """Addresses of a list that nothing is said about share the words below it."""
    shared: list[Failure] = []
    for failure in reversed(failures):
        silent = not any(map(str.isalnum, ADDRESS.sub("", failure.text)))
        text = shared[-1].text if silent and shared else failure.text
        shared.append(Failure(failure.address, text))
    return shared[::-1]


def _blocks(
    lines: list[str], heads: list[tuple[str, int, str]], *, of_transcript: bool = False
) -> list[Failure]:
    """The words about each address: from its line to the next one's."""
    texts: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for index, (address, number, rest) in enumerate(heads):
        start, end = number, heads[index + 1][1] if index + 1 < len(heads) else len(lines)
        block = [rest, *lines[number + 1 : end]]
        if of_transcript:  # what was said stands above what the system made of it
            while len(block) > 1 and block[-1].startswith(_TRANSCRIPT):
                block.pop()
            while start and lines[start - 1].startswith(_TRANSCRIPT):
                start -= 1
            block = [*lines[start:number], *block]
        key = address.lower()
        names.setdefault(key, address)
        texts.setdefault(key, []).extend(block)
    return [Failure(names[key], "\n".join(block).strip()) for key, block in texts.items()]


def _inline(prose: str, innocent: frozenset[str]) -> str:
    """The address that the running text accuses, else the first that nothing excuses."""
    if "@" not in prose:
        return ""
    for found in _ACCUSED.finditer(prose):
        address = found[1].strip(".-")
        if not _excused(address, innocent):
            return address
    for found in ADDRESS.finditer(prose):
        address = found[0].strip(".-=*")
        before = prose[max(0, found.start() - 60) : found.start()]
        if _excused(address, innocent) or _INNOCENT.search(before):
            continue
        return address
    return ""


def _excused(address: str, innocent: frozenset[str]) -> bool:
    """Whether the address is a mail system's or innocent."""
    if innocent is _ANYBODY:
        return not address.lower().startswith("postmaster@") and is_system(address)
    return is_system(address) or address.lower() in innocent


def bare_name(prose: str) -> str:
    """A local part named without its domain below 'following recipients', or ""."""
    found = _BARE_NAME.search(prose)
    return found[1] if found else ""


def returned_recipient(returned: str, innocent: frozenset[str]) -> str:
    """Whom the returned copy was for: its To, Delivered-To or Received ... for."""
    for pattern in (_RETURNED_TO, _RETURNED_ELSE, _RECEIVED_FOR):
        for found in pattern.finditer(returned[:16384]):
            address = find_address(found[1])
            if address and not is_system(address) and address.lower() not in innocent:
                return address
    return ""
