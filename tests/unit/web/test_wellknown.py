"""Association files by Host, and robots.txt (S4.24, S4.25)."""

import pytest

AASA = b'{ "applinks": {\n "details": []} }'
ASSET_LINKS = '[{"relation": ["é"]}]'.encode()


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/.well-known/apple-app-site-association", AASA),
        ("/apple-app-site-association", AASA),
        ("/.well-known/assetlinks.json", ASSET_LINKS),
    ],
)
@pytest.mark.parametrize(
    "host",
    ["links.example.com", "Links.Example.COM", "links.example.com:8443", "links.example.com."],
)
def test_the_document_goes_out_octet_by_octet(node, path, document, host):  # S4.24 S4.25 R53
    got = node.ask(path, HTTP_HOST=host)

    assert (got.status, got.body) == (200, document)
    assert got["Content-Type"] == "application/json"
    assert got["Content-Length"] == str(len(document))
    head = node.ask(path, "HEAD", HTTP_HOST=host)
    assert (head.status, head.headers, head.body) == (200, got.headers, b"")


@pytest.mark.parametrize(
    "host",
    ["plain.example.com", "bare.example.com", "unknown.example", "10.0.0.1", "", None, "[::1]",
     "a" * 300, "links.example.com.evil.example", "links.example.com\x00", "..", "\xff\xfe"],
)  # fmt: skip
def test_no_tls_no_document_no_domain_is_not_found(node, host):  # S4.25
    for path in ("/.well-known/apple-app-site-association", "/.well-known/assetlinks.json"):
        got = node.ask(path, HTTP_HOST=host)
        assert (got.status, got["Location"]) == (404, "")


@pytest.mark.parametrize(
    "host", ["xn--bcher-kva.example", "BÜCHER.example".encode().decode("latin-1")]
)
def test_an_international_domain_by_either_spelling(node, host):
    assert node.ask("/.well-known/assetlinks.json", HTTP_HOST=host).body == b"[]"
    assert node.ask("/.well-known/apple-app-site-association", HTTP_HOST=host).status == 404


def test_a_trusted_proxy_may_name_the_host(make_node):  # S4.25
    node = make_node(proxies=("203.0.113.0/24",))
    forwarded = {"HTTP_HOST": "backend", "HTTP_X_FORWARDED_HOST": "links.example.com"}
    path = "/.well-known/assetlinks.json"

    assert node.ask(path, **forwarded).status == 200
    assert node.ask(path, REMOTE_ADDR="198.51.100.7", **forwarded).status == 404


def test_robots_may_read_the_association_files_only(node):
    got = node.ask("/robots.txt", HTTP_HOST="any.example")

    assert got["Content-Type"].startswith("text/plain")
    assert got.text.splitlines() == [
        "User-agent: *",
        "Allow: /.well-known/",
        "Allow: /apple-app-site-association",
        "Disallow: /",
    ]
