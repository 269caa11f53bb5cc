"""Decodes attribute values: character references in attribute mode, then what browsers do to URLs.

`html.unescape` decodes text, not attributes: it turns `?a=1&copy=2` into a copyright sign. Here the
rules of the HTML standard 13.2.5.72 to .80 hold, and of the URL standard (stripping) for `url_of`.
"""

import re
from html.entities import html5
from typing import Final

_REFERENCE: Final = re.compile(
    r"&(?:#(?:[xX]([0-9a-fA-F]++)|([0-9]++));?+|([A-Za-z][A-Za-z0-9]*+)(;?+)(=?+))"
)
_C0_AND_SPACE: Final = "".join(map(chr, range(0x21)))
_TAB_AND_NEWLINE: Final = {0x09: None, 0x0A: None, 0x0D: None}
_REPLACEMENT: Final = "\ufffd"
#: 13.2.5.80: numbers that people wrote as windows-1252.
_WINDOWS_1252: Final = {
    number: bytes([number]).decode("cp1252")
    for number in range(0x80, 0xA0)
    if number not in {0x81, 0x8D, 0x8F, 0x90, 0x9D}
}


def url_of(value: str) -> str:
    """The URL that a browser takes from a raw attribute value."""
    if "&" in value:
        value = decode(value)
    if value.isprintable() and value[:1] != " " and value[-1:] != " ":
        return value
    value = value.replace("\0", _REPLACEMENT).strip(_C0_AND_SPACE)
    return value.translate(_TAB_AND_NEWLINE)


def text_of(value: str) -> str:
    """The value of an attribute that is no URL."""
    value = value.replace("\0", _REPLACEMENT).replace("\r\n", "\n").replace("\r", "\n")
    return decode(value)


def decode(value: str) -> str:
    """`value` with its character references decoded as in an attribute."""
    return _REFERENCE.sub(_character, value)


def _character(match: "re.Match[str]") -> str:
    hexadecimal, decimal, name, semicolon, equals = match.groups()
    if name is None:
        return _numbered(hexadecimal, 16) if hexadecimal else _numbered(decimal, 10)
    if semicolon:
        return html5.get(name + ";", match[0][: -len(equals) or None]) + equals
    # A name that `=` or a letter or digit follows stays as written; a shorter name inside this
    # run of letters is followed by one of them.
    return match[0] if equals else html5.get(name, match[0])


def _numbered(digits: str, base: int) -> str:
    digits = digits.lstrip("0")
    if not digits or len(digits) > 7:
        return _REPLACEMENT
    number = int(digits, base)
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        return _REPLACEMENT
    return _WINDOWS_1252.get(number) or chr(number)
