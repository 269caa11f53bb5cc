"""Throughput of rewriting: newsletters of 58 KB, 35 to 90 links, sealed tokens; and hostile input.

    .venv/bin/python tests/bench/bench_rewriting.py [seconds]

CPU time of one core (process_time), every message different, planned and rendered once each.
The same work through Python's `email` package runs beside it, message by message.
"""

import base64
import email
import email.policy
import itertools
import os
import quopri
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sendback.rewriting import Options, html, links, plan
from sendback.rewriting.charsets import PLAIN

CORPUS = Path(__file__).parents[3] / "shared/corpus/html"
GOAL = 2500
BASE = "https://links.example.com/click?"
OPTIONS = Options(unsubscribe_links=True, own_hosts=frozenset({"links.example.com"}))
try:
    from sendback import tokens
    from sendback.secret_constants import Keyring, Purpose  # noqa: F401
except ImportError:
    tokens = None


class Sealer:
    """Stateless tokens as sendback makes them: ids, address and URL sealed with AES-SIV."""

    def __init__(self) -> None:
        self._siv = AESSIV(os.urandom(32))
        self._to_url = bytes.maketrans(b"+/", b"-_")

    def __call__(self, rcpt: str, url: str, pos: int) -> str:
        body = f"{rcpt}\0news20261122\0news\0{pos}\0{url}".encode()
        sealed = b"\x01\x07" + self._siv.encrypt(body, [b"\x01\x07"])
        text = base64.b64encode(sealed).translate(self._to_url).rstrip(b"=")
        return BASE + text.decode("ascii")


