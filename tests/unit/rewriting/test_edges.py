# ruff: noqa: E501, Q000, Q003 - tables of raw messages read better on one line
"""The catalogue of edge cases (facts 4, reliability 7C), each under its name."""

import base64

import pytest

from sendback.rewriting import Options, Plan, headers, plan
from sendback.rewriting.text import scan, trimmed

LINK = b'<a href="http://e.example/">x</a>'
ALL = Options(track_text_links=True, unsubscribe_links=True, own_hosts=frozenset({"t.example"}))


def html(page: bytes, *, head: bytes = b"", charset: bytes = b"utf-8") -> bytes:
    return b"Content-Type: text/html; charset=%s\r\n%s\r\n%s" % (charset, head, page)


def text(body: bytes, *, parameters: bytes = b"") -> bytes:
    return b"Content-Type: text/plain; charset=utf-8%s\r\n\r\n%s" % (parameters, body)


def urls(raw: bytes, options: Options = ALL) -> list[str]:
    return [link.url for link in plan(raw, options).links]


def reasons(made: Plan) -> dict[str, int]:
    return {note.reason: note.count for note in made.notes if note.outcome == "left"}


def rendered(raw: bytes, options: Options = ALL, **more: str) -> bytes:
    made = plan(raw, options)
    return made.render([f"https://t.example/click?T{link.pos}" for link in made.links], **more)


# -- links ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("href", "reason"),
    [
        (b"mailto:a@e.example", "scheme"), (b"tel:1", "scheme"), (b"sms:1", "scheme"),
        (b"cid:1", "scheme"), (b"javascript:x()", "scheme"), (b"ftp://e/", "scheme"),
        (b"data:,x", "scheme"), (b"#x", "scheme"), (b"//e.example/", "scheme"), (b"x.html", "scheme"),
        (b"", "empty"), (b"{{merge}}", "scheme"), (b"http://e/{{ id }}", "placeholder"),
        (b"http://e/{% url %}", "placeholder"), (b"http://e/*|ID|*", "placeholder"),
        (b"http://e/[% id %]", "placeholder"), (b"http://e/%%id%%", "placeholder"),
        (b"http://e/<%= id %>", "placeholder"), (b"http://e/?" + b"x" * 9000, "too-long"),
        (b"https://t.example/click?x", "ours"), (b"https://T.example:443/uni/click?x", "ours"),
        (b"https://t.example/unsub?x", "ours"), (b"https://t.example/open?x", "ours"),
    ],
)  # fmt: skip
def test_left_links(href: bytes, reason: str) -> None:
    raw = html(b'<a href="' + href + b'">x</a>')
    made = plan(raw, ALL)
    assert made.links == ()
    assert reasons(made) == {reason: 1}
    assert made.render([]) == raw


@pytest.mark.parametrize(
    "href",
    [b"https://t.example/clicks?x", b"https://t.example/", b"https://x.t.example/click?x",
     b"HtTpS://e/", b"http://e/#part", b"http://e/?a[]=1&b=%20%", b"http://e/{x}"],
)  # fmt: skip
def test_tracked_links(href: bytes) -> None:
    assert urls(html(b'<a href="' + href + b'">x</a>')) == [href.decode()]


# S4.20, S4.21, S4.22
@pytest.mark.parametrize(
    ("attributes", "link_id"),
    [
        (b'data-ga-linkid="link123"', "link123"), (b"data-ga-linkid=link123 b=c", "link123"),
        (b"data-ga-linkid=link123", "link123"), (b"DATA-GA-LINKID='  a b  '", "a b"),
        (b'data-ga-linkid="a>b"', "a>b"), (b'data-ga-linkid="a&amp;b"', "a&b"),
        (b'data-ga-linkid="' + "\u00fc".encode() * 100 + b'"', "\u00fc" * 100),
        (b'data-ga-linkid="' + b"x" * 101 + b'"', None), (b'data-ga-linkid=" "', None),
        (b"data-ga-linkid", None), (b'data-ga-linkid="a" data-ga-linkid="b"', "a"),
        (b'data-ga-linkid="\xff"', None),
    ],
)  # fmt: skip
def test_link_ids(attributes: bytes, link_id: str | None) -> None:
    raw = html(b'<a href="http://e/" ' + attributes + b">x</a>")
    (link,) = plan(raw, ALL).links
    assert link.link_id == link_id
    assert attributes in rendered(raw)


