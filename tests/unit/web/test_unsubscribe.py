"""The unsubscribe link, page and one-click POST (CONTRACT section 6, RFC 8058)."""

import pytest

from sendback.model import Hint, VisitKind

ONE_CLICK = b"List-Unsubscribe=One-Click"
FORM = "application/x-www-form-urlencoded"
MULTIPART = (
    b"--x1\r\n"
    b'Content-Disposition: form-data; name="List-Unsubscribe"\r\n'
    b"\r\n"
    b"One-Click\r\n"
    b"--x1--\r\n"
)


def test_a_body_link_redirects_with_who_and_which_list(node):  # S0.19, R23
    got = node.ask("/unsub?redirect")

    assert got.status == 302
    assert got["Location"] == (
        "https://list.example/bye?a=1&email=ann%2Bx%40example.org"
        "&sendid=news20261124&listid=news#top"
    )
    assert [visit.kind for visit in node.journal.visits] == [VisitKind.UNSUB]


def test_a_confirm_link_shows_a_page_with_one_button(node):  # R14
    got = node.ask("/unsub?confirm")

    assert got.status == 200
    assert got["Content-Type"] == "text/html; charset=utf-8"
    assert got.text.count("<button") == 1
    assert 'method="post"' in got.text
    assert "<script" not in got.text
    assert "http" not in got.text, "the page loads nothing"
    assert node.journal.visits == []


def test_a_header_link_never_acts_on_get(node):  # W9, R14
    for method in ("GET", "HEAD"):
        assert node.ask("/unsub?header", method).status == 200
    assert node.journal.visits == []


@pytest.mark.parametrize("token", ["header", "confirm", "redirect"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (ONE_CLICK, FORM),
        (ONE_CLICK, f"{FORM}; charset=utf-8"),
        (ONE_CLICK, ""),
        (b"list-unsubscribe=one-click\r\n", FORM),
        (MULTIPART, "multipart/form-data; boundary=x1"),
        (MULTIPART, 'Multipart/Form-Data; boundary="x1"'),
        (b"", FORM),
        (b"", ""),
    ],
)
def test_one_click_is_200_without_redirect_or_cookie(node, token, body, content_type):  # R15
    got = node.ask(f"/unsub?{token}", "POST", body=body, content_type=content_type)

    assert got.status == 200
    assert not got["Location"]
    assert not got["Set-Cookie"]
    (visit,) = node.journal.visits
    assert (visit.kind, visit.hints) == (VisitKind.UNSUB, Hint.ONE_CLICK)


def test_one_click_may_be_repeated(node):  # R17
    for _ in range(3):
        assert node.ask("/unsub?header", "POST", body=ONE_CLICK, content_type=FORM).status == 200
    assert len({visit.record_id for visit in node.journal.visits}) == 3, "finishing counts one"


def test_our_page_answers_with_the_senders_page(node):
    got = node.ask("/unsub?confirm", "POST", body=b"confirm=1", content_type=FORM)

    assert got.status == 303
    assert got["Location"].startswith("https://list.example/bye?email=ann%2Bx%40example.org&")
    assert node.journal.visits[0].hints == Hint.CONFIRMED


def test_our_page_for_a_header_link_says_thanks(node):
    got = node.ask("/unsub?header", "POST", body=b"confirm=1", content_type=FORM)

    assert got.status == 200
    assert "You are unsubscribed" in got.text
    assert len(node.journal.visits) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "environ"),
    [
        (b"x=1", FORM, {}),
        (b"confirm=0", FORM, {}),
        (b"junk", FORM, {}),
        (b"&&&&", FORM, {}),
        (b"\xff\x00\xfe", FORM, {}),
        (b"List-Unsubscribe=One-Click" + b"&a" * 600, FORM, {}),
        (b"a" * 100_000, FORM, {}),
        (b"confirm=1", FORM, {"CONTENT_LENGTH": "99999999999999999999999"}),
        (b"confirm=1", FORM, {"CONTENT_LENGTH": "-1"}),
        (b"confirm=1", FORM, {"CONTENT_LENGTH": "9x"}),
        (b"confirm=1", FORM, {"CONTENT_LENGTH": "²"}),
        (MULTIPART, "multipart/form-data", {}),
        (MULTIPART, "multipart/form-data; boundary=" + "y" * 300, {}),
        (MULTIPART, "multipart/form-data; boundary=other", {}),
        (b"--x1\r\n" * 100, "multipart/form-data; boundary=x1", {}),
        (b"", "", {"HTTP_TRANSFER_ENCODING": "chunked", "body": b"a" * 2_000}),
    ],
)
def test_any_other_body_changes_nothing(node, body, content_type, environ):
    environ = dict(environ)
    length = {} if "body" not in environ else {"CONTENT_LENGTH": None}
    body = environ.pop("body", body)
    got = node.ask(
        "/unsub?header", "POST", body=body, content_type=content_type, **environ, **length
    )

    assert got.status == 400
    assert node.journal.visits == []


