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
from sendback.rewriting import bodies, headers, inserted, markup, message, parts
from sendback.rewriting.links import Candidate
from sendback.rewriting.model import Link, Note, Options, Outcome, Skipped

_SIGNATURES: Final = frozenset(
    (b"dkim-signature", b"arc-seal", b"arc-message-signature", b"domainkey-signature")
)
_SIGNED_FIELDS: Final = re.compile(r"(?:^|;)\s*h\s*=([^;]*)")
#: Which reason the message is given when several parts were left.
_GRAVEST: Final[tuple[Skipped, ...]] = (
    "encrypted",
    "signed",
    "broken-mime",
    "charset",
    "too-big",
    "report",
)


@dataclass(frozen=True, slots=True)
class _Edit:
    """One part ready to be joined."""

    start: int
    end: int
    splice: bodies.Splice
    slots: tuple[int, ...]
    encode: Callable[[str], bytes] | None  # None: ASCII goes in as it is
    kind: str

    def must_stay(self, urls: Sequence[str | None], pixel_url: str | None) -> bool:
        """Whether this is an AMP part, and not all that would go in is https."""
        if self.kind != "amp":
            return False
        given = [urls[slot] if slot >= 0 else pixel_url for slot in self.slots]
        return not all(url.startswith("https://") for url in given if url)

    def values(
        self,
        urls: Sequence[str | None],
        plain: list[bytes] | None,
        pixel_url: str | None,
        honeypot_url: str | None,
    ) -> list[bytes | None]:
        """What goes into the gaps, escaped, in the part's charset; `plain` are `_plain(urls)`."""
        if plain is not None and self.encode is None:
            return [
                plain[slot]
                if slot >= 0
                else inserted.special(slot, self.kind, pixel_url, honeypot_url)
                for slot in self.slots
            ]
        values: list[bytes | None] = []
        for slot in self.slots:
            if slot >= 0:
                url = urls[slot]
                put = None if url is None else inserted.url(url, self.kind)
            else:
                put = inserted.special(slot, self.kind, pixel_url, honeypot_url)
            if put is not None and self.encode is not None:
                put = self.encode(put.decode("ascii"))
            values.append(put)
        return values


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
        return self.put(urls, pixel_url, honeypot_url, top_block)[0]

    def placed(
        self,
        urls: Sequence[str | None],
        *,
        pixel_url: str | None = None,
        honeypot_url: str | None = None,
        top_block: bytes = b"",
    ) -> list[str | None]:
        """`urls` as `render` places them: None for each link that stays as it came.

        So stays what fits in no line of its part, an AMP part unless all is https, and everything
        when nothing may be written. What is reported as tracked must stand in this list.
        """
        return self.put(urls, pixel_url, honeypot_url, top_block)[1]

    def put(
        self,
        urls: Sequence[str | None],
        pixel_url: str | None = None,
        honeypot_url: str | None = None,
        top_block: bytes = b"",
    ) -> tuple[bytes, list[str | None]]:
        """What `render` gives and what `placed` gives, for the price of one."""
        original = self._message
        if not self._may_write(urls, top_block):
            return original, [None] * len(urls)
        placed = list(urls)
        plain = _plain(urls)
        out = [top_block]
        at = 0
        for start, end in self._removals:
            out.append(original[at:start])
            at = end
        for edit in self._edits:
            out.append(original[at : edit.start])
            at = edit.end
            left: Sequence[int]
            if edit.must_stay(urls, pixel_url):
                raw, left = original[edit.start : edit.end], range(len(edit.slots))
            else:
                values = edit.values(urls, plain, pixel_url, honeypot_url)
                is_plain = plain is not None and edit.encode is None
                raw, left = edit.splice.join(values, plain=is_plain)
            out.append(raw)
            for gap in left:
                if edit.slots[gap] >= 0:
                    placed[edit.slots[gap]] = None
        out.append(original[at:])
        return b"".join(out), placed

    def _may_write(self, urls: Sequence[str | None], top_block: bytes) -> bool:
        if len(urls) != len(self.links):
            raise ValueError(f"{len(self.links)} links need as many URLs, not {len(urls)}")
        if not self.header_end_found:
            return False
        if not self.signed_headers:
            return True
        return self.signed_headers.isdisjoint(headers.names(top_block) | self.control.keys())