@pytest.mark.parametrize(
    ("attributes", "tracked"),
    [
        (b"data-ga-notrack", False), (b'data-ga-notrack=""', False), (b"data-ga-notrack=false", False),
        (b'data-ga-linkid="x" data-ga-notrack', False), (b"DATA-GA-NOTRACK", False),
        (b"data-no-track", False), (b"clicktracking=off", False), (b"clicktracking=on", True),
        (b"ses:no-track", False), (b"disable-tracking=true", False), (b'mc:disable-tracking', False),
        (b'data-msys-clicktrack="0"', False), (b'data-msys-clicktrack="1"', True),
        (b'title="data-ga-notrack"', True), (b"data-ga-notracking", True),
    ],
)  # fmt: skip
def test_marks_that_forbid_tracking(attributes: bytes, tracked: bool) -> None:
    raw = html(b'<a href="http://e/" ' + attributes + b">x</a>")
    assert bool(plan(raw, ALL).links) == tracked
    assert attributes in rendered(raw)


def test_marks_count_behind_href_only() -> None:
    raw = html(b'<a data-ga-notrack data-ga-linkid=a universal="true" href="http://e/">x</a>')
    (link,) = plan(raw, ALL).links
    assert (link.link_id, link.universal) == (None, False)


@pytest.mark.parametrize(
    ("attributes", "universal"),
    [(b'universal="true"', True), (b"deeplink=TRUE", True), (b'universal="false" deeplink="true"', True),
     (b"universal", False), (b'universal="yes"', False)],
)  # fmt: skip
def test_universal(attributes: bytes, universal: bool) -> None:
    (link,) = plan(html(b'<a href="http://e/" ' + attributes + b">x</a>"), ALL).links
    assert link.universal == universal


def test_the_same_url_twice_is_told_apart() -> None:
    assert [link.pos for link in plan(html(LINK * 3)).links] == [1, 2, 3]


def test_visible_urls_may_be_left() -> None:
    raw = html(b'<a href="http://e/">\n http://shown.example</a>' + LINK)
    assert len(plan(raw).links) == 2
    assert urls(raw, Options(leave_visible_urls=True)) == ["http://e.example/"]


def test_non_ascii_href_is_read_in_the_charset_of_the_part() -> None:
    assert urls(html(b'<a href="http://e/\xfc">', charset=b"iso-8859-1")) == ["http://e/\u00fc"]
    assert urls(html(b'<a href="http://e/\xc3\xbc">')) == ["http://e/\u00fc"]
    lying = plan(html(b'<a href="http://e/\xfc">' + LINK))
    assert [link.url for link in lying.links] == ["http://e.example/"]
    assert reasons(lying) == {"charset": 1}


def test_tracked_urls_are_escaped_where_they_need_it() -> None:
    made = plan(html(b"<a href=http://e/>x</a>"))
    assert b"href=https://t/?a&#61;1&amp;b&#61;&quot;%20>" in made.render(['https://t/?a=1&b=" '])
    with pytest.raises(ValueError, match="1 links need as many URLs"):
        made.render([])


@pytest.mark.parametrize("encoding", [b"8bit", b"quoted-printable", b"base64"])
def test_a_place_without_a_url_stays(encoding: bytes) -> None:
    page = b"<a href=http://e/&amp;1>x</a><a href=http://e/2>y</a>"
    body = base64.encodebytes(page) if encoding == b"base64" else page
    raw = html(body, head=b"Content-Transfer-Encoding: " + encoding + b"\r\n")
    made = plan(raw)
    assert made.render([None, None]) == raw
    out = made.render([None, "https://t/c"])
    if encoding == b"base64":
        assert b"<a href=http://e/&amp;1>x</a><a href=https://t/c>" in base64.b64decode(
            out.partition(b"\r\n\r\n")[2]
        )
    else:
        assert b"<a href=http://e/&amp;1>x</a><a href=https://t/c>" in out


