# ruff: noqa: E501, ISC004 - tables of markup read better on one line
"""The scanner against the reference machine and against three other parsers."""

import random

import pytest
from judges import by_html5lib, by_lexbor, by_turbohtml, ours, steered
from scanning import by_machine, by_scanner, seeds

from sendback.errors import Malformed
from sendback.rewriting import entities, html, markup, plan, tree

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


STEERED = {
    "style in svg holds markup": (b'<svg><style>a>b{}</style></svg><a href="http://e/1">', "1"),
    "a link of svg is none of HTML": (b'<svg><a href="http://e/1"></svg><a href="http://e/2">', "2"),
    "but behind a breakout it is": (b'<svg><p><a href="http://e/1">', "1"),
    "and in foreignObject": (b'<svg><foreignObject><a href="http://e/1">', "1"),
    "CDATA in svg": (b'<svg><![CDATA[ > <a href="http://e/1"> ]]></svg><a href="http://e/2">', "2"),
    "CDATA outside": (b'<svg></svg><![CDATA[ > <a href="http://e/1"> ]]>', "1"),
    "CDATA that never ends": (b'<svg><![CDATA[ > <a href="http://e/1">', ""),
    "select drops links": (b'<select><option><a href="http://e/1"></select><a href="http://e/2">', "2"),
    "select knows no raw text": (b'<select><title></select><a href="http://e/1">', "1"),
    "plaintext in select is dropped": (b'<select><plaintext></select><a href="http://e/1">', "1"),
    "math text": (b'<math><mi><a href="http://e/1"></mi><a href="http://e/2"></math>', "1"),
    "template": (b'<template><a href="http://e/1"></template>', "1"),
    "frameset takes the body's place": (b'<p><a href="http://e/1"><frameset><a href="http://e/2">', ""),
    "frameset comes too late": (b'x<a href="http://e/1"><frameset><a href="http://e/2">', "12"),
    "a space as a reference is still space": (b'&#32;&#10;<a href="http://e/1"><frameset>', ""),
    "noframes": (b'<frameset></frameset><noframes><a href="http://e/1"></noframes>', ""),
    "a doctype without end": (b'<svg></svg><a href="http://e/1"><!doctype html', "1"),
    "NUL in a name": (b'<svg\0><a href="http://e/1"></svg>', "1"),
    "slash of a value closes nothing": (b'<svg x=y/><a href="http://e/1">', ""),
    "slash of a tag closes it": (b'<svg x=y /><a href="http://e/1">', "1"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(STEERED))
def test_documents_that_need_a_tree(case: str) -> None:
    document, want = STEERED[case]
    assert "".join(url[-1] for url in ours(document)) == want
    assert ours(document) == by_html5lib(document)


def test_a_tree_places_the_rest_as_the_pattern_does() -> None:
    for document, _ in CASES.values():
        if not steered(document):
            whole = tree.scan(document, outlook=False, limit=100)
            assert whole == html.scan(document, outlook=False)
    document = b"<select><opentag></select><svg></body><opentag></svg><p><OPENTAG/></p></body>"
    found = html.scan(document)
    assert document[slice(*found.opentag)] == b"<OPENTAG/>"
    assert found.body_end == document.index(b"</body>")
    assert not html.scan(b"<svg></svg><title>").closed
    assert not html.scan(b"<svg></svg></").closed
    assert not html.scan(b"<svg></svg><p title='").closed
    assert html.scan(b"<svg></svg><").closed


def test_outlook_sees_links_beside_a_tree() -> None:
    document = (
        b'<svg></svg><!--[if mso]><v:rect href="http://e/1"><![endif]--><a href="http://e/2">'
    )
    values = [document[one[1] : one[2]][-1:] for one in html.scan(document).anchors]
    assert values == [b"1", b"2"]


@pytest.mark.parametrize(
    "document",
    [b"<svg>" + b" " * tree.MAX_BYTES, b"<svg></svg>" + b"<p>" * 20_000, b"<svg>" + b"&#32;" * 40_000],
)  # fmt: skip
def test_a_page_that_costs_too_much_is_left_whole(document: bytes) -> None:
    with pytest.raises(Malformed):
        html.scan(document)
    raw = b"Content-Type: text/html\r\n\r\n<a href='http://e/'>" + document
    made = plan(raw)
    assert made.skipped == "broken-mime"
    assert made.render([]) == raw


def test_too_many_links_in_a_tree() -> None:
    with pytest.raises(markup.TooMany):
        html.scan(b"<svg></svg>" + b"<a href=x>" * 11, limit=10)
