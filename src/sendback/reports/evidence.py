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

_NAMES = (b"x-mailer-info", b"x-mailer-info-extra", b"cfbl-feedback-id")
_COLON = re.compile(rb"[ \t]*:")
_TOKEN = re.compile(rb"[A-Za-z0-9_.:=+/~-]+")
_QUOTE = re.compile(rb"[>| \t]*")
_ESCAPED = re.compile(rb"=([0-9A-F]{2})")
#: Where a return path may stand; searched as plain words, which is many times faster.
_PATH_NAMES = (
    b"return-path",
    b"delivered-to",
    b"x-original-to",
    b"original-mail-from",
    b"envelope",
)
_PATH = re.compile(
    rb"(?:[- ](?:from|to|sender))?[ \t]*[=: \t][ \t]*[<(]?"
    rb"([^\s<>()\"';,]{1,320}@[^\s<>()\"';,]{1,255})",
    re.IGNORECASE,
)


class Evidence(NamedTuple):
    """What may tell whose message it was."""

    mailer_info: tuple[str, ...]
    mailer_info_extra: tuple[str, ...]
    feedback_ids: tuple[str, ...]
    return_paths: tuple[str, ...]


def find_evidence(mail: Mail) -> Evidence:
    """All evidence of the message, each value once, in order of appearance."""
    found: dict[bytes, dict[str, None]] = {name: {} for name in _NAMES}
    paths: dict[str, None] = {}
    for text, lower in _texts(mail):
        if b"x-mailer-info" in lower or b"cfbl-feedback-id" in lower:
            for name in _NAMES:
                for start in _places(lower, name):
                    end = _COLON.match(text, start + len(name))
                    value = _value(text, start, end.end()) if end else ""
                    if value and len(found[name]) < MAX_VALUES:
                        found[name][value] = None
        for name in _PATH_NAMES:
            for start in _places(lower, name):
                match = _PATH.match(text, start + len(name))
                if match and len(paths) < MAX_VALUES:
                    paths[unwrap_srs_batv(match[1].decode("utf-8", "replace"))] = None
    info, extra, feedback = (tuple(found[name]) for name in _NAMES)
    return Evidence(info, extra, feedback, tuple(paths))


def _places(text: bytes, word: bytes) -> list[int]:
    """Where the word stands; a hundred places are enough."""
    places: list[int] = []
    start = text.find(word)
    while start >= 0 and len(places) < 100:
        places.append(start)
        start = text.find(word, start + len(word))
    return places


def _texts(mail: Mail) -> list[tuple[bytes, bytes]]:
    """The decoded forms first, as they are whole; then the message as it stood. With lower case."""
    texts = []
    for part in mail.parts:
        html = part.kind == "text/html"
        if part.is_encoded or html:
            if part.kind.startswith(("image/", "audio/", "video/")):
                continue
            decoded = part.decoded()
            if html:
                decoded = strip_html(decoded.decode("utf-8", "replace")).encode()
            texts.append((decoded, decoded.lower()))
    texts.append((mail.raw, mail.lower))
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
        inner = line.removeprefix(quote if line.startswith(quote) else quote.rstrip())
        token = inner.strip()
        if not _TOKEN.fullmatch(token) or not (soft or inner[:1] in (b" ", b"\t")):
            break
        if soft:
            pieces[-1] = pieces[-1][:-1]
        pieces.append(token)
    value = _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]), b"".join(b"".join(pieces).split()))
    return value.decode("ascii", "replace")
