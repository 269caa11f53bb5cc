"""`check domain` against a node behind a real nginx that ends TLS, with one mistake a port."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time

import pytest

from fixtures.certificates import Authority
from fixtures.nameserver import running_nameserver
from fixtures.node import run_cli, running_node

DOCUMENT = '{"applinks":\n {"details": []}}\n'
LINKS = '[{"relation": ["x"]}]'
PASS = "proxy_pass http://%(node)s; proxy_set_header Host $http_host;"
PATH = "/apple-app-site-association"
#: A port for each: certificate, and what nginx does beside handing everything on.
SITES = {
    "good": ("good", ""),
    "other-name": ("other", ""),
    "expired": ("expired", ""),
    "soon": ("soon", ""),
    "redirect": ("good", f"location = {PATH} {{ return 301 /.well-known{PATH}; }}"),
    "type": ("good", f"location = {PATH} {{ default_type text/html; return 200 '{{}}'; }}"),
    "bytes": ("good", f"location = {PATH} {{ default_type application/json; return 200 '{{}}'; }}"),
    "clicks": ("good", "location = /click { return 404; }"),
    "moved": ("good", "location = /click { return 301 https://www.example.com$request_uri; }"),
    "named": ("named", ""),
    "robots": ("good", "location = /robots.txt { return 404; }"),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    made = Authority(tmp_path_factory.mktemp("tls"))
    made.issue("localhost", name="good")
    made.issue("other.example.com", name="other")
    made.issue("links.example.com", name="named")
    made.issue("localhost", name="expired", days_left=-2)
    made.issue("localhost", name="soon", days_left=10.5)
    return made


def url_domain(port=None, **fields) -> dict[str, str]:
    """Configuration with the one URL domain; its links lead to nginx where a port is given."""
    domain = {"domain": "localhost", "tls": True} | fields
    if port:
        domain["link_base"] = f"https://localhost:{port}"
    return {"SENDBACK_URL_DOMAIN": json.dumps([domain])}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """The event server, with the documents."""
    env = url_domain(apple_app_site_association=DOCUMENT, android_asset_links=LINKS)
    folder = tmp_path_factory.mktemp("event")
    with running_node(folder / "data", env=env, arguments=["--only", "web,worker"]) as running:
        yield running


@pytest.fixture(scope="module")
def ports(node, authority, tmp_path_factory):
    """Site -> port of the nginx in front of the node."""
    folder = tmp_path_factory.mktemp("nginx")
    with contextlib.ExitStack() as held:
        taken = [held.enter_context(socket.socket()) for _ in SITES]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        found = {name: one.getsockname()[1] for name, one in zip(SITES, taken, strict=True)}
    handed = PASS % {"node": node.web.removeprefix("http://")}
    servers = "".join(
        f"server {{ listen 127.0.0.1:{found[name]} ssl; server_name localhost;\n"
        f"ssl_certificate {authority.file.parent}/{pem}.pem;\n"
        f"ssl_certificate_key {authority.file.parent}/{pem}.pem;\n"
        f"location / {{ {handed} }}\n{extra} }}\n"
        for name, (pem, extra) in SITES.items()
    )
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        f"events {{ }}\nhttp {{ access_log off; {temporary} {servers} }}\n"
    )
    search = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    command = [shutil.which("nginx", path=search), "-p", str(folder), "-c", f"{folder}/nginx.conf"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(found["robots"], folder)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port, folder):
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)


@pytest.fixture(scope="module")
def sending(node, tmp_path_factory):
    """The data directory of a Sending Server with the event server's constants."""
    path = tmp_path_factory.mktemp("sending") / "data"
    pair = json.loads(node.cli("secret-constants", "--view", "--json").stdout)
    run_cli(
        *("secret-constants", f"--constant1={pair['constant1']}"),
        *(f"--constant2={pair['constant2']}", "--data-dir", str(path)),
    )
    return path


def checked(path, env, *arguments, name="localhost"):
    """(exit code, (check, end of the subject) -> finding)."""
    done = run_cli(
        *("check", "domain", name, "--json", "--data-dir", str(path), *arguments),
        env=env,
        check=False,
    )
    rows = json.loads(done.stdout)
    assert done.returncode == (0 if all(row["ok"] for row in rows) else 3)
    return done.returncode, {(row["check"], row["subject"].rpartition("/")[2]): row for row in rows}


DOCUMENTS = {"apple_app_site_association": DOCUMENT, "android_asset_links": LINKS}


@pytest.mark.nginx
def test_a_good_domain_is_fine_and_nothing_is_recorded(ports, node, sending, authority):  # S0.15
    env = url_domain(ports["good"], **DOCUMENTS)
    code, found = checked(sending, env, "--ca-file", str(authority.file))

    assert code == 0, found
    assert {row["state"] for row in found.values()} == {"ok", "skipped"}
    checks = [row["check"] for row in found.values()]
    for name in ("tls-chain", "tls-host-name", "tls-days", "link-base", "event-server"):
        assert checks.count(name) == 1
    assert checks.count("well-known") == 2  # two of the three end alike
    assert node.events() == []


