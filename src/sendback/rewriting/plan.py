"""Plans the rewriting of one message, once, and renders it for any number of recipients.

`plan` finds every place and promises never to raise: whatever is in doubt leaves the message as it
came, with the reason (fail open). `Plan.render` copies the message with the places filled in one
join. Pure: no I/O, no clock, no randomness.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from sendback.errors import Malformed
from sendback.rewriting import charsets, encodings, headers, html, inserted, links, message, text
from sendback.rewriting.links import Candidate
from sendback.rewriting.model import Link, Note, Options, Outcome, Skipped

_SIGNATURES: Final = frozenset(
    (b"dkim-signature", b"arc-seal", b"arc-message-signature", b"domainkey-signature")
)
_SIGNED_FIELDS: Final = re.compile(r"(?:^|;)\s*h\s*=([^;]*)")
_PGP: Final = re.compile(rb"(?:^|\n)-----BEGIN PGP (SIGNED )?MESSAGE")
#: Which reason the message is given when several parts were left.
_GRAVEST: Final[tuple[Skipped, ...]] = (
    "encrypted",
    "signed",
    "broken-mime",
    "charset",
    "too-big",
    "report",
)
_new = tuple.__new__  # a third of the time of calling the class


@dataclass(slots=True)
class _Part:
    """A leaf with places in it: gaps as (start, end, blank, slot), in bytes of its text."""

    leaf: message.Leaf
    number: int
    body: encodings.Body
    charset: charsets.Charset
    kind: str  # "h", "t" or "amp"
    candidates: list[links.Candidate] = field(default_factory=list)
    found: html.Found | None = None
    gaps: list[tuple[int, int, int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Edit:
    """One part ready to be joined."""

    start: int
    end: int
    splice: encodings.Splice
    slots: tuple[int, ...]
    encode: Callable[[str], bytes] | None  # None: ASCII goes in as it is
    kind: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What can be done to one message; apply it with `render`."""

    links: tuple[Link, ...] = ()
    wants_pixel: bool = False
    wants_honeypot: bool = False
    skipped: Skipped | None = None
    #: X-GreenArrow-* and X-Sendback-* by lower-case name, unfolded; of duplicates the first.
    control: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    has_list_unsubscribe: bool = False
    #: Lower-case names in any h= of DKIM signatures; empty with on_dkim = "rewrite".
    signed_headers: frozenset[str] = frozenset()
    #: False: nothing at all can be written, render() gives the message as it came.
    header_end_found: bool = True
    #: Auto-Submitted says anything but "no".
    is_auto: bool = False
    #: The message's own line end, for the top block.
    eol: bytes = b"\r\n"
    _remarks: tuple[tuple[int, str], ...] = ()
    _judged: tuple[tuple[int, Sequence[Candidate]], ...] = ()
    _message: bytes = b""
    _removals: tuple[tuple[int, int], ...] = ()
    _edits: tuple[_Edit, ...] = ()

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was tracked and what was left and why, counted by part and reason."""
        counts: dict[tuple[int, Outcome, str], tuple[int, str]] = {}
        for part, outcome, reason, url in self.explain():
            count, first = counts.get((part, outcome, reason), (0, url))
            counts[part, outcome, reason] = (count + 1, first)
        return tuple(Note(*key, count, url) for key, (count, url) in counts.items())

    def explain(self) -> Iterator[tuple[int, Outcome, str, str]]:
        """(part, tracked or left, reason or kind, URL) for each link and each part left whole.

        Parts are counted from 1 over the leaves of the message; 0 is the message.
        """
        for part, reason in self._remarks:
            yield part, "left", reason, ""
        for part, candidates in self._judged:
            for one in candidates:
                if one.reason:
                    yield part, "left", one.reason, one.url
                else:
                    yield part, "tracked", one.kind, one.url

    def render(
        self,
        urls: Sequence[str | None],
        *,
        pixel_url: str | None = None,
        honeypot_url: str | None = None,
        top_block: bytes = b"",
    ) -> bytes:
        """The message for one recipient: `urls[i]` in place of `links[i]`; None leaves it as it is.

        Control headers go, `top_block` (see `headers.block`) comes on top. Bytes outside the
        places are those of the message. When a DKIM signature names a field that would be added
        or removed, or the header block's end can't be found, the message comes back unchanged.
        Raises ValueError when there is not one URL for each link.
        """
        if len(urls) != len(self.links):
            raise ValueError(f"{len(self.links)} links need as many URLs, not {len(urls)}")
        original = self._message
        if not self.header_end_found or self._would_break_signature(top_block):
            return original
        given = [url for url in urls if url is not None]
        joined = "\n".join(given)
        packed = joined.encode("ascii", "replace")  # "?" for what is not: then not plain
        plain = (
            len(given) == len(urls)
            and joined.isascii()
            and not packed.translate(None, _PLAIN_OR_NEWLINE)
        )
        plain_urls = packed.split(b"\n")
        out = [top_block]
        at = 0
        for start, end in self._removals:
            out.append(original[at:start])
            at = end
        for edit in self._edits:
            out.append(original[at : edit.start])
            at = edit.end
            if edit.kind == "amp" and not joined.startswith("https://"):
                out.append(original[edit.start : edit.end])
            elif plain and edit.encode is None:
                values = [
                    plain_urls[slot]
                    if slot >= 0
                    else inserted.special(slot, edit.kind, pixel_url, honeypot_url)
                    for slot in edit.slots
                ]
                out.append(edit.splice.join(values, plain=True))
            else:
                out.append(_join(edit, urls, pixel_url, honeypot_url))
        out.append(original[at:])
        return b"".join(out)

    def _would_break_signature(self, top_block: bytes) -> bool:
        if not self.signed_headers:
            return False
        touched = headers.names(top_block) | self.control.keys()
        return not self.signed_headers.isdisjoint(touched)


_PLAIN_OR_NEWLINE: Final = encodings.PLAIN + b"\n"


def _join(
    edit: _Edit, urls: Sequence[str | None], pixel_url: str | None, honeypot_url: str | None
) -> bytes:
    """The part when some URL needs escapes, or the part's charset has wider units."""
    values: list[bytes | None] = []
    for slot in edit.slots:
        if slot >= 0:
            url = urls[slot]
            put = None if url is None else inserted.url(url, edit.kind)
        else:
            put = inserted.special(slot, edit.kind, pixel_url, honeypot_url)
        values.append(edit.encode(put.decode("ascii")) if put is not None and edit.encode else put)
    return edit.splice.join(values)