# -- unsubscribe ---------------------------------------------------------------------------


def test_unsubscribe_tag_before_a_url() -> None:
    raw = html(b'<a href="##unsubscribetag##http://e/u?x=1&amp;y">u</a>' + LINK)
    made = plan(raw, ALL)
    assert [(link.kind, link.url) for link in made.links] == [
        ("unsub", "http://e/u?x=1&y"), ("click", "http://e.example/"),
    ]  # fmt: skip
    assert b'<a href="https://t.example/click?T1">u</a>' in rendered(raw)
    assert urls(raw, Options()) == ["http://e.example/"]
    assert [
        link.kind for link in plan(raw, Options(unsubscribe_links=True, track_clicks=False)).links
    ] == ["unsub"]


def test_unsubscribe_tag_in_text() -> None:
    raw = text(b"x##unsubscribetag##http://e/u, or http://e/\r\n")
    only = Options(unsubscribe_links=True)
    assert [(one.kind, one.url, one.html_or_text) for one in plan(raw, only).links] == [
        ("unsub", "http://e/u", "t")
    ]
    assert rendered(raw, only).endswith(b"xhttps://t.example/click?T1, or http://e/\r\n")
    assert urls(raw, Options(track_text_links=True)) == ["http://e/"]


# -- pixel, S4.4 ---------------------------------------------------------------------------

PIXEL = b'<img src="https://t.example/open?P"'


@pytest.mark.parametrize(
    ("page", "before"),
    [
        (b"a<opentag>b<opentag/></body>", b"a|b<opentag/></body>"),
        (b"a<OPENTAG />b</body>", b"a|b</body>"),
        (b"a<!--<opentag>-->b</body>", b"a<!--<opentag>-->b|</body>"),
        (b"a<script><opentag></script>b</BODY >", b"a<script><opentag></script>b|</BODY >"),
        (b"a<![CDATA[<opentag>]]>b</body>", b"a<![CDATA[<opentag>]]>b|</body>"),
        (b"a</body><opentag>", b"a</body>|"),
        (b"a</opentag>b</body>", b"a</opentag>b|</body>"),
        (b"no body\r\n", b"no body\r\n|"),
        (b"a<p title='</body>'><!-- </body> -->b</body></body>",
         b"a<p title='</body>'><!-- </body> -->b|</body></body>"),
        (b"ends in <a href='", None), (b"<!-- unclosed", None), (b"<title>unclosed", None),
    ],
)  # fmt: skip
def test_place_of_the_pixel(page: bytes, before: bytes | None) -> None:
    raw = html(page)
    out = rendered(raw, pixel_url="https://t.example/open?P")
    if before is None:
        assert not plan(raw).wants_pixel
        assert out == raw
        return
    left, right = before.split(b"|")
    start = out.index(PIXEL)
    assert out[:start].endswith(b"\r\n\r\n" + left)
    assert out[out.index(b">", start) + 1 :] == right
    tag = out[start : out.index(b">", start) + 1]
    assert all(part in tag for part in (b'width="1"', b'height="1"', b'alt=""'))


def test_pixel_off_leaves_opentags() -> None:
    raw = html(b"a<opentag>b</body>")
    assert rendered(raw, Options(track_opens=False)) == raw
    assert plan(raw).render([]) == raw


def test_one_pixel_a_message_and_none_twice() -> None:
    raw = mixed(
        b"Content-Type: text/html\r\n\r\na</body>", b"Content-Type: text/html\r\n\r\nb</body>"
    )
    once = rendered(raw, pixel_url="https://t.example/open?P")
    assert once.count(PIXEL) == 1
    assert rendered(once, pixel_url="https://t.example/open?P") == once


