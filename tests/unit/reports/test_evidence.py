"""Identity evidence: folded, quoted, QP-mangled, in HTML, in base64; SRS and BATV unwrapped."""

import base64
import quopri

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendback.reports import parse, unwrap_srs_batv

TOKEN = "AbC-dEf_123" * 12
FOLDED = (
    f"X-Mailer-Info: 1.{TOKEN[:60]}\n {TOKEN[60:]}\n"
    f"X-Mailer-Info-Extra: {TOKEN[:50]}\n\t{TOKEN[50:]}\nTo: x\n"
)
HEAD = "From: MAILER-DAEMON@example.org\nSubject: failure notice\n"


def _qp(text: str) -> str:
    return quopri.encodestring(text.encode()).decode()


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + "\nbad\n\n--- Below this line is a copy of the message.\n\n" + FOLDED,
        HEAD + "\nbad\n\n" + "".join(f"> {line}\n" for line in FOLDED.splitlines()),
        HEAD + "\nbad\n\n" + "".join(f">> {line}\n" for line in FOLDED.splitlines()),
        HEAD
        + "Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n"
        + _qp(FOLDED),
        HEAD
        + "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(FOLDED.encode()).decode(),
        HEAD + "\nbad\n\n" + _qp(FOLDED),  # encoded, and nobody says so
        HEAD
        + "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nbad\n"
        + "--b\nContent-Type: message/rfc822\n\n"
        + FOLDED,
        (HEAD + "\nbad\n\n" + FOLDED).replace("\n", "\r\n"),
        HEAD + "\n" + FOLDED.replace("X-Mailer", "x-mailer"),
    ],
    ids=[
        "inline",
        "quoted",
        "quoted-twice",
        "qp",
        "base64",
        "qp-undeclared",
        "rfc822",
        "crlf",
        "lower-case",
    ],
)
def test_the_token_comes_back_whole(raw):
    report = parse(raw.encode())

    assert f"1.{TOKEN}" in report.mailer_info
    assert TOKEN in report.mailer_info_extra


def test_two_names_are_not_mixed_up():
    report = parse((HEAD + "\nbad\n\n" + FOLDED).encode())

    assert report.mailer_info == (f"1.{TOKEN}",)
    assert report.mailer_info_extra == (TOKEN,)


def test_a_token_ends_where_the_next_header_begins():
    report = parse((HEAD + "\n\nX-Mailer-Info: 1.abc\nSubject: no\n token\n").encode())

    assert report.mailer_info == ("1.abc",)


def test_return_paths_are_unwrapped():
    raw = (
        "Delivered-To: prvs=0123456789=b+tok1@bounce.example.com\n" + HEAD + "\nbad\n\n"
        "Return-Path: <SRS0=HHH=TT=bounce.example.com=b+tok2@forwarder.example>\n"
        "Received: from x (envelope-from <b+tok3@bounce.example.com>) by y\n"
    )

    paths = parse(raw.encode()).return_paths

    assert {f"b+tok{n}@bounce.example.com" for n in (1, 2, 3)} <= set(paths)


@pytest.mark.parametrize(
    ("wrapped", "plain"),
    [
        ("<a@b.example>", "a@b.example"),
        ("SRS0=abcd=12=b.example=a+x@f.example", "a+x@b.example"),
        ("srs0+abcd=12=b.example=a@f.example", "a@b.example"),
        ("SRS1=zz=g.example==abcd=12=b.example=a@f.example", "a@b.example"),
        ("prvs=1234abcdef=a@b.example", "a@b.example"),
        ("prvs=a/1234abcdef@b.example", "a@b.example"),
        ("btv1==0123456789==a@b.example", "a@b.example"),
        ("no at sign", "no at sign"),
        ("", ""),
    ],
)
def test_unwrapping(wrapped, plain):
    assert unwrap_srs_batv(wrapped) == plain


_LOCAL = st.text("abcdefghijklmnop0123456789+._-", min_size=1, max_size=40).filter(
    lambda text: not text.startswith(("srs", "prvs", "btv"))
)


@settings(max_examples=100, deadline=None)
@given(
    _LOCAL,
    st.sampled_from(["SRS0=aB3d=TT={d}={l}", "prvs=0123456789={l}", "btv1==0a1b2c3d4e=={l}"]),
)
def test_unwrapping_undoes_each_wrapping(local, form):
    domain = "b.example" if "{d}" not in form else "forwarder.example"
    wrapped = form.format(l=local, d="b.example") + "@" + domain

    assert unwrap_srs_batv(wrapped) == f"{local}@b.example"


def test_the_feedback_id_is_found():
    raw = HEAD + "\n\nCFBL-Feedback-ID: 111:222:\n 333:4444\n"

    assert parse(raw.encode()).feedback_ids == ("111:222:333:4444",)
