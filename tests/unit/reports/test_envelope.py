"""Messages taken apart: parts, charsets, HTML; the standard library as a cross-check."""

import email
import email.policy
from pathlib import Path

import pytest

from sendback.reports.addresses import clean_address, find_address
from sendback.reports.envelope import decode_text, decode_words, open_mail, strip_html

CORPUS = Path(__file__).parents[2] / "corpus" / "reports"


def _is_well_formed(path: Path) -> bool:
    message = email.message_from_bytes(path.read_bytes(), policy=email.policy.compat32)
    return not any(part.defects for part in message.walk())


WELL_FORMED = list(filter(_is_well_formed, sorted(CORPUS.glob("*.eml"))))


@pytest.mark.parametrize("path", WELL_FORMED, ids=lambda path: path.stem)
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


def test_most_of_the_corpus_is_well_formed():
    assert len(WELL_FORMED) > 350


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


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("anna@example.net<mailto:anna@example.net>", "anna@example.net"),
        ("送信先メールアドレス\uff1aanna@example.net", "anna@example.net"),
        ("宛先anna@example.netは存在しません", "anna@example.net"),
        ("anna@example.net\uff08550", "anna@example.net"),
        ("<用户@例子.example>", "用户@例子.example"),
        ("ännä@exämple.net.", "ännä@exämple.net"),
        ("🐈@example.net", "🐈@example.net"),
    ],
)
def test_an_address_ends_where_other_letters_begin(text, address):
    assert find_address(text) == address


@pytest.mark.parametrize(
    ("field", "address"),
    [
        ('rfc822; "anna b"@example.net', '"anna b"@example.net'),
        ("unknown; anna@example.net", "anna@example.net"),
        ("RFC822 ; <anna@example.net>", "anna@example.net"),
        ("x400; /C=US/S=anna/", ""),
    ],
)
def test_fields_of_odd_types(field, address):
    assert clean_address(field) == address