def test_honeypot_link_is_hidden() -> None:
    out = rendered(
        html(b"a</body>"), Options(honeypot=True), honeypot_url="https://t.example/click?H"
    )
    assert b'<a href="https://t.example/click?H" rel="nofollow" tabindex="-1"' in out
    assert out.endswith(b"</a></body>")


@pytest.mark.parametrize("pixel", [True, False])
@pytest.mark.parametrize("encoding", [b"8bit", b"quoted-printable", b"base64"])
def test_honeypot_link_is_put_in_once(pixel: bool, encoding: bytes) -> None:
    body = base64.b64encode(b"a</body>") if encoding == b"base64" else b"a</body>"
    raw = html(body, head=b"Content-Transfer-Encoding: " + encoding + b"\r\n")
    options = Options(
        track_opens=pixel, honeypot=True, own_hosts=frozenset({"t.example"}), track_clicks=pixel
    )
    given = {"honeypot_url": "https://t.example/click?H", "pixel_url": "https://t.example/open?P"}
    once = rendered(raw, options, **given)
    assert once != raw
    again = plan(once, options)
    assert not again.wants_honeypot
    assert not again.wants_pixel
    assert again.render([], **given) == once


def test_somebody_elses_hidden_link_is_no_honeypot_of_ours() -> None:
    options = Options(honeypot=True, own_hosts=frozenset({"t.example"}))
    once = rendered(html(b"a</body>"), options, honeypot_url="https://other.example/click?H")
    assert plan(once, options).wants_honeypot


def test_amp_parts_need_https() -> None:
    raw = mixed(b"Content-Type: text/x-amp-html\r\n\r\n" + LINK + b"</body>")
    assert urls(raw) == []
    amp = Options(amp=True)
    made = plan(raw, amp)
    assert made.render(["http://t/click"], pixel_url="http://t/open") == raw
    assert made.placed(["http://t/click"]) == [None]
    assert made.placed(["https://t/click"], pixel_url="http://t/open") == [None]
    assert made.placed(["https://t/click"]) == ["https://t/click"]
    out = made.render(["https://t/click"], pixel_url="https://t/open")
    assert b'<amp-pixel src="https://t/open" layout="nodisplay"></amp-pixel></body>' in out


# -- MIME ----------------------------------------------------------------------------------


def mixed(*parts: bytes, kind: bytes = b"mixed", boundary: bytes = b"b") -> bytes:
    inner = b"".join(b"--%s\r\n%s\r\n" % (boundary, part) for part in parts)
    return b'Content-Type: multipart/%s; boundary="%s"\r\n\r\npre\r\n%s--%s--\r\npost http://e/\r\n' % (
        kind, boundary, inner, boundary,
    )  # fmt: skip


PART = b"Content-Type: text/html\r\n\r\n" + LINK


