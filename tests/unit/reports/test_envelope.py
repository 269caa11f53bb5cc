"""Messages taken apart: parts, charsets, HTML; the standard library as a cross-check."""

import email
import email.policy
from pathlib import Path

import pytest

from sendback.reports.addresses import clean_address, find_address
from sendback.reports.envelope import decode_text, decode_words, open_mail, strip_html

CORPUS = Path(__file__).parents[2] / "corpus" / "reports"


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.eml")), ids=lambda path: path.stem)
def test_well_formed_mime_is_split_as_the_standard_library_does(path):
    raw = path.read_bytes()
    whole = email.message_from_bytes(raw, policy=email.policy.compat32)

    def leaves(part):
        if part.get_content_maintype() == "multipart":
            for child in part.get_payload():
                yield from leaves(child)
        else:
            yield part.get_content_type()

    found = [part.kind for part in open_mail(raw).parts if part.kind != "preamble"]

    assert found == list(leaves(whole))


def test_html_becomes_lines():
    text = strip_html(
        "<html><style>p {}</style><p>Dear &lt;a@b.c&gt;<br>no <b>such</b> user</p><script>x"
    )

    assert [line.strip() for line in text.split("\n") if line.strip()] == [
        "Dear <a@b.c>",
        "no such user",
    ]


def test_an_address_in_brackets_survives_html():
    assert "<a@b.example>" in strip_html("<p>user <a@b.example> unknown</p>")


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        ("日本語".encode("iso2022_jp"), "iso-2022-jp", "日本語"),
        ("日本語".encode("iso2022_jp"), "us-ascii", "日本語"),
        ("письмо".encode("koi8-r"), "koi8-r", "письмо"),
        ("é".encode("latin-1"), "no-such-charset", "é"),
        ("é".encode(), "", "é"),
    ],
)
def test_charsets(data, charset, text):
    assert decode_text(data, charset) == text


def test_encoded_words():
    assert decode_words("=?utf-8?B?w6k=?= =?iso-8859-1?Q?=E9_x?=") == "éé x"


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ("rfc822; <a@b.example>", "a@b.example"),
        ("RFC822;a@b.example", "a@b.example"),
        ("a@b.example", "a@b.example"),
        ("rfc822;@relay.example:a@b.example", "a@b.example"),
        ("utf-8; j\\x{F6}rg@b.example", "jörg@b.example"),
        ("rfc822; a+40b.example", "a@b.example"),
        ("x400; /RFC-822=a(a)b.example/ADMD= /C=WW/", ""),
        ("rfc822;|/usr/bin/cat a@b.example /home", "a@b.example"),
    ],
)
def test_recipient_fields(field, address):
    assert clean_address(field) == address


def test_addresses_in_text():
    assert find_address("to <a.b+c@d-e.example>, now.") == "a.b+c@d-e.example"
    assert find_address("at a@b.example.") == "a@b.example"
    assert find_address("none @ all") == ""