@pytest.mark.nginx
@pytest.mark.parametrize(
    ("site", "check", "state", "detail"),
    [
        ("other-name", "tls-host-name", "problem", "other.example.com"),
        ("expired", "tls-days", "problem", "expired on"),
        ("soon", "tls-days", "warning", "10 days left"),
        ("redirect", "well-known", "problem", "is redirected to"),
        ("type", "well-known", "problem", "comes as text/html"),
        ("bytes", "well-known", "problem", "2 bytes, not 31"),
        ("clicks", "event-server", "problem", "is not known there (404)"),
        ("moved", "event-server", "problem", "redirected to https://www.example.com/click"),
        ("robots", "link-base", "warning", "robots.txt is not ours: 404"),
    ],
)
def test_each_mistake_is_said_by_name(  # S4.25
    ports, sending, authority, site, check, state, detail
):
    env = url_domain(ports[site], **DOCUMENTS)
    code, found = checked(sending, env, "--ca-file", str(authority.file))

    bad = [row for row in found.values() if row["state"] in ("warning", "problem")]
    assert {(row["check"], row["state"]) for row in bad} == {(check, state)}
    assert detail in bad[0]["detail"]
    assert bad[0]["cure"]
    assert code == (3 if state == "problem" else 0)


@pytest.mark.nginx
def test_an_authority_that_nobody_trusts(ports, sending):
    _, found = checked(sending, url_domain(ports["good"], **DOCUMENTS))

    bad = {row["check"] for row in found.values() if not row["ok"]}
    assert bad == {"tls-chain"}  # and what is behind it was looked at all the same
    assert found["event-server", f"localhost:{ports['good']}"]["ok"]


@pytest.mark.nginx
def test_a_document_that_is_not_stored_must_not_be_there(ports, sending, authority):
    trust = ("--ca-file", str(authority.file))
    _, found = checked(sending, url_domain(ports["bytes"]), *trust)

    bad = [row for row in found.values() if not row["ok"]]
    assert {row["check"] for row in bad} == {"well-known"}
    assert all("none is to be served, and there is: 200" in row["detail"] for row in bad)


@pytest.mark.nginx
def test_other_secret_constants_and_a_port_where_nobody_is(ports, authority, tmp_path, sending):
    trust = ("--ca-file", str(authority.file))
    other = tmp_path / "data"  # S0.3: makes its own
    _, found = checked(other, url_domain(ports["good"], **DOCUMENTS), *trust)
    assert {row["check"] for row in found.values() if not row["ok"]} == {"event-server"}

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening
        port = held.getsockname()[1]
        _, found = checked(sending, url_domain(port, **DOCUMENTS), *trust)
    bad = {row["check"]: row["detail"] for row in found.values() if not row["ok"]}
    assert bad == {"tls-chain": "no TLS: Connection refused", "link-base": "connection refused"}


@pytest.mark.nginx
def test_plain_http_where_tls_is_wanted(node, sending, authority):
    port = node.address("web")[1]
    env = url_domain(port, **DOCUMENTS)
    _, found = checked(sending, env, "--ca-file", str(authority.file))
    assert found["tls-chain", f"localhost:{port}"]["state"] == "problem"

    env = {"SENDBACK_URL_DOMAIN": json.dumps([{
        "domain": "localhost", "tls": True, "link_base": node.web.replace("127.0.0.1", "localhost"),
        **DOCUMENTS,
    }])}  # fmt: skip
    code, found = checked(sending, env)
    assert (code, found["tls", "localhost"]["state"]) == (0, "warning")


@pytest.mark.nginx
def test_the_addresses_are_those_that_the_name_server_tells(ports, sending, authority):
    domain = {"domain": "links.example.com", "tls": True}
    domain["link_base"] = f"https://links.example.com:{ports['named']}"
    env = {"SENDBACK_URL_DOMAIN": json.dumps([domain])}
    with running_nameserver({("links.example.com", "A"): ["127.0.0.1"]}) as port:
        code, found = checked(
            sending, env, "--ca-file", str(authority.file),
            *("--nameserver", "127.0.0.1", "--port", str(port)), name="links.example.com",
        )  # fmt: skip

    assert code == 0, found
    assert {row["state"] for row in found.values()} == {"ok"}


def test_each_event_server_behind_a_name_is_visited(node, sending, tmp_path):  # S0.1, S0.3
    port = node.address("web")[1]
    base = f"http://links.example.com:{port}"
    env = {"SENDBACK_URL_DOMAIN": json.dumps([{"domain": "links.example.com", "link_base": base}])}
    listen = {"SENDBACK_WEB__LISTEN": f"127.0.0.2:{port}"}  # with secret constants of its own
    with (
        running_node(tmp_path / "data", env=listen, arguments=["--only", "web,worker"]),
        running_nameserver({("links.example.com", "A"): ["127.0.0.1", "127.0.0.2"]}) as dns,
    ):
        ask = ("--nameserver", "127.0.0.1", "--port", str(dns))
        code, found = checked(sending, env, *ask, name="links.example.com")

    assert code == 3
    assert [row["subject"] for row in found.values() if not row["ok"]] == [f"{base} at 127.0.0.2"]
    assert found["event-server", f"links.example.com:{port} at 127.0.0.1"]["ok"]


def test_a_name_that_is_no_url_domain(sending):
    done = run_cli("check", "domain", "nope", "--data-dir", str(sending), check=False)

    assert done.returncode == 1
    assert "there are: localhost" in done.stderr