def test_a_chunked_body_is_read(node):
    got = node.ask(
        "/unsub?header",
        "POST",
        body=ONE_CLICK,
        CONTENT_LENGTH=None,
        HTTP_TRANSFER_ENCODING="chunked",
    )

    assert got.status == 200
    assert len(node.journal.visits) == 1


def test_strict_one_click_wants_the_words(make_node):  # R16
    node = make_node(strict_one_click=True)

    assert node.ask("/unsub?header", "POST").status == 400
    assert node.ask("/unsub?header", "POST", body=ONE_CLICK, content_type=FORM).status == 200
    assert len(node.journal.visits) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize("token", ["", "bad", "click", "open", "redirec"])
def test_a_token_that_is_not_ours_unsubscribes_nobody(node, method, token):
    got = node.ask(f"/unsub?{token}", method, body=b"" if method != "POST" else ONE_CLICK)

    assert (got.status, got["Location"]) == (404, "")
    assert node.journal.visits == []


def test_a_valid_token_gets_its_answer_while_the_database_is_down(node):  # S4.12
    node.metadata.down = True

    for body, status in ((ONE_CLICK, 200), (b"", 200), (b"confirm=1", 200)):
        assert node.ask("/unsub?redirect", "POST", body=body).status == status
    assert len(node.journal.visits) == 3
    assert node.ask("/unsub?forged", "POST", body=ONE_CLICK).status == 404


def test_the_link_in_the_body_offers_a_button_while_the_database_is_down(node):
    node.metadata.down = True
    got = node.ask("/unsub?redirect")

    assert (got.status, len(node.journal.visits)) == (503, 0)
    assert got["Retry-After"]
    assert 'name="confirm" value="1"' in got.text
    assert node.lines[0].startswith("ERROR EXTERNAL METADATA: original_url=")


def test_the_senders_page_is_reached_without_who_when_only_that_is_missing(node):
    node.metadata.message_down = True
    got = node.ask("/unsub?redirect")

    assert (got.status, got["Location"]) == (302, "https://list.example/bye?a=1#top")
    assert len(node.journal.visits) == 1


def test_a_receipt_is_given_only_for_what_is_kept(node):
    node.journal.full = True
    got = node.ask("/unsub?header", "POST", body=ONE_CLICK)
    assert (got.status, bool(got["Retry-After"])) == (503, True)
    assert node.ask("/unsub?redirect").status == 302, "a redirect goes on"

    node.journal.full, node.journal.in_time = False, False
    assert node.ask("/unsub?header", "POST", body=ONE_CLICK).status == 200


def test_a_blocked_destination_still_unsubscribes(node):  # R48
    node.catalog = type(node.catalog)(blocks=("list.example",))
    got = node.ask("/unsub?redirect")

    assert (got.status, got["Location"]) == (200, "")
    assert len(node.journal.visits) == 1


def test_a_universal_override_mends_an_unsubscribe_page(node):  # R46
    node.catalog = type(node.catalog)(
        overrides={"https://list.example/bye?a=1#top": "https://list.example/new"}
    )

    assert node.ask("/unsub?redirect")["Location"].startswith("https://list.example/new?email=")
