"""The Flask views and the raw callable in front of them say the same, octet by octet."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendback.model import LinkFacts
from sendback.secret_constants import Purpose
from sendback.web.app import PATHS, create_app
from sendback.web.tracking import Tracking

HEADER_TEXT = st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), max_size=40)
TOKENS = ["click", "uni", "open", "redirect", "confirm", "header", "script", "crlf", "gone"]


@st.composite
def requests(draw):
    path = draw(
        st.sampled_from([*PATHS, "/", "/click/", "//click", "/unknown", "/uni//click", "/%"])
        | st.text(max_size=12).map(lambda text: "/" + text.encode().decode("latin-1"))
    )
    query = draw(
        st.sampled_from(TOKENS)
        | st.sampled_from(TOKENS).map(lambda token: f"{token}&fbclid=x")
        | st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
        | st.just("x" * 9_000)
    )
    environ = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "HTTP_HOST": st.sampled_from(
                    ["links.example.com", "LINKS.example.com:1", "elsewhere", "[::1]", ""]
                )
                | HEADER_TEXT,
                "HTTP_ACCEPT_LANGUAGE": st.sampled_from(["de", "fr;q=0.2, ja"]) | HEADER_TEXT,
                "HTTP_USER_AGENT": HEADER_TEXT,
                "HTTP_X_FORWARDED_FOR": st.sampled_from(
                    ["1.2.3.4", "junk", "1.2.3.4, 203.0.113.9"]
                ),
                "HTTP_X_FORWARDED_HOST": st.sampled_from(["links.example.com", "b, c"]),
                "HTTP_SEC_PURPOSE": st.just("prefetch"),
                "CONTENT_TYPE": st.sampled_from(["multipart/form-data; boundary=x", "text/plain"]),
            },
        )
    )
    return {
        "uri": f"{path}?{query}",
        "method": draw(
            st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "BREW"])
        ),
        "body": draw(
            st.sampled_from([b"", b"List-Unsubscribe=One-Click", b"confirm=1", b"x" * 2_000])
            | st.binary(max_size=40)
        ),
        **environ,
    }


@pytest.mark.parametrize("is_down", [False, True])
@given(request=requests())
@settings(max_examples=150, deadline=None)
def test_the_views_answer_like_the_fast_path(make_nodes, is_down, request):
    fast, slow = make_nodes()
    fast.metadata.down = slow.metadata.down = is_down

    a, b = fast.ask(**request), slow.ask(**request)

    assert (a.status, a.reason, a.headers, a.body) == (b.status, b.reason, b.headers, b.body)
    assert fast.lines == slow.lines
    assert [_but_id(visit) for visit in fast.journal.visits] == [
        _but_id(visit) for visit in slow.journal.visits
    ]
    assert a.status < 500 or is_down


@given(request=requests())
@settings(max_examples=50, deadline=None)
def test_without_flask_behind_it_the_fast_path_says_the_same(make_nodes, request):
    with_flask, alone = make_nodes()
    alone.app = Tracking(alone.site)

    a, b = with_flask.ask(**request), alone.ask(**request)

    assert (a.status, a.reason, a.headers, a.body) == (b.status, b.reason, b.headers, b.body)


@pytest.mark.parametrize("is_asked", [False, True])
@pytest.mark.parametrize("is_down", [False, True])
@given(request=requests())
@settings(max_examples=150, deadline=None)
def test_an_answer_that_may_come_later_is_the_same(make_nodes, served, is_down, is_asked, request):
    called, asked = make_nodes()
    served(asked)
    asked.metadata.is_asked = is_asked
    called.metadata.down = asked.metadata.down = is_down

    a, b = called.ask(**request), asked.ask(**request)

    assert (a.status, a.headers, a.body) == (b.status, b.headers, b.body)
    assert called.lines == asked.lines
    assert called.journal.levels == asked.journal.levels
    assert [_but_id(visit) for visit in called.journal.visits] == [
        _but_id(visit) for visit in asked.journal.visits
    ]


@pytest.mark.parametrize("uri", ["/click?click", "/uni/click?uni", "/open?open"])
def test_no_fault_of_the_journal_holds_an_answer_that_comes_later(make_nodes, served, uri):
    well, ill = make_nodes()
    served(well)
    served(ill)
    expected = well.ask(uri)

    ill.journal.in_time = False
    assert ill.ask(uri) == expected
    ill.journal.full = True
    assert ill.ask(uri) == expected
    assert ill.recording.counters() == {"visits_late": 1, "visits_lost": 1}


def test_a_fault_of_ours_after_a_database_answered_is_a_page_and_a_line(make_nodes, served):
    node, _ = make_nodes()
    served(node)
    node.metadata.is_asked = True
    node.metadata.known[Purpose.CLICK, b"broken"] = LinkFacts(url=None)  # none of ours says so

    got = node.ask("/click?broken")

    assert got.status == 503
    assert len(node.lines) == 1
    assert node.lines[0].startswith("ERROR WEB: /click: ")


def _but_id(visit):
    return (visit.time_ms, visit.kind, visit.token, visit.ip, visit.user_agent, visit.hints)


def test_every_path_has_a_view_with_a_name(node):
    rules = {rule.rule: rule.endpoint for rule in node.app.url_map.iter_rules()}

    assert rules == PATHS


def test_an_application_without_a_site_opens_nothing():
    app = create_app()

    with app.test_client() as client:
        assert client.get("/click?x").status_code == 503
        assert client.get("/nothing").status_code == 503


def test_a_site_is_built_at_the_first_request(node):
    built = []

    def build():
        built.append(1)
        return node.site

    app = create_app(build=build)
    assert built == []
    with app.test_client() as client:
        assert client.get("/click?click").status_code == 302
        assert client.get("/open?open").status_code == 200
    assert built == [1]


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("sendback.web.app", {"sqlalchemy", "psycopg_pool", "pydantic", "structlog", "rich"}),
        ("sendback.web.serving", {"flask", "werkzeug", "jinja2", "sqlalchemy", "pydantic"}),
    ],
)
def test_the_public_side_needs_no_heavy_library(module, heavy):
    script = f"import sys, {module}; print([n for n in {sorted(heavy)!r} if n in sys.modules])"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "[]"
