"""Command arguments and PROXY headers, strictly."""

import ipaddress
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sendback.smtp import proxy, syntax

BAD = b"501 bad\r\n"


@pytest.mark.parametrize(
    "address",
    [
        "a@b.test",
        "a.b+c=d@b.test",
        "a..b.@docomo.test",
        '"a b"@b.test',
        r'"a\"b"@b.test',
        "a@[192.0.2.1]",
        "a@[IPv6:2001:db8::1]",
        "a@b_c.test",
        "ü@bücher.test",
        "a" * 64 + "@b.test",
        "a@localhost",
    ],
)
def test_mailboxes(address):
    assert syntax.is_mailbox(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a",
        "@b.test",
        "a@",
        "a@b..test",
        "a@-b.test",
        "a@b-.test",
        "a@b@c.test",
        "a b@c.test",
        "@x.test:a@b.test",
        "a@x.test,b@y.test",
        "a@b.test ",
        "a@b.test\0",
        "a\r@b.test",
        "a" * 65 + "@b.test",
        "ü" * 33 + "@b.test",
        "a@" + "b" * 64 + ".test",
        "a@" + ".".join(["b" * 60] * 5),
        '"a"b@c.test',
        "a@[1.2.3.4",
        "a%00@b .test",
    ],
)
def test_what_is_no_mailbox(address):
    assert not syntax.is_mailbox(address)


def test_paths():
    parse = syntax.path_and_parameters
    assert parse(b"FROM:<>", b"FROM:", BAD) == ("", [])
    assert parse(b"from: <a@b.test> SIZE=1 x", b"FROM:", BAD) == (
        "a@b.test",
        [("SIZE", "1"), ("X", None)],
    )
    assert parse(b'TO:<"a>b"@c.test>', b"TO:", BAD) == ('"a>b"@c.test', [])
    for wrong in (b"FROM:", b"FROM:a@b", b"FROM:<a@b>x", b"FROM:<a@b", b"FROM:\xff<a>", b"TO:<a>"):
        with pytest.raises(syntax.BadArgument):
            parse(wrong, b"FROM:", BAD)


@settings(max_examples=200)
@given(st.binary(max_size=60))
@example(b"FROM:<" + b'"' * 40)
def test_no_argument_is_a_fault(argument):
    try:
        address, parameters = syntax.path_and_parameters(argument, b"FROM:", BAD)
        syntax.is_mailbox(address)
        syntax.check_mail_parameters(parameters, 1000, auth=True)
        syntax.check_rcpt_parameters(parameters)
    except syntax.BadArgument as error:
        refusal = error.reply
    else:
        return
    assert refusal[:1] == b"5"
    assert refusal.endswith(b"\r\n")


def v2(command: int, family: int, body: bytes) -> bytes:
    return (
        proxy.SIGNATURE_V2 + bytes([0x20 | command, family]) + struct.pack("!H", len(body)) + body
    )


@settings(max_examples=100)
@given(st.ip_addresses(), st.binary(max_size=30))
def test_proxy_headers(address, rest):
    """Both versions give the address, however much of them has come, and never less."""
    is_v4 = address.version == 4
    family = 0x11 if is_v4 else 0x21
    text = f"PROXY TCP{'4' if is_v4 else '6'} {address} {address} 1 25\r\n".encode()
    for header in (text, v2(1, family, address.packed * 2 + b"\0\1\0\x19" + b"TLV")):
        assert proxy.parse(header + rest) == (len(header), str(address))
        for cut in range(len(header)):
            assert proxy.parse(header[:cut]) is None


@pytest.mark.parametrize(
    ("header", "length"),
    [(b"PROXY UNKNOWN\r\n", 15), (b"PROXY UNKNOWN ffff::1 x 1 2\r\n", 29), (v2(0, 0, b""), 16),
     (v2(1, 0, b"xx"), 18)],
)  # fmt: skip
def test_headers_without_an_address(header, length):
    assert proxy.parse(header + b"EHLO") == (length, None)


@pytest.mark.parametrize(
    "header",
    [
        b"EHLO x\r\n",
        b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2" + b" " * 100,
        v2(2, 0x11, bytes(12)),
        v2(1, 0x11, bytes(4)),
        v2(1, 0x31, bytes(216)),
        v2(1, 0x11, bytes(3000)),
        proxy.SIGNATURE_V2 + b"\x11\x11\0\x0c" + bytes(12),
        b"\r\n\r\n\0\r\nQUITX",
    ],
)
def test_bad_headers(header):
    with pytest.raises(proxy.BadHeader):
        proxy.parse(header)


@settings(max_examples=200)
@given(st.binary(max_size=120))
def test_no_header_is_a_fault(data):
    try:
        found = proxy.parse(data)
    except proxy.BadHeader:
        return
    if found is not None:
        assert 0 < found[0] <= len(data)
        assert found[1] is None or ipaddress.ip_address(found[1])
