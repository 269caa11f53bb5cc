# ruff: noqa: E501 - tables of markup read better on one line
"""Planning and rendering whole messages: bytes outside the places stay, places hold the URLs."""

import base64
import quopri

import pytest

from sendback.rewriting import Options, plan
from sendback.rewriting.bodies import QP_COLUMNS

PAGE = (
    '<html><body><p>Gr\u00fc\u00dfe = \u20ac</p>\n<a class="b" href="https://example.com/?a=1&amp;copy=2" '
    'data-ga-linkid=" one ">A</a>\n<a href=\'http://example.com/\u00fc\' universal="true">B</a>'
    '<a href="mailto:x@example.com">C</a> <area href=https://example.com/map>\n</body></html>\n'
).encode()
ENCODERS = {
    "8bit": lambda page: page,
    "quoted-printable": quopri.encodestring,
    "base64": base64.encodebytes,
}


def message(
    encoding: str, page: bytes = PAGE, *, eol: bytes = b"\r\n", extra: bytes = b""
) -> bytes:
    head = (
        b"From: a@example.com\nX-GreenArrow-MailClass: news\n" + extra + b"Subject: x\n"
        b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: "
        + encoding.encode()
        + b"\n\n"
    )
    return (head + ENCODERS[encoding](page)).replace(b"\n", eol)


def decoded(raw: bytes, encoding: str) -> bytes:
    body = raw.partition(b"\r\n\r\n")[2] if b"\r\n\r\n" in raw else raw.partition(b"\n\n")[2]
    if encoding == "8bit":
        return body
    return quopri.decodestring(body) if encoding != "base64" else base64.b64decode(body)


@pytest.mark.parametrize("eol", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("encoding", list(ENCODERS))
def test_places_are_filled_and_nothing_else_changes(encoding: str, eol: bytes) -> None:
    raw = message(encoding, eol=eol)
    made = plan(raw)
    assert [(link.url, link.link_id, link.pos, link.universal) for link in made.links] == [
        ("https://example.com/?a=1&copy=2", "one", 1, False),
        ("http://example.com/\u00fc", None, 2, True),
        ("https://example.com/map", None, 3, False),
    ]
    urls = [f"https://links.example.com/click?{'A' * 150}{pos}" for pos in range(3)]
    out = made.render(urls, pixel_url="https://links.example.com/open?B", top_block=b"X-A: b" + eol)
    want = decoded(raw, encoding)
    for old, new in zip(
        (
            "https://example.com/?a=1&amp;copy=2",
            "http://example.com/\u00fc",
            "https://example.com/map",
        ),
        urls,
        strict=True,
    ):
        want = want.replace(old.encode(), new.encode(), 1)
    got = decoded(out, encoding)
    start = got.index(b'<img src="https://links.example.com/open?B"')
    end = got.index(b">", start) + 1
    assert got[end:].startswith(b"</body>")
    assert got[:start] + got[end:] == want
    assert out.startswith(b"X-A: b" + eol + b"From: a@example.com" + eol + b"Subject: x" + eol)
    if encoding == "quoted-printable":
        assert max(len(line) for line in out.splitlines()) <= QP_COLUMNS


def test_a_message_without_header_end_comes_back() -> None:
    made = plan(b"Subject: x\r\n")
    assert (made.skipped, made.header_end_found) == ("broken-mime", False)
    assert made.render([], top_block=b"X-A: b\r\n") == b"Subject: x\r\n"


def test_signed_mail_keeps_its_body() -> None:
    raw = message("8bit", extra=b"DKIM-Signature: v=1; h=From:Subject; b=x\n")
    made = plan(raw)
    assert made.skipped == "signed"
    assert made.links == ()
    assert made.control == {"x-greenarrow-mailclass": "news"}
    want = b"X-A: b\r\n" + raw.replace(b"X-GreenArrow-MailClass: news\r\n", b"")
    assert made.render([], top_block=b"X-A: b\r\n") == want
    assert made.render([], top_block=b"Subject: b\r\n") == raw
    assert len(plan(raw, Options(on_dkim="rewrite")).links) == 3
