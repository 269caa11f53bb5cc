"""What is put into the gaps: URLs escaped for their place, the open pixel, the honeypot link."""

import re
from typing import Final

#: Slots that hold no link.
AT_END: Final = -1  # pixel and honeypot link where the body ends
OPENTAG: Final = -2  # pixel in place of <opentag>

_ATTRIBUTE_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", '"': "&quot;", "'": "&#39;", "<": "&lt;", ">": "&gt;", "`": "&#96;", " ": "%20",
     "=": "&#61;"}
)  # fmt: skip
_TEXT_ESCAPES: Final = str.maketrans({"<": "%3C", ">": "%3E", '"': "%22", " ": "%20"})


def url(address: str, kind: str) -> bytes:
    """A tracked URL as it stands in an attribute, or with kind `t` in text."""
    escapes = _TEXT_ESCAPES if kind == "t" else _ATTRIBUTE_ESCAPES
    return _as_ascii(address).translate(escapes).encode("ascii")


def special(slot: int, kind: str, pixel_url: str | None, honeypot_url: str | None) -> bytes | None:
    """Pixel and honeypot link for their slot; None leaves an <opentag> as it is."""
    if slot == OPENTAG:
        return _pixel(pixel_url, "border:0").encode("ascii") if pixel_url else None
    put = _pixel(pixel_url, _AT_END_STYLE, amp=kind == "amp") if pixel_url else ""
    if honeypot_url and kind == "h":
        put += _honeypot(honeypot_url)
    return put.encode("ascii")


#: Takes no room and starts no line: out of the flow, or a block of one pixel where that is dropped.
_AT_END_STYLE: Final = "display:block;position:absolute;width:1px;height:1px;border:0;margin:0"


def _pixel(url: str, style: str, *, amp: bool = False) -> str:
    address = _as_ascii(url).translate(_ATTRIBUTE_ESCAPES)
    if amp:
        return f'<amp-pixel src="{address}" layout="nodisplay"></amp-pixel>'
    return f'<img src="{address}" width="1" height="1" alt="" style="{style}">'


_HIDDEN: Final = '" rel="nofollow" tabindex="-1" aria-hidden="true" style="display:none"></a>'
#: A honeypot link that was put in before; its URL in 1.
HONEYPOT: Final = re.compile(rb'<a href="([^"]*+)' + re.escape(_HIDDEN.encode()))


def _honeypot(url: str) -> str:
    return f'<a href="{_as_ascii(url).translate(_ATTRIBUTE_ESCAPES)}{_HIDDEN}'


def _as_ascii(url: str) -> str:
    if url.isascii() and url.isprintable():
        return url
    return "".join(
        char if char.isascii() and char.isprintable()
        else "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "replace"))
        for char in url
    )  # fmt: skip