@pytest.mark.parametrize(
    ("raw", "skipped"),
    [
        (mixed(PART, kind=b"signed"), "signed"), (mixed(PART, kind=b"encrypted"), "encrypted"),
        (mixed(PART, kind=b"report"), "report"),
        (b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n\r\nx", "signed"),
        (b"Content-Type: application/x-pkcs7-mime\r\n\r\nx", "encrypted"),
        (html(b"<pre>\r\n-----BEGIN PGP MESSAGE-----\r\n" + LINK), "encrypted"),
        (html(b"-----BEGIN PGP SIGNED MESSAGE-----\r\n" + LINK), "signed"),
        (html(LINK, head=b"Auto-Submitted: auto-replied\r\n"), "report"),
        (html(LINK, head=b"ARC-Seal: i=1\r\n"), "signed"),
        (html(LINK, head=b"Content-Transfer-Encoding: base64\r\n"), "broken-mime"),
        (html(LINK, head=b"Content-Transfer-Encoding: x-uuencode\r\n"), "broken-mime"),
        (html(LINK, charset=b"utf-7"), "charset"), (html(LINK + b"\xff", charset=b"x-nosuch"), "charset"),
        (html(LINK, charset=b"rot13"), "charset"), (html(LINK, charset=b"cp037"), "charset"),
        (b"Content-Type: multipart/mixed\r\n\r\n--b\r\n" + PART, "broken-mime"),
        (b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n" + PART, "broken-mime"),
        (b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--b\r\n" + PART, "broken-mime"),
        (html(LINK, head=b"no field at all\r\n"), "broken-mime"),
    ],
)  # fmt: skip
def test_messages_never_touched(raw: bytes, skipped: str) -> None:
    made = plan(raw, ALL)
    assert (made.skipped, made.links, made.wants_pixel) == (skipped, (), False)
    assert made.render([], top_block=b"X-A: b\r\n") == b"X-A: b\r\n" + raw


@pytest.mark.parametrize(
    "part",
    [
        b"Content-Type: message/rfc822\r\n\r\n" + html(LINK),
        b"Content-Type: text/html\r\nContent-Disposition: attachment\r\n\r\n" + LINK,
        b"Content-Type: text/html\r\nContent-Disposition: inline; filename=x.html\r\n\r\n" + LINK,
        b"Content-Type: text/html; name=x.html\r\n\r\n" + LINK,
        b"Content-Type: text/calendar\r\n\r\nhttp://e/",
        b"Content-Type: application/xhtml+xml\r\n\r\n" + LINK,
    ],
)
def test_parts_never_entered(part: bytes) -> None:
    raw = mixed(part)
    assert rendered(raw, pixel_url="https://t.example/open?P") == raw
    assert len(plan(mixed(part, PART)).links) == 1


def test_no_html_at_all() -> None:
    raw = text(b"http://e/\r\n")
    made = plan(raw)
    assert (made.skipped, made.links, made.wants_pixel) == (None, (), False)


@pytest.mark.parametrize(
    "raw",
    [
        mixed(PART, boundary=b"b").replace(b"--b--", b""),
        mixed(PART).replace(b'"b"', b"b; x=y"), mixed(PART).replace(b'"b"', b"(c (d)) b"),
        mixed(PART).replace(b'boundary="b"', b"\r\n boundary=\r\n\t\"b\""),
        mixed(PART).replace(b'boundary="b"', b"boundary*=us-ascii'en'%62"),
        mixed(PART).replace(b'boundary="b"', b"boundary*0=b; boundary*1=\"\""),
        mixed(PART).replace(b"--b\r\n", b"--b \t\r\n"), mixed(PART).replace(b"\r\n", b"\n"),
        mixed(PART).replace(b"--b\r\n", b"--bb\r\n\r\n--b\r\n", 1),
        mixed(mixed(PART, boundary=b"b"), boundary=b"bb"), mixed(mixed(PART, boundary=b"bb")),
        mixed(mixed(PART, boundary=b"c").replace(b"--c--", b"")),
        mixed(PART).replace(b"Content-Type: multipart", b"Content-type : multipart"),
        mixed(PART) + b"Content-Type: text/html\r\n\r\n" + LINK,
        b"Content-Type: text/html\r\nContent-Type: text/plain\r\n\r\n" + LINK,
    ],
    ids=["no close", "token", "comment", "folded", "rfc2231", "rfc2231 parts", "blanks", "lf",
         "prefix of another", "prefix inside", "prefix outside", "inner close missing",
         "blank before colon", "epilogue", "duplicate content-type"],
)  # fmt: skip
def test_boundaries(raw: bytes) -> None:
    assert urls(raw, Options()) == ["http://e.example/"]


@pytest.mark.parametrize("depth", [19, 20, 100, 2000])
def test_nesting(depth: int) -> None:
    raw = PART
    for level in range(depth):
        raw = mixed(raw, boundary=b"n%d." % level)
    made = plan(raw)
    assert len(made.links) == (depth <= 20)
    assert made.skipped == (None if depth <= 20 else "broken-mime")


def test_ten_thousand_parts_and_long_boundaries() -> None:
    assert len(plan(mixed(*[PART] * 10_000)).links) == 10_000
    assert len(plan(mixed(PART, boundary=b"x" * 2049)).links) in (0, 1)


def test_too_big() -> None:
    made = plan(html(LINK), Options(max_bytes=50))
    assert (made.skipped, made.links) == ("too-big", ())


# -- encodings and charsets ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "url"),
    [
        (b'<a href=3D"http://e/=\r\nx">', "http://e/x"), (b'<a href=3D"=\r\nhttp://e/">', "http://e/"),
        (b'<a hr=\r\nef=3D"http://e/?a=3D1">', "http://e/?a=1"), (b'<a href=3D"http://e/=ZZ">', "http://e/=ZZ"),
        (b'<a href=3d"http://e/=c3=bc">', "http://e/\u00fc"), (b'<a href=3D=22http://e/=22>', "http://e/"),
        (b'<a href="http://e/">', "http://e/"), (b'<a href=3D"http://e/=\n">', "http://e/"),
        (b'=\rx\n<a href=3D"http://e/">', "http://e/"), (b'== <a href=3D"http://e/">', "http://e/"),
    ],
)  # fmt: skip
def test_quoted_printable(body: bytes, url: str) -> None:
    raw = html(
        body + b" =C3=BC=\r\n end=20\r\n", head=b"Content-Transfer-Encoding: Quoted-Printable\r\n"
    )
    assert urls(raw) == [url]
    out = rendered(raw)
    assert b"https://t.example/click?T1" in out.replace(b"=\r\n", b"")
    assert out.endswith(b" =C3=BC=\r\n end=20\r\n")


@pytest.mark.parametrize(
    ("codec", "label"),
    [("utf-16", b"utf-16"), ("utf-16-le", b"utf-16le"), ("utf-16-be", b"UTF-16BE"), ("utf-16-le", b"utf-16"),
     ("utf-16-be", b"utf-16")],
)  # fmt: skip
def test_utf_16(codec: str, label: bytes) -> None:
    page = '<p>\u3042<a href="http://e/\u00fc">x</a></body>\n'
    head = b"Content-Transfer-Encoding: base64\r\n"
    raw = html(base64.encodebytes(page.encode(codec)), head=head, charset=label)
    made = plan(raw)
    assert [link.url for link in made.links] == ["http://e/\u00fc"]
    out = made.render(["https://t/?a=1"], pixel_url="https://t/open")
    got = base64.b64decode(out.partition(b"\r\n\r\n")[2]).decode(codec)
    assert got.startswith('<p>\u3042<a href="https://t/?a&#61;1">x</a><img src="https://t/open"')


def test_iso_2022_jp_is_masked() -> None:
    page = '<p>\u3042\u3044</p><a href="http://e/">\u65e5\u672c</a>'.encode("iso-2022-jp")
    shifted = b'\x1b$B<a href="http://no/">\x1b(B'
    raw = html(shifted + page, charset=b"ISO-2022-JP")
    assert urls(raw) == ["http://e/"]
    assert rendered(raw).endswith(page.replace(b"http://e/", b"https://t.example/click?T1"))


def test_hz_and_iso_2022_kr_are_masked() -> None:
    assert urls(html(b'~{<a href="http://no/">~}<a href="http://e/">', charset=b"hz")) == [
        "http://e/"
    ]
    kr = b'\x1b$)C\x0e<a href="http://no/">\x0f<a href="http://e/">'
    assert urls(html(kr, charset=b"iso-2022-kr")) == ["http://e/"]


def test_multibyte_charsets() -> None:
    for codec in ("shift_jis", "euc-jp", "gb18030", "big5", "euc-kr"):
        page = '<p title="\u8868">\u4e2d<a href="http://e/">'.encode(codec, "replace")
        assert urls(html(page, charset=codec.encode())) == ["http://e/"]


def test_eight_bit_without_charset() -> None:
    raw = b"Content-Type: text/html\r\n\r\n<p>\xfc " + LINK
    assert urls(raw) == ["http://e.example/"]


# -- text parts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "url"),
    [
        (b"see http://e/a.", b"http://e/a"), (b"(http://e/a)", b"http://e/a"), (b"<http://e/a>", b"http://e/a"),
        (b"http://e/a_(b)", b"http://e/a_(b)"), (b"(http://e/a_(b))", b"http://e/a_(b)"),
        (b'"http://e/a"', b"http://e/a"), (b"*http://e/a*", b"http://e/a"), (b"http://e/a?!", b"http://e/a"),
        (b"http://e/?u=http://f/,", b"http://e/?u=http://f/"), (b"[http://e/a]", b"http://e/a"),
        (b"HTTPS://e/a", b"HTTPS://e/a"), (b"xhttp://e/a", None), (b"x+http://e/a", None),
        (b"http://", None), (b"http://...", None), (b"http://e/a\x0bb", b"http://e/a"),
    ],
)  # fmt: skip
def test_urls_in_text(line: bytes, url: bytes | None) -> None:
    found = [one.url for one in scan(line + b"\r\n", quoted=False, delsp=False)]
    assert found == ([url] if url else [])


def test_text_is_untouched_by_default_and_keeps_its_delimiters() -> None:
    raw = text(b"<http://e/a>, (http://e/b). \r\n> http://quoted/\r\n")
    assert urls(raw, Options()) == []
    out = rendered(raw)
    assert out.endswith(
        b"<https://t.example/click?T1>, (https://t.example/click?T2). \r\n> http://quoted/\r\n"
    )
    assert len(urls(raw, Options(track_text_links=True, track_quoted_text=True))) == 3


def test_delsp_joins_a_url_over_lines() -> None:
    raw = text(
        b"see http://e/long \r\npart.  \r\nMore\r\n", parameters=b"; format=flowed; DelSp=yes"
    )
    assert urls(raw) == ["http://e/longpart"]
    assert rendered(raw).endswith(b"see https://t.example/click?T1.  \r\nMore\r\n")
    flowed = text(b"see http://e/long \r\npart\r\n", parameters=b"; format=flowed")
    assert urls(flowed) == ["http://e/long"]


def test_notrack_in_html_covers_the_text() -> None:
    raw = mixed(
        b"Content-Type: text/plain\r\n\r\nhttp://e/private http://e/other",
        b'Content-Type: text/html\r\n\r\n<a href="http://e/private" data-ga-notrack>x</a>' + LINK,
        kind=b"alternative",
    )
    made = plan(raw, ALL)
    assert [(link.url, link.html_or_text, link.pos) for link in made.links] == [
        ("http://e/other", "t", 1), ("http://e.example/", "h", 2),
    ]  # fmt: skip


def test_brackets_are_trimmed_in_linear_time() -> None:
    assert trimmed(b"http://e/" + b")" * 200_000) == b"http://e/"


# -- headers -------------------------------------------------------------------------------


def test_control_headers_go_and_are_read() -> None:
    head = (
        b"X-GreenArrow-MailClass: news\r\nx-greenarrow-click-tracking-id : a\r\n b\r\nSubject: x\r\n"
        b"X-Sendback-Track: none\r\nX-GreenArrow-MailClass: other\r\nX-GreenArrows: stays\r\n"
    )
    made = plan(html(b"x", head=head), Options(track_opens=False))
    assert made.control == {
        "x-greenarrow-mailclass": "news",
        "x-greenarrow-click-tracking-id": "a b",
        "x-sendback-track": "none",
    }
    assert made.render([]) == html(b"x", head=b"Subject: x\r\nX-GreenArrows: stays\r\n")


def test_dkim_names_decide() -> None:
    head = (
        b"X-GreenArrow-SendID: s\r\nDKIM-Signature: a=b; h=From :\r\n X-GreenArrow-SendID; b=x\r\n"
    )
    raw = html(LINK, head=head)
    made = plan(raw)
    assert made.signed_headers == {"from", "x-greenarrow-sendid"}
    assert made.render([], top_block=b"X-A: b\r\n") == raw


def test_list_unsubscribe_pair() -> None:
    assert plan(html(b"", head=b"list-unsubscribe: <x>\r\n")).has_list_unsubscribe
    pair = headers.list_unsubscribe("https://t/unsub?x", mailto="mailto:u@t")
    assert pair == [
        ("List-Unsubscribe", "<mailto:u@t>, <https://t/unsub?x>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ]
    assert len(headers.list_unsubscribe("http://t/unsub?x")) == 1
    long = "https://links.example.com/unsub?" + "A" * 60
    folded = headers.block(headers.list_unsubscribe(long, mailto="mailto:u@links.example.com"))
    lines = folded.split(b"\r\n")
    assert max(map(len, lines)) >= 78 > len(lines[0])
    assert headers.unfold(folded.partition(b":")[2].partition(b"\r\nList-U")[0]) == (
        f"<mailto:u@links.example.com>, <{long}>"
    )


def test_token_fields_survive_folding() -> None:
    token = "A-_9" * 200
    field = headers.fold_token("X-Mailer-Info-Extra", token)
    assert max(map(len, field.split(b"\r\n"))) < 78
    for damaged in (field, field.replace(b"\r\n ", b"\r\n\t  "), field.replace(b"\r\n ", b" ")):
        assert headers.unfold_token(damaged.partition(b":")[2]) == token


def test_line_end_of_the_block_is_that_of_the_message() -> None:
    assert plan(html(b"x")).eol == b"\r\n"
    assert plan(html(b"x").replace(b"\r\n", b"\n")).eol == b"\n"


def test_mbox_line_first_is_no_header() -> None:
    raw = b"From a@e Mon Jan 1 00:00:00 2026\n" + html(LINK)
    made = plan(raw)
    assert (made.skipped, made.header_end_found) == ("broken-mime", False)
    assert made.render([], top_block=b"X-A: b\n") == raw


@pytest.mark.parametrize("raw", [b"", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b"a:\n", b"a:b\n\n"])
def test_tiny_messages(raw: bytes) -> None:
    assert plan(raw, ALL).render([]) == raw


UNSHIFTED = "\x85\xa0\u1680\u2003\u200b\u2028\u202f\u3000\ufeff"
BLANKS = [
    *[(blank, charset) for charset in ("utf-8", "utf-16", "gb18030") for blank in UNSHIFTED],
    ("\xa0", "iso-8859-1"), ("\x85", "iso-8859-1"), ("\xa0", "windows-1252"), ("\u3000", "shift_jis"),
    ("\u3000", "iso-2022-jp"), ("\u3000", "euc-kr"), ("\u3000", "big5"),
]  # fmt: skip


@pytest.mark.parametrize(("blank", "charset"), BLANKS)
def test_text_urls_end_at_blanks_of_every_kind(blank: str, charset: str) -> None:
    body = f"see http://e.example/a.{blank}b http://e.example/c".encode(charset)
    raw = (
        b"Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        % charset.encode()
    )
    made = plan(raw + body, ALL)
    assert [link.url for link in made.links] == ["http://e.example/a", "http://e.example/c"]
    out = made.render(["https://t.example/1", "https://t.example/2"])
    assert (
        out[len(raw) :].decode(charset) == f"see https://t.example/1.{blank}b https://t.example/2"
    )


def test_letters_beyond_ascii_stay_in_text_urls() -> None:
    assert urls(text("http://e.example/\u00fc\u00e0\u0160 x".encode())) == [
        "http://e.example/\u00fc\u00e0\u0160"
    ]


def test_a_blank_in_the_second_line_of_a_flowed_url() -> None:
    raw = text(
        "http://e.example/a \r\nb\u00a0c\r\n".encode(), parameters=b"; format=flowed; delsp=yes"
    )
    assert urls(raw) == ["http://e.example/ab"]
    assert rendered(raw).endswith("click?T1\u00a0c\r\n".encode())


def test_a_url_outside_ascii_is_escaped_and_never_a_question_mark() -> None:
    made = plan(html(LINK))
    assert b'https://t/%C3%BC?a&amp;b"' in made.render(["https://t/\u00fc?a&b"])
