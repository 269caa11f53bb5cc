"""Clicks and opens, answer by answer (CONTRACT section 6)."""

import pytest

from sendback.journal import Level
from sendback.model import Hint, UrlDomain, VisitKind

W10 = {
    "Cache-Control": "no-store, private, max-age=0",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "X-Content-Type-Options": "nosniff",
}


def test_click_redirects_to_the_exact_destination_and_is_recorded(node):  # S0.19
    got = node.ask("/click?click")

    assert got.status == 302
    assert got["Location"] == "https://shop.example/a?b=c#d"
    assert got.body == b""
    assert got["Content-Length"] == "0"
    (visit,) = node.journal.visits
    assert visit.kind == VisitKind.CLICK
    assert visit.token == b"click"
    assert visit.ip == "203.0.113.9"
    assert visit.user_agent.endswith("Firefox/140.0")
    assert visit.host == "links.example.com"
    assert visit.time_ms == 1_790_000_123_456
    assert node.journal.levels == [Level.DISK]
    assert len(visit.record_id) == 16


def test_universal_click_answers_app_and_browser_alike(node):  # S4.22 S4.23
    got = node.ask("/uni/click?uni")

    assert (got.status, got["Location"]) == (302, "https://shop.example/app")
    assert node.journal.visits[0].hints == Hint.UNIVERSAL


@pytest.mark.parametrize("uri", ["/click?click", "/uni/click?uni", "/open?open", "/click?bad"])
def test_no_answer_may_be_kept_or_tell_where_it_came_from(node, uri):  # W10
    got = node.ask(uri)

    assert {name: got[name] for name in W10} == W10
    assert not got["Set-Cookie"]
    assert not got["Server"]


def test_pixel_is_a_whole_gif_and_is_recorded(node):  # S0.19
    got = node.ask("/open?open")

    assert (got.status, got["Content-Type"], got["Content-Length"]) == (200, "image/gif", "43")
    assert len(got.body) == 43
    assert got.body.startswith(b"GIF89a")
    assert got.body.endswith(b";")
    assert [visit.kind for visit in node.journal.visits] == [VisitKind.OPEN]
    assert node.journal.levels == [Level.OS]


@pytest.mark.parametrize(
    "uri", ["/open", "/open?", "/open?bad", "/open?click", f"/open?{'a' * 70_000}", "/open?%00"]
)
def test_pixel_on_every_outcome(node, uri):  # R11
    got = node.ask(uri)

    assert (got.status, got["Content-Type"], len(got.body)) == (200, "image/gif", 43)
    assert node.journal.visits == []


def test_pixel_while_everything_is_broken(node):
    node.metadata.down = True
    assert node.ask("/open?open").status == 200
    assert len(node.journal.visits) == 1, "ours by its MAC: recorded, completed later"

    node.journal.full = True
    assert len(node.ask("/open?open").body) == 43

    node.metadata.fault = RuntimeError("a fault of ours")
    assert len(node.ask("/open?open").body) == 43


@pytest.mark.parametrize(
    "query",
    [
        "",
        "=",
        "c",
        "click%20",
        "clic",
        "clickk",
        "open",
        "redirect",
        "uni",
        "!",
        "a" * 7_999,
        "\x7f",
    ],
)
def test_a_token_that_is_not_ours_is_a_page_and_never_a_redirect(node, query):  # W2, A1-A18
    got = node.ask(f"/click?{query}")

    assert got.status == 404
    assert not got["Location"]
    assert got["Content-Type"].startswith("text/html")
    assert node.journal.visits == []


def test_what_follows_the_token_is_ignored(node):
    for query in ("click&fbclid=IwAR0", "click=", "click=&utm_source=x&a=b"):
        assert node.ask(f"/click?{query}")["Location"] == "https://shop.example/a?b=c#d"


def test_a_token_serves_its_own_purpose_only(node):  # W3, A13, A14
    assert node.ask("/uni/click?click").status == 404
    assert node.ask("/click?uni").status == 404
    assert node.ask("/unsub?click").status == 404
    assert node.metadata.reads == 0


def test_only_web_destinations(node):  # W1, A20
    got = node.ask("/click?script")

    assert (got.status, got["Location"]) == (404, "")
    assert node.journal.visits == []


