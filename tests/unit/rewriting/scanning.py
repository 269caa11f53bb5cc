# ruff: noqa: Q003 - tables of markup read better on one line
"""What the scanner should find in a document, told by the reference machine."""

import random
from pathlib import Path

from whatwg_machine import Machine

from sendback.rewriting import html, markup

CORPUS = Path(__file__).parents[4] / "shared/corpus"
RAW = {name.decode() for name in markup.RAW_TEXT}


def by_machine(document: bytes) -> tuple[list[tuple[int, int, int, int]], int, tuple | None, bool]:
    """Anchors, first </body>, first <opentag>, and whether something may be appended."""
    machine = Machine(document.decode("latin-1"))
    anchors = []
    body, opentag = -1, None
    raw_text = ""
    for token in machine:
        if token.kind == "StartTag":
            raw_text = ""
            if token.data in ("title", "textarea"):
                machine.state = "rcdata"
            elif token.data in RAW:
                machine.state = "rawtext"
            elif token.data == "script":
                machine.state = "script_data"
            elif token.data == "plaintext":
                machine.state = "plaintext"
            if machine.state != "data":
                raw_text = token.data
            href = token.attribute("href")
            if token.data in ("a", "area") and href and href.value_start >= 0:
                # An empty value in quotes is a value; the scanner may leave out what `=>` gives.
                anchors.append((token.start, href.value_start, href.value_end, token.end))
            if token.data == "opentag" and opentag is None:
                opentag = (token.start, token.end)
        elif token.kind == "EndTag":
            raw_text = ""
            if token.data == "body" and body < 0:
                body = token.start
    return anchors, body, opentag, not raw_text and not machine.unclosed


def by_scanner(document: bytes) -> tuple[list[tuple[int, int, int, int]], int, tuple | None, bool]:
    found = html.scan(document, outlook=False)
    return [tuple(one[:4]) for one in found.anchors], found.body_end, found.opentag, found.closed


PIECES = [
    b"<", b">", b"</", b"/>", b"=", b'"', b"'", b" ", b"\n", b"\t", b"\f", b"\r", b"\x0b", b"\0",
    b"-", b"--", b"-->", b"--!>", b"<!--", b"<!-->", b"<!--->", b"<!", b"<?", b"</>", b"<![CDATA[",
    b"]]>", b"&amp;", b"&", b"a", b"A", b"href", b"HREF=", b"href=", b'href="', b"href='",
    b"<a ", b"<a\n", b"<A/", b"<area ", b"<abbr ", b"<a>", b"</a>", b"<b>", b"<p class=\"x\">",
    b'<td style="a>b">', b"<br/>", b"http://e.example/", b"<body>", b"</body>", b"</BODY ",
    b"<opentag>", b"<OPENTAG/>", b"<opentag", b"<script>", b"</script>", b"<script ", b"</script ",
    b"<style>", b"</style>", b"<title>", b"</title>", b"<textarea>", b"</textarea/", b"<xmp>",
    b"</xmp>", b"<iframe>", b"</iframe>", b"<noframes>", b"</noframes>", b"<noembed>",
    b"</noembed>", b"<plaintext>", b"<!DOCTYPE html>", b"<!--[if mso]>", b"<![endif]-->",
    b"<span", b"<strong", b"<table", b"<th ", b"<tr", b"<map", b"<meta ", b"<ol", b"<option",
    b"<form ", b"<frame", b"<nobr", b"<input ", b"<pre", b"<h1", b"<v:rect ", b"x", b"=x", b'="x"',
    b"='y'", b" =\n", b"data-ga-notrack", b'name="', b"\x80", b"\xff", b"1", b"!", b"?",
]  # fmt: skip


def mutant(random_: random.Random, seeds: list[bytes]) -> bytes:
    """A document made of markup pieces, or a stretch of a real one, damaged in a few places."""
    if random_.random() < 0.5 or not seeds:
        return b"".join(random_.choices(PIECES, k=random_.randint(1, 40)))
    seed = random_.choice(seeds)
    start = random_.randrange(max(1, len(seed) - 200))
    document = bytearray(seed[start : start + random_.randint(50, 800)])
    for _ in range(random_.randint(1, 8)):
        at = random_.randrange(len(document) + 1)
        kind = random_.random()
        if kind < 0.6:
            document[at:at] = random_.choice(PIECES)
        elif kind < 0.85:
            del document[at : at + random_.randint(1, 6)]
        else:
            document[at : at + 1] = random_.choice(PIECES)
    return bytes(document)


def any_mutant(random_: random.Random, seeds: list[bytes]) -> bytes:
    """As `mutant`, now and then with markup that makes a tree builder steer the tokenizer."""
    from judges import STEERING  # judges imports this module

    document = mutant(random_, seeds)
    if random_.random() < 0.3:
        at = random_.randrange(len(document) + 1)
        document = document[:at] + random_.choice(STEERING) + document[at:]
    return document


def seeds() -> list[bytes]:
    if not CORPUS.is_dir():
        return []
    return [path.read_bytes() for path in sorted((CORPUS / "html").iterdir())]
