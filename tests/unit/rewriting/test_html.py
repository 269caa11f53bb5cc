# ruff: noqa: E501, ISC004 - tables of markup read better on one line
"""The scanner against the reference machine and against three other parsers."""

import random
import re
from collections.abc import Iterator

import html5lib
import html5lib._tokenizer
import pytest
import turbohtml
from scanning import PIECES, by_machine, by_scanner, mutant, seeds
from selectolax.lexbor import LexborHTMLParser

from sendback.errors import Malformed
from sendback.rewriting import entities, html, plan

START_TAG = html5lib.constants.tokenTypes["StartTag"]

CASES = {
    "double quotes": (b'<a href="http://e/x">', [b"http://e/x"]),
    "single quotes": (b"<a href='http://e/x'>", [b"http://e/x"]),
    "unquoted": (b"<a href=http://e/x>", [b"http://e/x"]),
    "unquoted with a slash at its end": (b"<a href=x/>", [b"x/"]),
    "empty": (b'<a href="">', [b""]),
    "no value": (b"<a href>", []),
    "equals and nothing": (b"<a href=>", []),
    "blanks round the equals sign": (b'<a href \t\n=\n\t "x">', [b"x"]),
    "capitals": (b'<A HREF="x"></A>', [b"x"]),
    "vertical tab is no white space": (b'<a\x0bhref="x">', []),
    "NUL in the tag name": (b'<a\0 href="x">', []),
    "slash before the attribute": (b'<a/href="x">', [b"x"]),
    "attribute right behind a quoted value": (b'<a class="b"href="x">', [b"x"]),
    "first of two hrefs": (b'<a href="x" HREF="y">', [b"x"]),
    "first href without a value": (b'<a href href="y">', []),
    "area": (b'<area shape=rect href="x"/>', [b"x"]),
    "other elements": (b'<base href="x"><link href="x"><abbr href="x"><v:rect href="x">', []),
    "form action": (b'<form action="http://e/"><svgx xlink:href="x">', []),
    "an end tag has no link": (b'</a href="x">', []),
    "> in an earlier attribute": (b'<a title="a>b" href="x">', [b"x"]),
    "a link in an attribute": (b"<a title='<a href=\"y\">' href=\"x\">", [b"x"]),
    "href in the name of another": (b'<a data-href="y" xhref="y" href2="y">', []),
    "equals before the name": (b'<a ="y" href="x">', [b"x"]),
    "quote in an unquoted value": (b'<a b=c"d href="x">', [b"x"]),
    "quote in a name": (b'<a b" href="x">', [b"x"]),
    "equals sign in the tag name": (b'<td="a>b"><a href="x">', [b"x"]),
    "comment": (b'<!-- <a href="y"> --><a href="x">', [b"x"]),
    "comment closed at once": (b'<!--><a href="x">', [b"x"]),
    "comment closed at once by ->": (b'<!---><a href="x">', [b"x"]),
    "comment closed by --!>": (b'<!-- <a href="y"> --!><a href="x">', [b"x"]),
    "comment not closed by -- >": (b'<!-- -- ><a href="y">--><a href="x">', [b"x"]),
    "unclosed comment": (b'<a href="x"><!-- <a href="y">', [b"x"]),
    "bogus comments": (b'<? "> <a href="x"><! \'><a href="y"></ "><a href="z">', [b"x", b"y", b"z"]),
    "CDATA is a bogus comment": (b'<![CDATA[ <a href="y"> ]]><a href="x">', [b"x"]),
    "doctype with > in quotes": (b'<!DOCTYPE html "><a href="x">', [b"x"]),
    "tag that never ends": (b'<a href="x"><a href="y"', [b"x"]),
    "quote that never ends": (b'<a href="x"><a href="y>', [b"x"]),
    "value that never ends is no bare name": (b'<a b="<a href=x>', []),
    "style": (b'<style><a href="y"></style ><a href="x">', [b"x"]),
    "title": (b'<title><a href="y"></title/><a href="x">', [b"x"]),
    "textarea": (b'<textarea><a href="y"></textare></textarea><a href="x">', [b"x"]),
    "xmp iframe noembed noframes": (
        b'<xmp><a href="y"></xmp><iframe><a href="y"></iframe><noembed><a href="y"></noembed>'
        b'<noframes><a href="y"></noframes><a href="x">',
        [b"x"],
    ),
    "noscript is parsed": (b'<noscript><a href="x"></noscript>', [b"x"]),
    "plaintext": (b'<a href="x"><plaintext><a href="y"></plaintext>', [b"x"]),
    "script": (b'<script>"<a href=y>"</script><a href="x">', [b"x"]),
    "script escaped": (b'<script><!-- <a href="y"> </script><a href="x">', [b"x"]),
    "script double escaped": (
        b'<script><!-- <script> </script> <a href="y"> --></script><a href="x">', [b"x"],
    ),
    "script escape closed by its own dashes": (b'<script><!--><script></script><a href="x">', [b"x"]),
    "raw text that never ends": (b'<a href="x"><title><a href="y">', [b"x"]),
    "less-than in text": (b'a < b <3 <a href="x">', [b"x"]),
    "template without raw text": (b'<template><a href="x"></template>', [b"x"]),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_edge_cases(case: str) -> None:
    document, want = CASES[case]
    found = html.scan(document)
    assert [document[one[1] : one[2]] for one in found.anchors] == want
    assert by_scanner(document) == by_machine(document)


BODY_ENDS = {
    "in a comment": b"<!-- </body> -->x|</body>",
    "in a script": b"<script></body></script>|</body>",
    "in an attribute": b'<p title="</body>">|</body>',
    "mixed case with attributes": b"x|</BoDy class='a'>",
    "the first of two": b"|</body></body>",
}


@pytest.mark.parametrize("case", list(BODY_ENDS))
def test_first_real_body_end(case: str) -> None:
    marked = BODY_ENDS[case]
    assert html.scan(marked.replace(b"|", b"", 1)).body_end == marked.index(b"|")


def test_conditional_comments_show_their_links_to_outlook() -> None:
    document = (
        b'<!--[if mso]><v:roundrect href="http://e/1"><a href="http://e/2"><![endif]-->'
        b'<!--[if !mso]><!--><a href="http://e/3"><!--<![endif]-->'
        b'<![if !mso]><a href="http://e/4"><![endif]><!-- <a href="http://e/no"> -->'
        b'<!--[if mso]><v:fill href="http://e/no"/><link href="http://e/no"><![endif]-->'
    )
    values = [document[one[1] : one[2]][-1:] for one in html.scan(document).anchors]
    assert values == [b"1", b"2", b"3", b"4"]
    values = [document[one[1] : one[2]][-1:] for one in html.scan(document, outlook=False).anchors]
    assert values == [b"3", b"4"]


REFERENCES = {
    "&amp;&#38;&#x26;": "&&&",
    "?a=1&copy=2": "?a=1&copy=2",
    "&copyx": "&copyx",
    "&copy;=": "\u00a9=",
    "&copy": "\u00a9",
    "&copy!": "\u00a9!",
    "&not=1&notit;": "&not=1&notit;",
    "&amp;amp;": "&amp;",
    "&amp=1": "&amp=1",
    "&nosuch;": "&nosuch;",
    "&#0;&#xD800;&#x110000;&#99999999999;": "\ufffd" * 4,
    "&#x80;&#159;&#129;": "\u20ac\u0178\x81",
    "&#xe9": "\u00e9",
    "&#;&#x;&": "&#;&#x;&",
}


@pytest.mark.parametrize("given", list(REFERENCES))
def test_references_in_attributes(given: str) -> None:
    assert entities.decode(given) == REFERENCES[given]


def test_references_as_the_machine_reads_them() -> None:
    random_ = random.Random(5)
    pieces = ["&", "#", "x", "amp", "lt", "not", "in", ";", "=", "1", "80", "D800", " ", "copy",
              "NotEqualTilde", "fj", "X", "g", "0", "&#", "&amp;"]  # fmt: skip
    from whatwg_machine import Machine

    for _ in range(4000):
        value = "".join(random_.choices(pieces, k=random_.randint(1, 8)))
        (token,) = Machine(f'<a b="{value}">')
        assert token.attributes[0].value == entities.decode(value), value


@pytest.mark.parametrize(
    ("raw", "url"),
    [
        (" \x00\x1fhttp://e/ ", "\ufffd\x1fhttp://e/"),
        (" \x01\x1f\nhttp://e/\t ", "http://e/"),
        ("ht\ttp://\ne/\r\nx y", "http://e/x y"),
        ("&#9;http://e/&#10;", "http://e/"),
    ],
)
def test_urls_are_stripped_as_browsers_do(raw: str, url: str) -> None:
    assert entities.url_of(raw) == url


@pytest.mark.corpus
def test_corpus_as_the_machine_sees_it() -> None:
    documents = seeds()
    assert documents
    for document in documents:
        if steered(document):
            continue
        assert by_scanner(document) == by_machine(document)


def steered(document: bytes) -> bool:
    return any(b"<" + name in document.lower() for name in html.STEERING)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_mutants_as_the_machine_sees_them(seed: int) -> None:
    random_ = random.Random(seed)
    documents = seeds()
    for _ in range(4000):
        document = mutant(random_, documents)
        if not steered(document):
            assert by_scanner(document) == by_machine(document), document


def ours(document: bytes) -> list[str]:
    text = document.decode("latin-1")
    found = [
        entities.url_of(text[one[1] : one[2]]) for one in html.scan(document, outlook=False).anchors
    ]
    return [url for url in found if re.match("https?://", url, re.IGNORECASE)]


def clean(value: str) -> str:
    value = value.strip("".join(map(chr, range(33))))
    return value.translate({9: None, 10: None, 13: None})


class Watched(html5lib._tokenizer.HTMLTokenizer):
    """html5lib's tokenizer, still steered by the tree builder, that notes links as they pass."""

    def __iter__(self) -> Iterator[dict]:
        self.hrefs = []
        for token in super().__iter__():
            # Before a token is given on: the tree builder changes what it holds.
            if token["type"] == START_TAG and token["name"] in ("a", "area"):
                self.hrefs += [
                    clean(value) for key, value in token["data"].items() if key == "href"
                ]
            yield token


class Watching(html5lib.HTMLParser):
    def mainLoop(self) -> None:  # noqa: N802
        self.tokenizer.__class__ = Watched
        super().mainLoop()


def by_html5lib(document: bytes) -> list[str]:
    parser = Watching()
    parser.parse(document.decode("latin-1"))
    return [url for url in parser.tokenizer.hrefs if re.match("https?://", url, re.IGNORECASE)]


def by_lexbor(document: bytes) -> set[str]:
    tree = LexborHTMLParser(document.decode("latin-1"))
    values = [clean(node.attributes.get("href") or "") for node in tree.css("a, area")]
    return {url for url in values if re.match("https?://", url, re.IGNORECASE)}


def by_turbohtml(document: bytes) -> set[str]:
    tree = turbohtml.parse(document.decode("latin-1"))
    values = [clean(str(node.attrs.get("href") or "")) for node in tree.find_all(["a", "area"])]
    return {url for url in values if re.match("https?://", url, re.IGNORECASE)}


@pytest.mark.corpus
def test_corpus_as_html5lib_lexbor_and_turbohtml_see_it() -> None:
    documents = seeds()
    assert documents
    for document in documents:
        if len(document) > 40_000:  # html5lib reads 2 MB/s
            continue
        mine = ours(document)
        assert mine == by_html5lib(document)
        assert set(mine) == by_lexbor(document)
        assert set(mine) == by_turbohtml(document)


@pytest.mark.parametrize("seed", [11, 12])
def test_mutants_as_html5lib_sees_them(seed: int) -> None:
    random_ = random.Random(seed)
    documents = seeds()
    for _ in range(4000):
        document = mutant(random_, documents).replace(b"\0", b"")
        if not steered(document):
            assert ours(document) == by_html5lib(document), document


def test_a_page_left_for_its_markup_is_left_whole() -> None:
    raw = (
        b"Content-Type: text/html\r\n\r\n<a href='http://e/'><svg><style><a href='http://e/'></svg>"
    )
    made = plan(raw)
    assert made.skipped == "broken-mime"
    assert made.render([]) == raw


@pytest.mark.parametrize("seed", [21, 22])
def test_mutants_as_lexbor_and_turbohtml_see_them(seed: int) -> None:
    random_ = random.Random(seed)
    documents = seeds()
    for _ in range(3000):
        document = mutant(random_, documents).replace(b"\0", b"")
        if not steered(document):
            mine = set(ours(document))
            assert mine == by_lexbor(document), document
            assert mine == by_turbohtml(document), document


STEERING = [
    b"<svg>", b"</svg>", b"<math>", b"</math>", b"<select>", b"</select>", b"<frameset>",
    b"</frameset>", b"<template>", b"</template>", b"<mi>", b"<desc>", b"<option>", b"<svg/>",
    b"<foreignObject>", b"<annotation-xml encoding='text/html'>", b"<style/>", b"<table>", b"<td>",
    b'<a href="http://e/">', b"</p>",
]  # fmt: skip


@pytest.mark.parametrize("seed", [31, 32])
def test_steered_mutants_are_read_as_html5lib_does_or_left(seed: int) -> None:
    random_ = random.Random(seed)
    decided = 0
    for _ in range(6000):
        pieces = random_.choices(PIECES + STEERING * 2, k=random_.randint(3, 30))
        document = b"".join(pieces).replace(b"\0", b"")
        try:
            mine = ours(document)
        except Malformed:
            continue
        decided += 1
        assert mine == by_html5lib(document), document
    assert decided > 3000


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (b'<svg><style>a>b{}</style><title>x</title></svg><a href="http://e/">', 1),
        (b'<svg><a href="http://e/1"></a></svg><a href="http://e/2">', 2),
        (b'<svg><![CDATA[ x > y ]]></svg><a href="http://e/">', 1),
        (b'<select><option>x</select><a href="http://e/">', 1),
        (b'<svg><style><a href="http://e/"></style></svg>', None),
        (b'<svg><![CDATA[ > <a href="http://e/"> ]]></svg>', None),
        (b'<select><plaintext></select><a href="http://e/">', None),
    ],
)
def test_steering_elements(document: bytes, count: int | None) -> None:
    if count is None:
        with pytest.raises(Malformed):
            html.scan(document)
    else:
        assert len(html.scan(document).anchors) == count