def plan(raw: bytes, options: Options = Options()) -> Plan:  # noqa: B008  # a frozen value
    """The plan for one message. Never raises; a doubt is a reason in `skipped`."""
    raw = bytes(raw)
    try:
        return _planned(raw, options)
    except Exception:  # noqa: BLE001  # fail open: a fault of ours must not stop or change mail
        return Plan(skipped="fault", header_end_found=False, _message=raw)


def _planned(raw: bytes, options: Options) -> Plan:
    block = headers.block_end(raw, 0, len(raw))
    if block is None:
        return Plan(skipped="broken-mime", header_end_found=False, _message=raw)
    stop, body = block
    top, well_formed = headers.fields(raw, 0, stop)
    if well_formed == 0 < stop:
        return Plan(skipped="broken-mime", header_end_found=False, _message=raw)
    facts = _head(raw, top, options)
    skipped: Skipped | None = None
    if len(raw) > options.max_bytes:
        skipped = "too-big"
    elif well_formed != stop:
        skipped = "broken-mime"
    elif options.on_dkim == "skip" and any(found.name in _SIGNATURES for found in top):
        skipped = "signed"
    elif facts["is_auto"]:
        skipped = "report"
    remarks: list[tuple[int, str]] = []
    if skipped is None:
        try:
            tree = message.walk(raw, top, body)
            return _body(raw, tree, options, remarks, facts)
        except Malformed as error:
            skipped = "broken-mime"
            remarks.append((0, str(error)))
        except Exception:  # noqa: BLE001  # fail open, as above; the head is known by now
            skipped = "fault"
    remarks.append((0, skipped))
    return Plan(skipped=skipped, _remarks=tuple(remarks), **facts)  # type: ignore[arg-type]


def _head(raw: bytes, top: list[headers.Field], options: Options) -> dict[str, object]:
    """What the header fields say, as arguments of Plan."""
    control: dict[str, str] = {}
    removals = []
    signed: set[str] = set()
    has_list_unsubscribe = is_auto = False
    for found in top:
        name = found.name
        if name.startswith(headers.CONTROL):
            control.setdefault(name.decode("ascii"), headers.unfold(found.value))
            removals.append((found.start, found.end))
        elif name == b"list-unsubscribe":
            has_list_unsubscribe = True
        elif name == b"auto-submitted":
            said = re.split(r"[\s;(]", headers.unfold(found.value).lower(), maxsplit=1)[0]
            is_auto = is_auto or said not in {"no", ""}
        elif name in _SIGNATURES and options.on_dkim == "skip":
            for names in _SIGNED_FIELDS.findall(headers.unfold(found.value)):
                signed.update(part.strip().lower() for part in names.split(":"))
    first = raw.find(b"\n")
    return {
        "control": MappingProxyType(control),
        "has_list_unsubscribe": has_list_unsubscribe,
        "signed_headers": frozenset(signed),
        "is_auto": is_auto,
        "eol": b"\r\n" if raw[first - 1 : first] == b"\r" else b"\n",
        "_message": raw,
        "_removals": tuple(removals),
    }


