"""Finds the links of an HTML document as the WHATWG tokenizer sees them, as byte offsets.

One compiled pattern walks the document once, in linear time. A document with svg, math, select,
frameset or template, where a tree decides what markup means, is left to `tree`.
"""

from sendback.rewriting.markup import QUOTES, TOKEN, Found, TooMany, conditional


def scan(document: bytes, *, outlook: bool = True, limit: int = 1_000_000) -> Found:
    """Every link element with an href, exactly as a conforming tokenizer would meet it.

    With `outlook` also those inside conditional comments, the href of VML shapes among them.
    Raises TooMany beyond `limit`, and Malformed when the document needs a tree (`tree`) that would
    take too long to build.
    """
    found = Found()
    anchors = found.anchors
    for match in TOKEN.finditer(document):
        kind = match.lastindex
        if kind == 1:
            start, end = match.span(1)
            value_start, value_end = match.span(2)
            if document[value_start] in QUOTES:
                anchors.append((start, value_start + 1, value_end - 1, end))
            else:
                anchors.append((start, value_start, value_end, end))
            if len(anchors) > limit:
                raise TooMany(f"more than {limit} links in one part")
        elif kind == 5:
            if outlook:
                anchors.extend(conditional(document, *match.span(5)))
                if len(anchors) > limit:
                    raise TooMany(f"more than {limit} links in one part")
        elif kind == 3:
            if found.body_end < 0:
                found.body_end = match.start(3)
        elif kind == 4:
            found.opentag = found.opentag or match.span(4)
        elif kind == 6:
            from sendback.rewriting import tree  # html5lib takes a while to load: few need it

            return tree.scan(document, outlook=outlook, limit=limit)
        elif kind == 7:
            found.closed = False
    return found
