"""What other parsers find in a document: http links by URL, in the order of the source."""

import re
from collections.abc import Iterator

import html5lib
import html5lib._tokenizer
import turbohtml
from scanning import by_machine, by_scanner
from selectolax.lexbor import LexborHTMLParser

from sendback.errors import Malformed
from sendback.rewriting import entities, html, markup

START_TAG = html5lib.constants.tokenTypes["StartTag"]
HTML = "{http://www.w3.org/1999/xhtml}"
#: Beside scanning.PIECES: what makes a tree builder steer the tokenizer.
STEERING = [
    b"<svg>", b"</svg>", b"<math>", b"</math>", b"<select>", b"</select>", b"<frameset>",
    b"</frameset>", b"<template>", b"</template>", b"<mi>", b"<desc>", b"<option>", b"<svg/>",
    b"<foreignObject>", b"<annotation-xml encoding='text/html'>", b"<style/>", b"<table>", b"<td>",
    b'<a href="http://e/">', b"</p>", b"<annotation-xml>", b"<select x=y/>", b"<input type=hidden>",
    b"<font>", b"<font color=x>", b"</table>", b"<tr>", b"<caption>", b"<col>", b"<head>",
    b"<html>", b"</html>", b"</head>", b"<frame>", b"<noscript>", b"&#32;", b"&Tab;", b"&nbsp;",
    b"<form>", b"<button>", b"<b>", b"</b>", b"<i>", b"<pre>", b"<area href='http://e/2'>",
    b"<malignmark>",
]  # fmt: skip


def steered(document: bytes) -> bool:
    return any(b"<" + name in document.lower() for name in markup.STEERING)


def is_http(url: str) -> bool:
    return re.match("https?://", url, re.IGNORECASE) is not None


def ours(document: bytes) -> list[str]:
    text = document.decode("latin-1")
    found = [
        entities.url_of(text[one[1] : one[2]]) for one in html.scan(document, outlook=False).anchors
    ]
    return [url for url in found if is_http(url)]


def clean(value: str) -> str:
    value = value.strip("".join(map(chr, range(33))))
    return value.translate({9: None, 10: None, 13: None})


class Numbering(html5lib._tokenizer.HTMLTokenizer):
    """html5lib's own tokenizer, steered by the tree builder, that numbers links as they pass."""

    def __iter__(self) -> Iterator[dict]:
        self.hrefs = {}
        for token in super().__iter__():
            if (
                token["type"] == START_TAG
                and token["name"] in ("a", "area")
                and "href" in token["data"]
            ):
                number = str(len(self.hrefs))
                self.hrefs[number] = clean(token["data"]["href"])
                token["data"]["the number"] = number
            yield token
        self.ended = True


class Parser(html5lib.HTMLParser):
    def mainLoop(self) -> None:  # noqa: N802
        self.tokenizer.__class__ = Numbering
        self.tokenizer.ended = False
        try:
            super().mainLoop()
        except (
            AssertionError
        ):  # html5lib 1.1: some states at the end of input are thought impossible
            if not self.tokenizer.ended:
                raise


def by_html5lib(document: bytes) -> list[str] | None:
    """The links whose elements stand in the finished tree, each once, as the source has them.

    None when html5lib fails on its own.
    """
    parser = Parser()
    try:
        root = parser.parse(document.decode("latin-1"))
    except Exception:  # noqa: BLE001 - whatever it is
        return None
    standing = {
        element.attrib["the number"]
        for name in ("a", "area")
        for element in root.iter(HTML + name)
        if "the number" in element.attrib
    }
    hrefs = parser.tokenizer.hrefs
    return [hrefs[number] for number in hrefs if number in standing and is_http(hrefs[number])]


def by_lexbor(document: bytes) -> set[str]:
    tree = LexborHTMLParser(document.decode("latin-1"))
    values = [clean(node.attributes.get("href") or "") for node in tree.css("a, area")]
    return {url for url in values if is_http(url)}


def by_turbohtml(document: bytes) -> set[str]:
    tree = turbohtml.parse(document.decode("latin-1"))
    values = [clean(str(node.attrs.get("href") or "")) for node in tree.find_all(["a", "area"])]
    return {url for url in values if is_http(url)}


def disagreement(document: bytes) -> str:
    """Which judge reads the document otherwise, or nothing."""
    try:
        mine = ours(document)
    except Malformed:
        return "" if by_html5lib(document) is None else "html5lib"
    if mine != by_html5lib(document):
        return "html5lib"
    if steered(document):
        return ""  # the others follow younger standards for template and select
    if by_scanner(document) != by_machine(document):
        return "machine"
    without_nul = document.replace(b"\0", b"")  # lexbor and turbohtml are given text
    found = set(mine) if without_nul == document else set(ours(without_nul))
    if found != by_lexbor(without_nul):
        return "lexbor"
    return "turbohtml" if found != by_turbohtml(without_nul) else ""
