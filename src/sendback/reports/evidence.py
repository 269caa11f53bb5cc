"""Identity evidence anywhere in a returned message: raw values, nothing verified.

Our headers may come back folded, quoted with `>`, as quoted-printable, in HTML or inside a base64
part, whole or cut; facts/bounces.md section 5. Who calls this checks the MACs.
"""

import re
from typing import NamedTuple

from sendback.reports.addresses import unwrap_srs_batv
from sendback.reports.envelope import Mail, strip_html

#: Values kept of one kind, and characters read of one value.
MAX_VALUES = 16
MAX_VALUE = 8192

_NAMES = re.compile(
    rb"(x-mailer-info-extra|x-mailer-info|cfbl-feedback-id)[ \t]*:", re.IGNORECASE
)
_TOKEN = re.compile(rb"[A-Za-z0-9_.:=+/~-]+")
_QUOTE = re.compile(rb"[>| \t]*")
_ESCAPED = re.compile(rb"=([0-9A-F]{2})")
_PATHS = re.compile(
    r"(?:^[>| \t]*(?:return-path|delivered-to|x-original-to|x-envelope-from|envelope-to|x-failed-recipients"
    r"|original-mail-from)[ \t]*:|envelope[- ](?:from|sender)[=: \t])[ \t]*[<(]?([^\s<>()\"';,]{1,320}@[^\s<>()\"';,]{1,255})",
    re.IGNORECASE | re.MULTILINE,
)


class Evidence(NamedTuple):
    """What may tell whose message it was."""

    mailer_info: tuple[str, ...]
    mailer_info_extra: tuple[str, ...]
    feedback_ids: tuple[str, ...]
    return_paths: tuple[str, ...]


def find_evidence(mail: Mail) -> Evidence:
    """All evidence of the message, each value once, in order of appearance."""
    found: dict[str, dict[str, None]] = {"info": {}, "extra": {}, "feedback": {}}
    paths: dict[str, None] = {}
    for text in _texts(mail):
        for match in _NAMES.finditer(text):
            name = match[1].lower()
            kind = "extra" if name.endswith(b"extra") else "info" if name[:1] == b"x" else "feedback"
            value = _value(text, match.start(), match.end())
            if value and len(found[kind]) < MAX_VALUES:
                found[kind][value] = None
        for address in _PATHS.findall(text.decode("utf-8", "replace")):
            if len(paths) < MAX_VALUES:
                paths[unwrap_srs_batv(address)] = None
    return Evidence(tuple(found["info"]), tuple(found["extra"]), tuple(found["feedback"]), tuple(paths))


def _texts(mail: Mail) -> list[bytes]:
    """The decoded forms first, as they are whole; then the message as it stood."""
    texts = []
    for part in mail.parts:
        encoding = part.headers.get("content-transfer-encoding", "")
        html = part.kind == "text/html"
        if not (encoding or html) or part.kind.startswith(("image/", "audio/", "video/")):
            continue
        if encoding.strip().lower()[:6] in ("quoted", "base64") or html:
            decoded = part.decoded()
            if html:
                decoded = strip_html(decoded.decode("utf-8", "replace")).encode()
            texts.append(decoded)
    texts.append(mail.head)
    texts.append(mail.body)
    return texts


def _value(text: bytes, start: int, end: int) -> str:
    """The header's value from `end` on: continuation lines, quoting and soft breaks undone."""
    line_start = text.rfind(b"\n", 0, start) + 1
    quote = text[line_start:start]
    if _QUOTE.fullmatch(quote) is None:
        quote = b""
    lines = text[end : end + MAX_VALUE].split(b"\n")
    pieces = [lines[0].strip()]
    for line in lines[1:]:
        soft = pieces[-1].endswith(b"=") and len(pieces[-1]) > 1
        if quote and line.startswith(quote.rstrip()):
            line = line[len(quote) :] if line.startswith(quote) else line[len(quote.rstrip()) :]
        token = line.strip()
        if not _TOKEN.fullmatch(token) or not (soft or line[:1] in (b" ", b"\t")):
            break
        if soft:
            pieces[-1] = pieces[-1][:-1]
        pieces.append(token)
    value = _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), b"".join(b"".join(pieces).split()))
    return value.decode("ascii", "replace")
