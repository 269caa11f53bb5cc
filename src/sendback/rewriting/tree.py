"""Tells the links of a document whose tree decides what its markup means, exactly.

Behind svg, math, select, frameset and template the tree builder steers the tokenizer (13.2.6) and
drops elements. html5lib builds that tree; our own patterns feed it tokens, so that every tag keeps
its place in the bytes. A link counts when it stands in the finished tree as an HTML element.

Slower by far than `html.scan`, so the work is bounded: a document past the bound raises Malformed.
"""

import re
from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import Any, Final

from html5lib import HTMLParser  # type: ignore[import-untyped]
from html5lib._tokenizer import HTMLTokenizer  # type: ignore[import-untyped]
from html5lib.constants import namespaces, tokenTypes  # type: ignore[import-untyped]

from sendback.errors import Malformed
from sendback.rewriting import entities, markup
from sendback.rewriting.markup import Found

#: What one document may cost: 12 for a tag, 4 for a text, more with the elements open around it.
#: A newsletter of 50 KB costs about 35,000, which is 10 ms; hostile ones are stopped by 100 ms.
MAX_WORK: Final = 125_000
MAX_BYTES: Final = 256 * 1024

_HTML: Final = namespaces["html"]
_ELEMENTS: Final = ("a", "area", "opentag")
#: The name under which a tag carries its number through the tree; none in markup holds a blank.
_NUMBER: Final = "sendback number"

_MARKUP: Final = re.compile(
    rb"([^<]++|<(?![A-Za-z/!?])|</\Z)"  # 1 text
    rb"|(" + markup.START_TAG + rb")"  # 2
    rb"|(" + markup.END_TAG + rb")"  # 3
    rb"|(" + markup.COMMENT + rb")"  # 4
    rb"|(" + markup.BOGUS_COMMENT + rb")"  # 5, a doctype or CDATA section may begin like one
)
_NAME: Final = re.compile(rb"</?([A-Za-z][^\t\n\f\r />]*+)")
_CONTENT: Final = {
    "script": re.compile(markup.SCRIPT_DATA),
    **{name.decode(): re.compile(markup.raw_text(name)) for name in markup.RAW_TEXT},
}
#: Text as html5lib cuts it: 1 white space, also as a character reference; else NUL, or words.
_RUN: Final = re.compile(
    r"([\t\n\f\r ]++"
    r"|&#(?:0*+(?:9|1[023]|32)(?![0-9])|[xX]0*+(?:9|[aAcCdD]|20)(?![0-9a-fA-F]));?+"
    r"|&(?:Tab|NewLine);)"
    r"|\0|[^\0][^&\0]*+"
)

Token = dict[str, Any]


def scan(document: bytes, *, outlook: bool, limit: int) -> Found:
    """As `html.scan`, for any document. Malformed when that would take too long."""
    if len(document) > MAX_BYTES:
        raise Malformed("too long for building its tree", field="text/html")
    tokens = _Tokens(document, outlook=outlook, limit=limit)
    parser = _Parser(tokens)
    try:
        parser.mainLoop()
    except Exception as error:
        if isinstance(error, Malformed):
            raise
        # html5lib holds that some states can't be, and mutants reach them (1.1, "assert
        # self.innerHTML"). Behind the last token it only closes elements: nothing is lost.
        if not tokens.ended:
            raise Malformed("no tree can be built of it", field="text/html") from error
    root = parser.tree.document._element  # noqa: SLF001 - all that html5lib offers
    shown = {
        int(element.attrib[_NUMBER])
        for name in _ELEMENTS
        for element in root.iter(f"{{{_HTML}}}{name}")
        if _NUMBER in element.attrib
    }
    found = tokens.found
    found.anchors = [one for number, one in tokens.anchors if number in shown or not number]
    found.opentag = next((place for number, place in tokens.opentags if number in shown), None)
    return found


