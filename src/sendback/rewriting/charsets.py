"""Charsets as the scanners need them: a view of the text in which markup bytes are ASCII bytes.

For most charsets the text is its own view. ISO-2022 and HZ shift into seven-bit double bytes that
look like markup: the shifted stretches are blanked at equal length. UTF-16 is viewed one byte a
unit. Others (utf-7, johab, EBCDIC, unknown ones) have no view, and the part is left alone.
"""

import codecs
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

#: Python codecs in which every byte below 0x40 means itself wherever it stands: in the multibyte
#: ones trail bytes are 0x40 and above, or digits (gb18030).
_SAFE: Final = re.compile(
    r"ascii|utf-8|utf_8_sig|iso8859-\d+|latin_1|cp(?:125\d|437|720|737|775|85\d|86[0-6]|869|874"
    r"|932|949|950|1006)|koi8[-_][rtu]|kz1048|mac[-_].*|ptcp154|tis-620|hp-roman8"
    r"|shift_jis(?:_2004|x0213)?|euc_(?:jp|jis_2004|jisx0213|kr)|gb2312|gbk|gb18030"
    r"|big5(?:hkscs)?|viscii"
)
_ESCAPES: Final = re.compile(
    rb"\x1b\([BJ]|\x1b[\x20-\x2f]+[\x30-\x7e](?:[^\x1b]|\x1b(?!\([BJ]))*+(?:\x1b\([BJ])?"
)
_SHIFTS: Final = re.compile(
    rb"\x1b[\x20-\x2f]+[\x30-\x7e]|\x0e[^\x0f\r\n]*+\x0f?|\x1b[NO]..", re.DOTALL
)
_HZ: Final = re.compile(rb"~\{[^\r\n]*?(?:~\}|(?=[\r\n])|\Z)|~~|~\r?\n")


@dataclass(frozen=True, slots=True)
class Charset:
    """How to read one charset. `view` gives `width` text bytes for each byte of its result."""

    codec: str
    kind: str  # "plain", "escapes", "shifts", "hz", "utf-16"
    width: int = 1

    def view(self, text: bytes) -> bytes:
        """`text` with everything that is no ASCII markup blanked, one byte for `width`."""
        if self.kind == "plain":
            return text
        if self.kind == "utf-16":
            return _units(text, self.codec)
        pattern = {"escapes": _ESCAPES, "shifts": _SHIFTS, "hz": _HZ}[self.kind]
        return pattern.sub(lambda match: b"\x80" * len(match[0]), text)

    def decode(self, raw: bytes) -> str:
        """The characters of a slice. Raises UnicodeDecodeError when it isn't whole."""
        return raw.decode(self.codec)

    def encode(self, text: str) -> bytes:
        """ASCII text as bytes of this charset."""
        return text.encode(self.codec)


def _units(text: bytes, codec: str) -> bytes:
    """One byte for each UTF-16 unit: itself below 0x80, else 0x80."""
    high, low = (text[1::2], text[::2]) if codec == "utf-16-le" else (text[::2], text[1::2])
    count = len(text) // 2
    low, high = low[:count], high[:count]
    if not high.strip(b"\0") and low.isascii():
        return low
    return bytes(b if not a and b < 0x80 else 0x80 for a, b in zip(high, low, strict=True))


PLAIN: Final = Charset("utf-8", "plain")


def charset(label: str | None, text: bytes) -> Charset | None:
    """How to read `text` that says it is `label`; None when links in it can't be told.

    Without a label: UTF-8, of which ASCII is a part. An unknown label over pure ASCII that holds
    no shift is read as ASCII.
    """
    if label is None:
        return PLAIN
    found = _named(label.strip().strip("'\"").lower())
    if found == "utf-16":
        if text[:2] == b"\xff\xfe":
            return Charset("utf-16-le", "utf-16", 2)
        if text[:2] == b"\xfe\xff":
            return Charset("utf-16-be", "utf-16", 2)
        # No mark: RFC 2781 says big, the encoding standard little; markup tells.
        big = text[:400:2].count(0) > text[1:400:2].count(0)
        return Charset("utf-16-be" if big else "utf-16-le", "utf-16", 2)
    if found is None and text.isascii() and not re.search(rb"[\x00\x0e\x1b]", text):
        try:
            codecs.lookup(label)
        except (LookupError, ValueError):
            return PLAIN
    return found if isinstance(found, Charset) else None


@lru_cache(256)
def _named(label: str) -> "Charset | str | None":
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return None
    if name in {"utf-16", "utf-16-le", "utf-16-be"}:
        return "utf-16" if name == "utf-16" else Charset(name, "utf-16", 2)
    if name.startswith("iso2022_jp"):
        return Charset(name, "escapes")
    if name == "iso2022_kr":
        return Charset(name, "shifts")
    if name == "hz":
        return Charset(name, "hz")
    return Charset(name, "plain") if _SAFE.fullmatch(name) else None
