"""Client address and host through trusted proxies, from the right (W12, R50)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendback.web.visitor import TrustedProxies, address_of, host_name

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8:1::/48"])


def client(peer: str, forwarded: str = "", host: str = "link", forwarded_host: str = ""):
    environ = {"REMOTE_ADDR": peer, "HTTP_HOST": host}
    if forwarded:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    if forwarded_host:
        environ["HTTP_X_FORWARDED_HOST"] = forwarded_host
    return PROXIES.client(environ)


@pytest.mark.parametrize(
    ("peer", "forwarded", "ip"),
    [
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.1.1.1", "198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.1.1.1", "198.51.100.1, 10.2.2.2", "198.51.100.1"),
        ("10.1.1.1", "6.6.6.6,198.51.100.1,10.2.2.2,2001:db8:1::9", "198.51.100.1"),
        ("::ffff:10.1.1.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("2001:db8:1::1", "2001:DB8:2::1", "2001:db8:2::1"),
        ("10.1.1.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.1.1.1", "[2001:db8:2::1]:4711", "2001:db8:2::1"),
        ("10.1.1.1", "", "10.1.1.1"),
        ("10.1.1.1", "10.9.9.9", "10.9.9.9"),
        ("10.1.1.1", "198.51.100.1, unknown", "10.1.1.1"),
        ("10.1.1.1", "198.51.100.1, junk, 10.2.2.2", "10.2.2.2"),
        ("10.1.1.1", "198.51.100.1, 010.2.2.2", "10.1.1.1"),
        ("10.1.1.1", "1.2.3", "10.1.1.1"),
        ("10.1.1.1", " , ,", "10.1.1.1"),
        ("10.1.1.1", "1.1.1.1," * 5_000 + "198.51.100.1", "198.51.100.1"),
        ("", "198.51.100.1", ""),
        ("unix:", "198.51.100.1", "unix:"),
    ],
)
def test_the_rightmost_stranger_is_the_client(peer, forwarded, ip):
    assert client(peer, forwarded)[0] == ip


@pytest.mark.parametrize(
    ("peer", "forwarded", "forwarded_host", "host"),
    [
        ("192.0.2.1", "", "evil.example", "link"),
        ("10.1.1.1", "", "links.example.com", "links.example.com"),
        ("10.1.1.1", "198.51.100.1", "evil.example, links.example.com", "links.example.com"),
        ("10.1.1.1", "198.51.100.1, 10.2.2.2", "evil.example, a.example, inner", "a.example"),
        ("10.1.1.1", "198.51.100.1, 10.2.2.2", "a.example", "a.example"),
        ("10.1.1.1", "", "", "link"),
    ],
)
def test_each_trusted_hop_vouches_for_one_host(peer, forwarded, forwarded_host, host):
    assert client(peer, forwarded, forwarded_host=forwarded_host)[1] == host


def test_without_trusted_proxies_headers_say_nothing():
    nobody = TrustedProxies()
    environ = {
        "REMOTE_ADDR": "::ffff:192.0.2.1",
        "HTTP_HOST": "link",
        "HTTP_X_FORWARDED_FOR": "198.51.100.1",
        "HTTP_X_FORWARDED_HOST": "evil.example",
        "HTTP_X_FORWARDED_PROTO": "https",
    }

    assert nobody.client(environ) == ("192.0.2.1", "link")
    assert nobody.scheme(environ) == "http"
    visitor = nobody.visitor(environ)
    assert (visitor.ip, visitor.host) == ("192.0.2.1", "link")


@given(st.text(alphabet="0123456789abcdef.:,[] %x", max_size=60))
def test_no_header_breaks_the_walk(forwarded):
    ip, _ = client("10.1.1.1", forwarded)

    assert address_of(ip) == ip


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A.example:80", "a.example"),
        ("a.example.", "a.example"),
        ("", ""),
        ("[::1]:80", ""),
        ("a b", ""),
        ("x" * 254, ""),
        ("-a.example", ""),
        ("a..b", ""),
    ],
)
def test_host_names(text, name):
    assert host_name(text) == name