_PLAIN_OR_NEWLINE: Final = bodies.PLAIN + b"\n"


def _plain(urls: Sequence[str | None]) -> list[bytes] | None:
    """The URLs as they go into any gap, when all are there and none needs an escape."""
    if None in urls:
        return None
    joined = "\n".join(urls)  # type: ignore[arg-type]
    packed = joined.encode("ascii", "replace")  # "?" for what is not: no promise then
    if not joined.isascii() or packed.translate(None, _PLAIN_OR_NEWLINE):
        return None
    found = packed.split(b"\n") if urls else []
    return found if len(found) == len(urls) else None


def plan(
    raw: bytes,
    options: Options = Options(),  # noqa: B008  # a frozen value
    *,
    section: headers.Section | None = None,
) -> Plan:
    """The plan for one message. Never raises; a doubt is a reason in `skipped`.

    `section` spares reading the header section of this very message again.
    """
    raw = bytes(raw)
    try:
        return _planned(raw, options, section or headers.section(raw))
    except Exception:  # noqa: BLE001  # fail open: a fault of ours must not stop or change mail
        return Plan(skipped="fault", header_end_found=False, _message=raw)


def _planned(raw: bytes, options: Options, section: headers.Section | None) -> Plan:
    if section is None:
        return Plan(skipped="broken-mime", header_end_found=False, _message=raw)
    stop, body, top, well_formed = section
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
    opened: list[parts.Part] = []
    pages = options.track_clicks or options.track_opens or options.unsubscribe_links
    for number, leaf in enumerate(tree.leaves, 1):
        kind = parts.kind_of(leaf, options, pages=pages)
        if not kind:
            continue
        part = parts.open_part(raw, leaf, number, kind, eol)
        if isinstance(part, str):
            reasons.add(part)
            remarks.append((number, part))
        else:
            opened.append(part)
    # HTML first: what is marked there as not to be tracked is not tracked in the text either.
    untracked: set[str] = set()
    for part in opened:
        if part.kind != "t":
            try:
                parts.read_html(part, options, untracked)
            except markup.TooMany as error:
                reasons.add("too-big")
                remarks.append((part.number, str(error)))
            except Malformed:
                reasons.add("broken-mime")
                remarks.append((part.number, "steered"))
    for part in opened:
        if part.kind == "t":
            parts.read_text(part, options, untracked)
    wants_pixel, wants_honeypot = parts.place_specials(opened, options, remarks)
    made: list[Link] = []
    edits: list[_Edit] = []
    for part in opened:
        parts.link_gaps(part, made)
        if part.gaps:
            edits.append(_edit(part))
    skipped = next((reason for reason in _GRAVEST if reason in reasons), None)
    return Plan(
        links=tuple(made),
        wants_pixel=wants_pixel,
        wants_honeypot=wants_honeypot,
        skipped=None if edits else skipped,
        _remarks=tuple(remarks),
        _judged=tuple((part.number, part.candidates) for part in opened if part.candidates),
        _edits=tuple(edits),
        **facts,  # type: ignore[arg-type]
    )


def _edit(part: parts.Part) -> _Edit:
    part.gaps.sort()
    width = part.charset.width
    spans = [(start * width, end * width) for start, end, _, _ in part.gaps]
    splice = part.body.splice(spans, [gap[2] if width == 1 else -1 for gap in part.gaps])
    slots = tuple(gap[3] for gap in part.gaps)
    encode = part.charset.encode if width > 1 else None
    return _Edit(part.leaf.start, part.leaf.end, splice, slots, encode, part.kind)
