"""Tells whether a tree builder could make a difference to what the scanner found.

Inside svg and math, in select, frameset and template, the tree builder decides whether `<style>`
and its kind hold raw text, and whether `<![CDATA[` is a section or a bogus comment (13.2.6). Both
readings are tried at each such place. Where they meet again with nothing of interest between, no
tree is needed; where they don't, the document is left alone.
"""

import re
from typing import Final

from sendback.rewriting import html

_RAW: Final = b"|".join(html.RAW_TEXT)
_NAMES: Final = b"script|plaintext|" + _RAW
_END: Final = rb"[\t\n\f\r />]"
_ORDINARY: Final = html.COMMENT + rb"|(?!<!\[CDATA\[)" + html.BOGUS_COMMENT + rb"|<(?![A-Za-z/!?])"
#: Up to the next place where readings may part: 1 a raw text element, 2 a CDATA section.
_STEP: Final = re.compile(
    rb"(?:[^<]++|(?!<(?i:" + _NAMES + rb")" + _END + rb")" + html.START_TAG
    + rb"|" + html.END_TAG + rb"|" + _ORDINARY + rb")*+"
    rb"(?:(" + html.tag(_NAMES) + rb")|(<!\[CDATA\[))?+"
)  # fmt: skip
#: Markup that holds nothing of interest, read as ordinary text and tags.
_QUIET: Final = re.compile(
    rb"(?:[^<]++|(?!<(?i:a|area|opentag|" + _NAMES + rb"|" + b"|".join(html.STEERING) + rb")"
    + _END + rb")" + html.START_TAG
    + rb"|(?!</(?i:body)" + _END + rb")" + html.END_TAG
    + rb"|(?!<!--\[[iI][fF])(?:" + _ORDINARY + rb"))*+"
)  # fmt: skip
_CONTENT: Final = {
    b"script": re.compile(html.SCRIPT_DATA),
    **{name: re.compile(html.raw_text(name)) for name in html.RAW_TEXT},
}
_NAME: Final = re.compile(rb"[A-Za-z]+")


def is_settled(document: bytes, at: int) -> bool:
    """Whether all behind `at`, a place between tags, reads the same with and without a tree."""
    while True:
        step = _STEP.match(document, at)
        assert step is not None
        if step[1] is not None:
            found = _NAME.match(document, step.start(1) + 1)
            assert found is not None
            content = _CONTENT.get(found[0].lower())
            if content is None:
                return False  # plaintext, or not
            inside = step.end(1)
            raw = content.match(document, inside)
            assert raw is not None
            at = raw.end()
            if at == len(document):
                return False
        elif step[2] is not None:
            close = document.find(b"]]>", step.end(2))
            if close < 0:
                return False
            at = close + 3
            inside = document.find(b">", step.end(2)) + 1
        else:
            return True
        quiet = _QUIET.match(document, inside, at)
        assert quiet is not None
        if quiet.end() != at:
            return False