def test_no_control_character_reaches_a_header(node):  # W7
    got = node.ask("/click?crlf")

    assert got["Location"] == "https://x.example/%0D%0ASet-Cookie:%20a=b"
    assert not got["Set-Cookie"]


def test_head_answers_like_get_and_records_nothing(node):  # W8, R6
    for uri in ("/click?click", "/uni/click?uni", "/open?open", "/click?bad", "/unsub?redirect"):
        head, get = node.ask(uri, "HEAD"), node.ask(uri)
        assert (get.status, get.headers, b"") == (head.status, head.headers, head.body)
    assert len(node.journal.visits) == 4, "the four GETs"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("HTTP_SEC_PURPOSE", "prefetch"),
        ("HTTP_SEC_PURPOSE", "prefetch;prerender"),
        ("HTTP_PURPOSE", "Preview"),
        ("HTTP_X_PURPOSE", "preview"),
        ("HTTP_X_MOZ", "prefetch"),
    ],
)
def test_a_prefetch_is_recorded_and_labelled(node, header, value):  # W8
    assert node.ask("/click?click", **{header: value}).status == 302
    assert node.journal.visits[0].hints == Hint.PREFETCH


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
@pytest.mark.parametrize(
    "path",
    ["/click", "/uni/click", "/open", "/robots.txt", "/.well-known/assetlinks.json", "/unsub"],
)
def test_other_methods_are_told_which_ones_serve(node, path, method):
    if (path, method) == ("/unsub", "POST"):
        return
    got = node.ask(f"{path}?click", method)

    assert got.status == 405
    assert got["Allow"] == ("GET, HEAD, POST" if path == "/unsub" else "GET, HEAD")
    assert node.journal.visits == []


@pytest.mark.parametrize(
    "path",
    ["/", "/click/", "//click", "/CLICK", "/uni//click", "/x", "/favicon.ico", "/click/../open"],
)
def test_every_other_path_is_not_found(node, path):
    for method in ("GET", "POST", "BREW"):
        got = node.ask(f"{path}?click", method)
        assert (got.status, got["Location"]) == (404, "")


def test_order_of_checks_is_path_method_length_token(node):
    long = "click&" + "a" * 9_000
    assert node.ask(f"/nothing?{long}", "POST").status == 404
    assert node.ask(f"/click?{long}", "POST").status == 405
    assert node.ask(f"/click?{long}").status == 414
    assert node.ask(f"/unsub?{long}").status == 414
    assert node.metadata.reads == 0


def test_a_uri_of_8_kb_is_the_longest(node):  # W6, W13, A3, A4
    room = 8192 - len("/click?click&")
    assert node.ask(f"/click?click&{'a' * room}").status == 302
    assert node.ask(f"/click?click&{'a' * (room + 1)}").status == 414
    assert node.ask("/click?" + "a" * 65_536).status == 414


def test_metadata_down_is_a_503_page_and_one_line(node):  # S4.19
    node.metadata.down = True
    got = node.ask("/click?click&x=\x1b[2J", HTTP_HOST="10.0.0.1:8080")

    assert got.status == 503
    assert int(got["Retry-After"]) > 0
    assert "no-store" in got["Cache-Control"]
    assert node.journal.visits == []
    assert node.lines == [
        (
            "ERROR EXTERNAL METADATA: "
            "original_url=http://10.0.0.1:8080/click?click&x=\\x1b[2J original_domain=10.0.0.1:8080"
            " request_domain=10.0.0.1:8080: primary: connection refused"
        )
    ]


def test_the_line_names_the_domain_of_the_link_behind_a_proxy(make_node):  # S4.19
    node = make_node(proxies=("203.0.113.0/24",))
    node.metadata.down = True
    node.ask(
        "/click?click",
        HTTP_HOST="10.0.0.1",
        HTTP_X_FORWARDED_HOST="links.example.com",
        HTTP_X_FORWARDED_PROTO="https",
    )

    (line,) = node.lines
    assert "original_url=https://links.example.com/click?click " in line
    assert "original_domain=links.example.com request_domain=10.0.0.1: " in line


def test_found_nowhere_is_a_404(node):
    assert node.ask("/click?gone").status == 404
    assert node.journal.visits == []