def _body(
    raw: bytes,
    tree: message.Tree,
    options: Options,
    remarks: list[tuple[int, str]],
    facts: dict[str, object],
) -> Plan:
    eol = facts["eol"]
    assert isinstance(eol, bytes)
    reasons = {reason for reason, _ in tree.closed}
    for reason, detail in tree.closed:
        remarks.append((0, f"{reason}: {detail}" if detail else reason))
    parts: list[_Part] = []
    pages = options.track_clicks or options.track_opens or options.unsubscribe_links
    for number, leaf in enumerate(tree.leaves, 1):
        kind = _kind(leaf, options, pages=pages)
        if not kind:
            continue
        part = _open_part(raw, leaf, number, kind, eol)
        if isinstance(part, str):
            reasons.add(part)
            remarks.append((number, part))
        else:
            parts.append(part)
    # HTML first: what is marked there as not to be tracked is not tracked in the text either.
    untracked: set[str] = set()
    wants_pixel = wants_honeypot = False
    for part in parts:
        if part.kind != "t":
            try:
                _read_html(part, options, untracked)
            except html.TooMany as error:
                reasons.add("too-big")
                remarks.append((part.number, str(error)))
            except Malformed:
                reasons.add("broken-mime")
                remarks.append((part.number, "steered"))
    for part in parts:
        if part.kind == "t":
            _read_text(part, options, untracked)
    if any(_has_pixel(part, options) for part in parts):
        remarks.append((0, "pixel: there is one of ours already"))
    else:
        wants_pixel, wants_honeypot = _place_pixel(parts, options, remarks)
    made: list[Link] = []
    edits: list[_Edit] = []
    for part in parts:
        _link_gaps(part, made)
        if part.gaps:
            edits.append(_edit(part))
    skipped = next((reason for reason in _GRAVEST if reason in reasons), None)
    return Plan(
        links=tuple(made),
        wants_pixel=wants_pixel,
        wants_honeypot=wants_honeypot,
        skipped=None if edits else skipped,
        _remarks=tuple(remarks),
        _judged=tuple((part.number, part.candidates) for part in parts if part.candidates),
        _edits=tuple(edits),
        **facts,  # type: ignore[arg-type]
    )


def _kind(leaf: message.Leaf, options: Options, *, pages: bool) -> str:
    """How to read the leaf, or nothing when it is none of ours."""
    if leaf.attached:
        return ""
    kind = leaf.content.type
    if kind == "text/html":
        return "h" if pages or options.honeypot else ""
    if kind == "text/plain":
        return "t" if options.track_text_links or options.unsubscribe_links else ""
    return "amp" if kind == "text/x-amp-html" and options.amp else ""


def _open_part(
    raw: bytes, leaf: message.Leaf, number: int, kind: str, eol: bytes
) -> "_Part | Skipped":
    try:
        body = encodings.decode(raw[leaf.start : leaf.end], leaf.encoding, eol)
    except Malformed:
        return "broken-mime"
    charset = charsets.charset(leaf.content.parameters.get("charset"), body.text)
    if charset is None:
        return "charset"
    if body.text.rfind(b"-----BEGIN PGP ") >= 0 and (pgp := _PGP.search(body.text)):
        return "signed" if pgp[1] else "encrypted"
    return _Part(leaf, number, body, charset, kind)


def _read_html(part: _Part, options: Options, untracked: set[str]) -> None:
    view = part.charset.view(part.body.text)
    part.found = html.scan(view, outlook=options.outlook, limit=options.max_links)
    if options.track_clicks or options.unsubscribe_links:
        part.candidates = links.in_html(
            view, part.body.text, part.found.anchors, part.charset, options
        )
        untracked.update(one.url for one in part.candidates if one.reason == "notrack")


def _read_text(part: _Part, options: Options, untracked: set[str]) -> None:
    view = part.charset.view(part.body.text)
    if not options.track_text_links and text.UNSUBSCRIBE_TAG not in view:
        return
    width = part.charset.width
    delsp = part.leaf.content.parameters.get("delsp", "").lower() == "yes"
    for found in text.scan(view, quoted=options.track_quoted_text, delsp=delsp):
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


def _has_pixel(part: _Part, options: Options) -> bool:
    """Whether the part was rewritten before: then it gets no second pixel."""
    view = part.charset.view(part.body.text) if options.own_hosts else b""
    return view.rfind(b"/open?") >= 0 and any(
        b'src="%s://%s/open?' % (scheme, host.encode()) in view
        for host in options.own_hosts
        for scheme in (b"https", b"http")
    )


def _place_pixel(
    parts: list[_Part], options: Options, remarks: list[tuple[int, str]]
) -> tuple[bool, bool]:
    """Puts gaps for pixel and honeypot into the first HTML part that takes them (seed 004)."""
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


def _link_gaps(part: _Part, made: list[Link]) -> None:
    html_or_text = "t" if part.kind == "t" else "h"
    gaps = part.gaps
    pos = len(made)
    for start, end, url, reason, kind, link_id, universal, blank in part.candidates:
        if not reason:
            gaps.append((start, end, blank, pos))
            pos += 1
            made.append(_new(Link, (kind, url, link_id, pos, universal, html_or_text)))


def _edit(part: _Part) -> _Edit:
    part.gaps.sort()
    width = part.charset.width
    spans = [(start * width, end * width) for start, end, _, _ in part.gaps]
    splice = part.body.splice(spans, [gap[2] if width == 1 else -1 for gap in part.gaps])
    slots = tuple(gap[3] for gap in part.gaps)
    encode = part.charset.encode if width > 1 else None
    return _Edit(part.leaf.start, part.leaf.end, splice, slots, encode, part.kind)
