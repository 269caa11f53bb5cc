"""The public side of a real node under each server that it may run: the same answers, byte by byte.

Also what a web process may weigh, and how soon it answers.
"""

import http.client
import time
from pathlib import Path

import pytest

from fixtures.node import running_node
from sendback.metadata import Metadata
from sendback.model import LinkFacts, LinkKind, MessageFacts, Storage
from sendback.secret_constants import SecretConstantsFile

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SERVERS = {
    "granian": {},
    "granian, disk": {"SENDBACK_JOURNAL__CLICK": "disk", "SENDBACK_JOURNAL__OPEN": "disk"},
    "granian, views": {"SENDBACK_WEB__FAST_PATH": "false"},
    "gunicorn": {"SENDBACK_WEB__SERVER": "gunicorn"},
}
OF_THE_SERVER = {"server", "date", "connection", "keep-alive", "transfer-encoding"}


@pytest.fixture(scope="module", params=SERVERS)
def node(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    env = {
        "SENDBACK_JOURNAL__CLICK": "os",
        "SENDBACK_JOURNAL__UNSUB": "os",
        **SERVERS[request.param],
    }
    with running_node(folder / "data", arguments=["--only", "web,worker"], env=env) as running:
        yield running


@pytest.fixture(scope="module")
def issued(node):
    keyring = SecretConstantsFile(node.data_dir / "secret-constants.json").load()
    message = MessageFacts(
        email="ann@example.org", listid="news", sendid="n1", tagged_at=int(time.time()) - 3600
    )
    links = (
        LinkFacts(url="https://shop.example/\u00e9 x?a=%2F", pos=1),
        LinkFacts(url="https://list.example/bye", kind=LinkKind.UNSUB_BODY_CONFIRM, pos=2),
        LinkFacts(url="https://shop.example/" + "y" * 5_000, pos=3),
    )
    return Metadata(keyring, compress=False).issue(Storage.STATELESS, message, links)


def ask(node, path, method="GET", *, body=None, headers=None, chunked=False):
    """(status, headers of ours, body)."""
    connection = http.client.HTTPConnection(*node.address("web"), timeout=20)
    try:
        connection.request(
            method,
            path,
            body=iter([body]) if chunked else body,
            headers={"User-Agent": BROWSER, "Host": "links.example.com", **(headers or {})},
            encode_chunked=chunked,
        )
        answer = connection.getresponse()
        ours = [(k.lower(), v) for k, v in answer.getheaders() if k.lower() not in OF_THE_SERVER]
        return answer.status, ours, answer.read()
    finally:
        connection.close()


def test_every_answer_is_the_same_under_every_server(node, issued, site_answers):
    (_, click_token), (_, page_token), _ = issued.link_tokens
    click, page = f"/click?{click_token}", f"/unsub?{page_token}"
    opened, header = f"/open?{issued.open_token}", f"/unsub?{issued.unsub_token}"
    german = {"Accept-Language": "de"}
    requests = [
        ("GET", click, {}, None),
        ("HEAD", click, {}, None),
        ("GET", opened, {}, None),
        ("HEAD", opened, {}, None),
        ("GET", page, german, None),
        ("GET", header, {}, None),
        ("POST", header, FORM, b"List-Unsubscribe=One-Click"),
        ("POST", header, {}, b""),
        ("POST", header, FORM, b"x=1"),
        ("POST", page, FORM, b"confirm=1"),
        ("POST", click, FORM, b"a=b"),
        ("GET", "/click?forged", {}, None),
        ("GET", "/click", german, None),
        ("GET", "/", {}, None),
        ("GET", "//click?x", {}, None),
        ("GET", "/robots.txt", {}, None),
        ("GET", "/.well-known/assetlinks.json", {}, None),
        ("OPTIONS", "/unsub", {}, None),
        ("BREW", "/click", {}, None),
    ]
    for method, path, headers, body in requests:
        got = ask(node, path, method, headers=headers, body=body)
        status, wanted, text = site_answers(method, path, headers, body)
        assert got[0] == status, (method, path)
        assert sorted(got[1]) == sorted(wanted), (method, path)
        assert got[2] == text, (method, path)

    events = node.wait_events(3)
    kinds = sorted(event["event_type"] for event in events)
    # a HEAD counts nothing, and three ways to unsubscribe count once
    assert kinds == ["engine_click", "engine_open", "engine_unsub"]
    assert {event["agent_class"] for event in events} == {"human"}


def test_a_chunked_post_is_read(node, issued):
    status, _, _ = ask(
        node,
        f"/unsub?{issued.unsub_token}",
        "POST",
        body=b"List-Unsubscribe=One-Click",
        headers=FORM,
        chunked=True,
    )
    assert status == 200


def test_a_uri_of_8_kb_is_the_longest(node, issued):  # W6, W13, A4
    token = issued.link_tokens[2][1]
    room = 8192 - len(f"/click?{token}&")
    assert ask(node, f"/click?{token}&{'a' * room}")[0] == 302
    assert ask(node, f"/click?{token}&{'a' * (room + 1)}")[0] == 414
    assert ask(node, f"/click?{'A' * 65_600}")[0] in (400, 414)
    assert ask(node, f"/click?{token}")[0] == 302, "and the next good one works"


def test_a_web_process_is_small(node):
    """At most 60 MB (issue 5), SQLAlchemy and the admin side not among them."""
    sizes = [
        int(line.split()[1]) / 1024
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and _runs(folder, b"sendback.web.serving:application")
        for line in (folder / "status").read_text().splitlines()
        if line.startswith("VmRSS:") and _parent_of(folder) != node.process.pid
        if _grandparent_of(folder) == node.process.pid
    ]
    assert sizes
    assert max(sizes) < 60


def _runs(folder: Path, target: bytes) -> bool:
    try:
        return target in (folder / "cmdline").read_bytes()
    except OSError:
        return False


def _parent_of(folder: Path) -> int:
    return int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def _grandparent_of(folder: Path) -> int:
    return _parent_of(Path("/proc") / str(_parent_of(folder)))


@pytest.fixture
def site_answers(node):
    """What the site itself says, without any server: the measure for all of them."""
    from sendback.journal import Level
    from sendback.model import Catalog, VisitKind
    from sendback.recording import Recording
    from sendback.web.app import create_app
    from sendback.web.tracking import Site

    class Journal:
        def append(self, payload, *, level, timeout=None):
            return True

    keyring = SecretConstantsFile(node.data_dir / "secret-constants.json").load()
    recording = Recording(Metadata(keyring), Journal(), dict.fromkeys(VisitKind, Level.OS), Catalog)
    app = create_app(Site(recording, Catalog))

    def answer(method, path, headers, body):
        from io import BytesIO

        path, _, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "x",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "links.example.com",
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body or b""),
            "CONTENT_LENGTH": str(len(body or b"")),
            "CONTENT_TYPE": headers.get("Content-Type", ""),
            "HTTP_ACCEPT_LANGUAGE": headers.get("Accept-Language", ""),
        }
        got = []
        chunks = app(environ, lambda status, sent, _exc=None: got.append((status, sent)))
        text = b"".join(chunks)
        ((status, sent),) = got
        return int(status[:3]), [(name.lower(), value) for name, value in sent], text

    return answer