class _Parser(HTMLParser):  # type: ignore[misc]
    """html5lib's tree construction, fed by our tokens."""

    def __init__(self, tokens: "_Tokens") -> None:
        super().__init__()
        self.innerHTMLMode = False
        self.scripting = False  # no mail reader runs scripts
        self.tokenizer = tokens
        self.reset()
        tree = tokens.tree = self.tree
        misplaced = tree.getTableMisnestedNodePosition

        def position() -> Any:  # html5lib's node
            parent, before = misplaced()
            tokens.spend(len(parent._element) // 8)  # noqa: SLF001 - they are all looked at
            return parent, before

        tree.getTableMisnestedNodePosition = position

    def parseError(self, *_: object) -> None:  # noqa: N802 - html5lib's name
        """Errors have no place here: what counts is what a browser makes of them."""


class _Tokens:
    """What html5lib asks of a tokenizer: an iterator of tokens, and a state that it may set."""

    dataState = "data"  # noqa: N815 - html5lib's names, these five
    rcdataState = "rcdata"  # noqa: N815
    rawtextState = "rawtext"  # noqa: N815
    scriptDataState = "script"  # noqa: N815
    plaintextState = "plaintext"  # noqa: N815
    stream = SimpleNamespace(charEncoding=(None, "certain"))

    def __init__(self, document: bytes, *, outlook: bool, limit: int) -> None:
        self.state = self.dataState
        self.tree: Any = None
        self.found = Found()
        #: By number; those inside conditional comments have none.
        self.anchors: list[tuple[int, markup.Anchor]] = []
        self.opentags: list[tuple[int, tuple[int, int]]] = []
        self._document = document
        self._outlook = outlook
        self._limit = limit
        self._work = 0
        self.ended = False

    def __iter__(self) -> Iterator[Token]:
        opened, formatting = self.tree.openElements, self.tree.activeFormattingElements
        for token in self._tokens():
            self.spend(len(opened) + 4 * len(formatting) + (12 if "name" in token else 4))
            yield token
        self.ended = True

    def spend(self, work: int) -> None:
        """Counts what a step costs; Malformed when the document costs too much."""
        self._work += work
        if self._work > MAX_WORK:
            raise Malformed("too much markup for building its tree", field="text/html")

    def _tokens(self) -> Iterator[Token]:
        document = self._document
        at = 0
        while (match := _MARKUP.match(document, at)) is not None:
            kind, start, at = match.lastindex, match.start(), match.end()
            if kind == 1:
                yield from _text(document[start:at])
                if document[start:at] == b"</":
                    self.found.closed = False
            elif kind == 2:
                name = _name(document, start)
                yield self._start_tag(name, start, at)
                at = yield from self._content(name, at)
            elif kind == 3:
                name = _name(document, start)
                if name == "body" and self.found.body_end < 0:
                    self.found.body_end = start
                yield {"type": tokenTypes["EndTag"], "name": name, "data": {}, "selfClosing": False}
            elif kind == 4:
                if self._outlook and document[start + 4 : start + 7].lower() == b"[if":
                    self.anchors += [(0, one) for one in markup.conditional(document, start, at)]
                    self._check_limit()
            elif self._begins_cdata(start):
                at = yield from self._cdata(start)
            elif document[start + 2 : start + 9].lower() == b"doctype":
                yield from _doctype(document[start:at])
        if at < len(document):
            self.found.closed = False
            if self._begins_cdata(at):
                yield from self._cdata(at)
            elif document[at : at + 9].lower() == b"<!doctype":
                yield from _doctype(document[at:])

    def _start_tag(self, name: str, start: int, end: int) -> Token:
        document = self._document
        data: dict[str, str] = {}
        href = None
        behind = start + 1 + len(name)
        while (match := markup.ATTRIBUTE.match(document, behind, end)) is not None:
            group, behind = match.lastindex or 1, match.end()
            key = _lower(match[1])
            if key not in data:
                data[key] = entities.text_of(match[group].decode("latin-1")) if group > 1 else ""
                if key == "href":
                    href = match.span(group) if group > 1 else None
        if name == "opentag" or (name in _ELEMENTS and href is not None):
            number = len(self.anchors) + len(self.opentags) + 1
            data[_NUMBER] = str(number)
            if href is None or name == "opentag":
                self.opentags.append((number, (start, end)))
            else:
                self.anchors.append((number, (start, *href, end)))
                self._check_limit()
        return {
            "type": tokenTypes["StartTag"],
            "name": name,
            "data": data,
            "selfClosing": document[end - 2] == 0x2F and behind <= end - 2,
            "selfClosingAcknowledged": False,
        }

    def _content(self, name: str, at: int) -> Generator[Token, None, int]:
        """Gives the content that the tree builder wants as text, if any, and where it ends."""
        if self.state is self.dataState:
            return at
        end = len(self._document)
        if self.state is not self.plaintextState:
            match = _CONTENT[name].match(self._document, at)
            assert match is not None
            end = match.end()
        if at < end:
            yield _characters(self._document[at:end])
        self.state = self.dataState
        self.found.closed = end < len(self._document)
        return end

    def _begins_cdata(self, at: int) -> bool:
        """Whether a CDATA section begins here: only in foreign content (13.2.5.42)."""
        opened = self.tree.openElements
        return (
            self._document.startswith(b"<![CDATA[", at)
            and bool(opened)
            and opened[-1].namespace != self.tree.defaultNamespace
        )

    def _cdata(self, start: int) -> Generator[Token, None, int]:
        """Gives a CDATA section as text, and where it ends."""
        end = self._document.find(b"]]>", start + 9)
        self.found.closed = end >= 0
        stop = end if end >= 0 else len(self._document)
        if stop > start + 9:
            yield _characters(self._document[start + 9 : stop])
        return end + 3 if end >= 0 else stop

    def _check_limit(self) -> None:
        if len(self.anchors) > self._limit:
            raise markup.TooMany(f"more than {self._limit} links in one part")


def _text(raw: bytes) -> Iterator[Token]:
    """Ordinary text; white space and NUL by themselves, since the tree builder tells them apart."""
    for match in _RUN.finditer(_unified(raw)):
        kind = "Characters" if match[1] is None else "SpaceCharacters"
        yield {"type": tokenTypes[kind], "data": entities.decode(match[0])}


def _characters(raw: bytes) -> Token:
    """Text in which NUL is a replacement character and white space is nothing special."""
    return {"type": tokenTypes["Characters"], "data": _unified(raw).replace("\0", "\ufffd")}


def _doctype(raw: bytes) -> Iterator[Token]:
    """It decides about quirks, and so whether a table closes a paragraph."""
    for token in HTMLTokenizer(raw.decode("latin-1")):
        if token["type"] == tokenTypes["Doctype"]:
            yield token


def _unified(raw: bytes) -> str:
    return raw.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")


def _name(document: bytes, at: int) -> str:
    match = _NAME.match(document, at)
    assert match is not None
    return _lower(match[1])


def _lower(name: bytes) -> str:
    return name.lower().decode("latin-1").replace("\0", "\ufffd")  # bytes: ASCII letters only
