"""Reads the parts of a message that hold something for us, and says where the gaps are.

Each leaf is decoded, its charset told, its links judged; then gaps are placed for links, pixel and
honeypot. What the message as a whole may and may not, `plan` decides.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Final

from sendback.errors import Malformed
from sendback.rewriting import charsets, encodings, html, inserted, links, markup, message, text
from sendback.rewriting.bodies import Body
from sendback.rewriting.model import Link, Options, Skipped

_PGP: Final = re.compile(rb"(?:^|\n)-----BEGIN PGP (SIGNED )?MESSAGE")
_new = tuple.__new__  # a third of the time of calling the class


@dataclass(slots=True)
class Part:
    """A leaf with places in it: gaps as (start, end, blank, slot), in bytes of its text."""

    leaf: message.Leaf
    number: int
    body: Body
    charset: charsets.Charset
    kind: str  # "h", "t" or "amp"
    candidates: list[links.Candidate] = field(default_factory=list)
    found: markup.Found | None = None
    gaps: list[tuple[int, int, int, int]] = field(default_factory=list)


def kind_of(leaf: message.Leaf, options: Options, *, pages: bool) -> str:
    """How to read the leaf, or nothing when it is none of ours."""
    if leaf.attached:
        return ""
    kind = leaf.content.type
    if kind == "text/html":
        return "h" if pages or options.honeypot else ""
    if kind == "text/plain":
        return "t" if options.track_text_links or options.unsubscribe_links else ""
    return "amp" if kind == "text/x-amp-html" and options.amp else ""


def open_part(
    raw: bytes, leaf: message.Leaf, number: int, kind: str, eol: bytes
) -> "Part | Skipped":
    """The leaf decoded, or why it is left."""
    try:
        body = encodings.decode(raw[leaf.start : leaf.end], leaf.encoding, eol)
    except Malformed:
        return "broken-mime"
    charset = charsets.charset(leaf.content.parameters.get("charset"), body.text)
    if charset is None:
        return "charset"
    if body.text.rfind(b"-----BEGIN PGP ") >= 0 and (pgp := _PGP.search(body.text)):
        return "signed" if pgp[1] else "encrypted"
    return Part(leaf, number, body, charset, kind)


def read_html(part: Part, options: Options, untracked: set[str]) -> None:
    """Finds and judges the links of an HTML part; URLs marked as not to be tracked are added.

    Raises TooMany and Malformed as `html.scan`.
    """
    view = part.charset.view(part.body.text)
    part.found = html.scan(view, outlook=options.outlook, limit=options.max_links)
    if options.track_clicks or options.unsubscribe_links:
        part.candidates = links.in_html(
            view, part.body.text, part.found.anchors, part.charset, options
        )
        untracked.update(one.url for one in part.candidates if one.reason == "notrack")


def read_text(part: Part, options: Options, untracked: set[str]) -> None:
    """Finds and judges the URLs of a text part."""
    view = part.charset.view(part.body.text)
    if not options.track_text_links and text.UNSUBSCRIBE_TAG not in view:
        return
    width = part.charset.width
    delsp = part.leaf.content.parameters.get("delsp", "").lower() == "yes"

    def stop(start: int, end: int) -> int:
        try:
            seen = part.charset.decode(part.body.text[start * width : end * width])
        except UnicodeDecodeError:
            return end
        blank = text.BLANK.search(seen)
        if blank is None:
            return end
        if part.charset.kind == "plain":
            return start + len(seen[: blank.start()].encode(part.charset.codec))
        return view.find(0x80, start, end)  # never inside a shifted stretch

    for found in text.scan(view, quoted=options.track_quoted_text, delsp=delsp, stop=stop):
        if not found.unsubscribe and not options.track_text_links:
            continue
        slices = part.body.text[found.start * width : found.end * width]
        try:
            url = part.charset.decode(slices if width > 1 else found.url)
        except UnicodeDecodeError:
            part.candidates.append(
                links.Candidate(found.start, found.end, "", "charset", "click", None, False, -1)
            )
            continue
        if width > 1 and found.unsubscribe:
            url = url[len(text.UNSUBSCRIBE_TAG) :]
        one = links.in_text(
            url, found.start, found.end, unsubscribe=found.unsubscribe, options=options
        )
        if one.kind == "click" and one.url in untracked and not one.reason:
            one = one._replace(reason="notrack")
        part.candidates.append(one)


def has_pixel(part: Part, options: Options) -> bool:
    """Whether the part was rewritten before: then it gets no second pixel."""
    view = part.charset.view(part.body.text) if options.own_hosts else b""
    return view.rfind(b"/open?") >= 0 and any(
        b'src="%s://%s/open?' % (scheme, host.encode()) in view
        for host in options.own_hosts
        for scheme in (b"https", b"http")
    )


def has_honeypot(part: Part, options: Options) -> bool:
    """Whether the part has a honeypot link of ours from before."""
    if not (options.honeypot and options.own_hosts):
        return False
    view = part.charset.view(part.body.text)
    return any(
        links.is_ours(found[1].decode("latin-1"), options.own_hosts)
        for found in inserted.HONEYPOT.finditer(view)
    )


def place_specials(
    parts: list[Part], options: Options, remarks: list[tuple[int, str]]
) -> tuple[bool, bool]:
    """Puts gaps for pixel and honeypot into the first HTML part that takes them (seed 004).

    The answer is whether pixel and honeypot are wanted. A message that has them from before gets
    no others.
    """
    if any(has_pixel(part, options) for part in parts):
        remarks.append((0, "pixel: there is one of ours already"))
        return False, False
    if any(has_honeypot(part, options) for part in parts):
        options = replace(options, honeypot=False)
    wants_pixel = wants_honeypot = False
    pages = [part for part in parts if part.kind == "h"]
    if options.track_opens:
        tagged = next((part for part in pages if part.found and part.found.opentag), None)
        if tagged is not None and tagged.found is not None and tagged.found.opentag is not None:
            tagged.gaps.append((*tagged.found.opentag, -1, inserted.OPENTAG))
            wants_pixel = True
    for part in [*pages, *(part for part in parts if part.kind == "amp")]:
        found = part.found
        if found is None or (part.kind == "h" and (not options.honeypot or wants_honeypot) and (
            not options.track_opens or wants_pixel
        )):  # fmt: skip
            continue
        at = found.body_end
        if at < 0:
            if not found.closed:
                remarks.append((part.number, "unclosed"))
                continue
            at = len(part.body.text) // part.charset.width
        part.gaps.append((at, at, -1, inserted.AT_END))
        if part.kind == "h":
            wants_pixel = wants_pixel or options.track_opens
            wants_honeypot = options.honeypot
    return wants_pixel, wants_honeypot


def link_gaps(part: Part, made: list[Link]) -> None:
    """Gives each tracked link of the part its gap, and adds it to those of the message."""
    html_or_text = "t" if part.kind == "t" else "h"
    gaps = part.gaps
    pos = len(made)
    for start, end, url, reason, kind, link_id, universal, blank in part.candidates:
        if not reason:
            gaps.append((start, end, blank, pos))
            pos += 1
            made.append(_new(Link, (kind, url, link_id, pos, universal, html_or_text)))