def test_a_full_or_slow_disk_never_costs_a_redirect(node):
    node.journal.in_time = False
    assert node.ask("/click?click").status == 302
    node.journal.full = True
    assert node.ask("/click?click").status == 302
    assert node.recording.counters() == {"visits_late": 1, "visits_lost": 1}


def test_a_fault_of_ours_is_a_page_without_a_traceback(node):
    node.metadata.fault = RuntimeError("secret detail")
    got = node.ask("/click?click")

    assert got.status == 503
    assert b"secret" not in got.body
    assert b"Traceback" not in got.body
    (line,) = node.lines
    assert "RuntimeError" in line


def test_overrides_and_blocks_come_with_the_catalog(node):  # R46, R48
    def catalog(**change):
        return type(node.catalog)(**change)

    node.catalog = catalog(overrides={"buy": "https://mended.example/"})
    assert node.ask("/click?click")["Location"] == "https://mended.example/"

    node.catalog = catalog(overrides={"https://shop.example/a?b=c#d": "https://other.example/"})
    assert node.ask("/click?click")["Location"] == "https://other.example/"

    node.catalog = catalog(blocks=("SHOP.example",))
    assert node.ask("/click?click").status == 404
    assert node.ask("/unsub?redirect").status == 302

    node.catalog = catalog(blocks=("news20261124",))
    assert node.ask("/click?click").status == 404
    assert len(node.journal.visits) == 2 + 1, "two clicks and the unsubscribe"

    node.metadata.message_down = True
    assert node.ask("/click?click").status == 302, "a send that can't be known is not blocked"


def test_token_routes_answer_on_any_host(node):  # S0.15
    for host in ("links.example.com", "elsewhere.example", "10.0.0.1", None):
        assert node.ask("/click?click", HTTP_HOST=host).status == 302


def test_strict_hosts_limits_them_to_url_domains(make_node):  # W11
    node = make_node(strict_hosts=True)

    for host in ("links.example.com", "LINKS.example.com:443", "links.example.com."):
        assert node.ask("/click?click", HTTP_HOST=host).status == 302
    for host in ("elsewhere.example", "10.0.0.1", "", None, "[::1]:80"):
        assert node.ask("/click?click", HTTP_HOST=host).status == 404
        assert node.ask("/unsub?redirect", HTTP_HOST=host).status == 404
        assert len(node.ask("/open?open", HTTP_HOST=host).body) == 43
    assert len(node.journal.visits) == 3


def test_strict_hosts_believes_a_trusted_proxy(make_node):
    node = make_node(strict_hosts=True, proxies=("203.0.113.9",))
    forwarded = {"HTTP_HOST": "backend", "HTTP_X_FORWARDED_HOST": "links.example.com"}

    assert node.ask("/click?click", **forwarded).status == 302
    assert node.ask("/click?click", REMOTE_ADDR="198.51.100.1", **forwarded).status == 404


def test_a_long_user_agent_is_cut_and_a_broken_one_kept(node):  # W14
    node.ask("/click?click", HTTP_USER_AGENT="x" * 5_000, HTTP_HOST="h" * 900)
    node.ask("/click?click", HTTP_USER_AGENT="caf\xc3\xa9 \xff")
    node.ask("/click?click", HTTP_USER_AGENT=None)

    first, second, third = node.journal.visits
    assert (len(first.user_agent), len(first.host)) == (512, 255)
    assert second.user_agent == "café \ufffd"
    assert third.user_agent == ""


def test_a_domain_added_is_served_at_the_next_request(make_node):
    node = make_node(strict_hosts=True)
    assert node.ask("/click?click", HTTP_HOST="new.example").status == 404
    node.catalog = type(node.catalog)(url_domains=(UrlDomain(domain="new.example"),))
    assert node.ask("/click?click", HTTP_HOST="new.example").status == 302


def test_a_server_may_leave_empty_variables_out(node):  # PEP 3333
    assert node.ask("/click", QUERY_STRING=None).status == 404
    assert node.ask("/robots.txt", QUERY_STRING=None).status == 200
    assert node.ask("/", PATH_INFO=None).status == 404
    assert node.lines == []