def newsletters() -> list[bytes]:
    """HTML pages of 46 to 66 KB with 35 to 90 links, made of real templates or of our own block."""
    random_ = random.Random(7)
    blocks = []
    if CORPUS.is_dir():
        for path in sorted(CORPUS.iterdir()):
            page = path.read_bytes()
            start, end = page.find(b"<body"), page.find(b"</body>")
            if 0 < start < end and 4000 < end - start < 30000 and b"http" in page:
                blocks.append(page[page.find(b">", start) + 1 : end])
    if not blocks:
        cell = (
            b'<table width="600" cellpadding="0" cellspacing="0" border="0"><tr><td align="left" '
            b'style="font-family:Arial,Helvetica,sans-serif;font-size:14px;color:#333333">Text of '
            b"a paragraph that says something about an offer.<br/>It has two lines.</td></tr>\n"
        )
        blocks = [cell * 40]
    link = (
        b'<tr><td align="center" class="btn" style="padding:12px 18px 12px 18px"><a class="button" '
        b'href="https://shop.example.com/products/%d?utm_source=news&amp;utm_campaign=%d" '
        b'style="color:#ffffff;text-decoration:none" target="_blank">Look at it</a></td></tr>\n'
    )
    pages = []
    for _ in range(200):
        if len(pages) == 24:
            break
        wanted = random_.randint(35, 90)
        size = random_.randint(46_000, 66_000)
        body = b""
        while len(body) < size - wanted * len(link):
            body += random_.choice(blocks)
        body = body[: size - wanted * len(link)]
        body = body[: body.rfind(b"<")]
        have = len(html.scan(b"<html><body>" + body).anchors)
        at = 0
        step = max(1, len(body) // wanted)
        pieces = []
        for number in range(max(5, wanted - have)):
            cut = body.find(b"<t", at + step)
            if cut < 0:
                cut = len(body)
            pieces += (body[at:cut], link % (number, len(pages)))
            at = cut
        pieces.append(body[at:])
        page = b"<html><head><title>x</title></head><body>%s</body></html>\n" % b"".join(pieces)
        if 35 <= len(plan(message(page, "8bit", 0)).links) <= 90:
            pages.append(page)
    return pages


def message(page: bytes, encoding: str, number: int) -> bytes:
    page = page.replace(b"<body>", b"<body><p>Dear reader %d</p>\n" % number).replace(
        b"\r\n", b"\n"
    )
    text = b"Dear reader %d,\n\nsee https://shop.example.com/ for offers.\n" % number * 20
    if encoding == "quoted-printable":
        body = quopri.encodestring(page)
    elif encoding == "base64":
        body = base64.encodebytes(page)
    else:
        body = page
    head = b"".join(
        b"%s: %s\n" % pair
        for pair in (
            (
                b"Received",
                b"from app.example.com by mail.example.com; Sun, 22 Nov 2026 10:00:00 +0000",
            ),
            (b"From", b"News <news@example.com>"),
            (b"To", b"reader%d@example.org" % number),
            (b"Subject", b"=?utf-8?q?The_news?= of the week"),
            (b"Message-ID", b"<%d.x@example.com>" % number),
            (b"Date", b"Sun, 22 Nov 2026 10:00:00 +0000"),
            (b"X-GreenArrow-MailClass", b"news"),
            (b"MIME-Version", b"1.0"),
            (b"Content-Type", b'multipart/alternative; boundary="=_b%d"' % number),
        )
    )
    parts = (
        b"\n--=_b%d\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n%s"
        b"\n--=_b%d\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: %s\n\n%s"
        b"\n--=_b%d--\n" % (number, text, number, encoding.encode(), body, number)
    )
    return (head + parts).replace(b"\n", b"\r\n")


BLOCK = b"List-Unsubscribe: <https://links.example.com/unsub?AAAA>\r\nX-Mailer-Info: 10.A.B\r\n"


def spliced(raw: bytes, rcpt: str, seal: Sealer) -> bytes:
    made = plan(raw, OPTIONS)
    urls = [seal(rcpt, link.url, link.pos) for link in made.links]
    return made.render(urls, pixel_url=BASE + "pixel", top_block=BLOCK)


def through_email(raw: bytes, rcpt: str, seal: Sealer) -> bytes:
    """The same work the usual way: parse, decode, replace, set_payload, generate."""
    parsed = email.message_from_bytes(raw, policy=email.policy.compat32)
    for part in parsed.walk():
        if part.get_content_type() != "text/html":
            continue
        encoding = part["Content-Transfer-Encoding"]
        page = part.get_payload(decode=True)
        found = html.scan(page)
        pieces, at = [], 0
        tracked = links.in_html(page, page, found.anchors, PLAIN, OPTIONS)
        for pos, one in enumerate((one for one in tracked if not one.reason), 1):
            pieces += (page[at : one.start], seal(rcpt, one.url, pos).encode())
            at = one.end
        end = found.body_end if found.body_end >= 0 else len(page)
        pieces += (page[at:end], b'<img src="' + BASE.encode() + b'pixel">', page[end:])
        page = b"".join(pieces)
        if encoding == "base64":
            part.set_payload(base64.encodebytes(page).decode())
        elif encoding == "quoted-printable":
            part.set_payload(quopri.encodestring(page).decode())
        else:
            part.set_payload(page.decode("ascii", "surrogateescape"))
    del parsed["X-GreenArrow-MailClass"]
    parsed["List-Unsubscribe"] = "<https://links.example.com/unsub?AAAA>"
    parsed["X-Mailer-Info"] = "10.A.B"
    return parsed.as_bytes(policy=email.policy.compat32.clone(linesep="\r\n"))


def rate(work: Callable[[bytes, str, Sealer], bytes], raws: list[bytes], seconds: float) -> float:
    seal = Sealer()
    done = 0
    start = time.process_time()
    for raw in itertools.cycle(raws):
        work(raw, "reader@example.org", seal)
        done += 1
        if done % len(raws) == 0 and time.process_time() - start > seconds:
            break
    return done / (time.process_time() - start)


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "unclosed tags": lambda n: b"<a " * (n // 3),
    "open quotes": lambda n: b'<a href="' * (n // 9),
    "single quotes": lambda n: b"<a href='" * (n // 9),
    "comment dashes": lambda n: b"<!--" + b"-" * (n - 4),
    "comment openings": lambda n: b"<!--" * (n // 4),
    "half comment ends": lambda n: b"<!--" + b"--!" * (n // 3),
    "conditional comments": lambda n: b"<!--[if mso]>" * (n // 13),
    "closed conditionals": lambda n: b"<!--[if mso]><a href='http://e'-->" * (n // 34),
    "script escapes": lambda n: b"<script><!--" + b"<script>" * (n // 8),
    "script dashes": lambda n: b"<script><!--" + b"-" * n,
    "raw text ends": lambda n: b"<title>" + b"</titl" * (n // 6),
    "textarea openings": lambda n: b"<textarea>" * (n // 10),
    "attributes": lambda n: b"<a " + b"x=y " * (n // 4) + b">",
    "equals": lambda n: b"<a " + b"=" * n,
    "slashes": lambda n: b"<a" + b"/" * n,
    "links": lambda n: b"<a href=http://e/>" * (n // 18),
    "long link": lambda n: b"<a href='http://e/" + b"x" * n + b"'>",
    "references": lambda n: b"<a href='http://e/" + b"&amp" * (n // 4) + b"'>",
    "digits": lambda n: b"<a href='http://e/&#" + b"9" * n + b"'>",
    "placeholders": lambda n: b"<a href='http://e/" + b"{{" * (n // 2) + b"'>",
    "less-thans": lambda n: b"<" * n,
    "ends": lambda n: b"</" * (n // 2),
    "svg openings": lambda n: b"<svg>" * (n // 5) + b"<style>",
    "svg cdata": lambda n: b"<svg>" + b"<![CDATA[" * (n // 9),
    "tree, much text": lambda n: b"<svg></svg>" + b"x" * n,
    "tree, quarter": lambda n: b"<svg></svg>" + b"<p>" * (n // 12),
    "tree, tables": lambda n: b"<svg></svg>" + b"<table>x" * (n // 40),
    "tree, formatting": lambda n: b"<svg></svg>" + b"<h1><b x=%d></h1>" * (n // 80),
    "tree, links": lambda n: b"<svg></svg>" + b"<a href=http://e/>" * (n // 80),
    "tree, ends": lambda n: b"<select></select>" + b"</p>" * (n // 16),
}


def hostile(size: int) -> None:
    worst = 0.0
    for encoding in ("8bit", "quoted-printable"):
        for name, make in HOSTILE.items():
            raw = b"Content-Type: text/html\nContent-Transfer-Encoding: %s\n\n%s" % (
                encoding.encode(), make(size),
            )  # fmt: skip
            start = time.process_time()
            made = plan(raw)
            made.render(
                ["https://e.example/click?x"] * len(made.links), pixel_url="https://e/open?x"
            )
            spent = time.process_time() - start
            worst = max(worst, spent)
            if spent > 0.05:
                print(f"    {name}, {encoding}: {spent * 1000:.0f} ms")
    print(f"  worst of {2 * len(HOSTILE)} at {size >> 10} KB: {worst * 1000:.0f} ms (goal <= 100)")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    pages = newsletters()
    by_encoding = {
        encoding: [message(page, encoding, number) for number, page in enumerate(pages)]
        for encoding in ("8bit", "quoted-printable", "base64")
    }
    decoded = sum(map(len, pages)) / len(pages)
    counts = [len(plan(raw).links) for raw in by_encoding["8bit"]]
    print(f"rewriting: {decoded / 1000:.0f} KB of HTML, {min(counts)}-{max(counts)} links")
    ours, theirs = {}, {}
    for encoding, raws in by_encoding.items():
        size = sum(map(len, raws)) / len(raws) / 1000
        ours[encoding] = rate(spliced, raws, seconds)
        theirs[encoding] = rate(through_email, raws, seconds)
        print(
            f"  {encoding:17} {size:3.0f} KB  {ours[encoding]:6.0f} msg/s"
            f"  email package {theirs[encoding]:5.0f}  x{ours[encoding] / theirs[encoding]:.1f}"
        )
    mixed = 3 / sum(1 / one for one in ours.values())
    usual = 3 / sum(1 / one for one in theirs.values())
    print(
        f"  mix                       {mixed:6.0f} msg/s  (goal {GOAL})  email package {usual:.0f}"
        f"  x{mixed / usual:.1f} (goal x5)"
    )
    one = by_encoding["quoted-printable"][0]
    made = plan(one, OPTIONS)
    urls = [BASE + "A" * 200] * len(made.links)
    start = time.process_time()
    for _ in range(300):
        made.render(urls, pixel_url=BASE, top_block=BLOCK)
    print(f"  render alone, quoted-printable: {300 / (time.process_time() - start):.0f} msg/s")
    hostile(1 << 20)
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")


if __name__ == "__main__":
    main()
