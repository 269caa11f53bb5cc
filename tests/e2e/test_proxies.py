"""The examples of config/, each for real in front of a node where its program is installed."""

import contextlib
import datetime as dt
import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures.node import running_node
from sendback.metadata import Metadata
from sendback.model import LinkFacts, LinkKind, MessageFacts, Storage
from sendback.secret_constants import SecretConstantsFile

CONFIG = Path(__file__).resolve().parents[2] / "config"
HOST = "links.example.com"
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ODD = "https://shop.example/a%2Fb//c/../?x=[1]|{y}&z=%zz&&q='\"<>\\^`#%41 \u00e9"
AASA = '{"applinks":\n {"details": []}}\n'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """One PEM file with a key and a certificate for the URL domain."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    (folder / "sendback.toml").write_text(
        'http_trusted_proxy_ips = ["127.0.0.1/32"]\n'
        f'[[url_domain]]\ndomain = "{HOST}"\ntls = true\n'
        f'apple_app_site_association = """{AASA}"""\n'
        '[[mail_class]]\nname = "news"\n'
    )
    with running_node(
        folder / "data",
        arguments=["--config", str(folder / "sendback.toml"), "--only", "web,worker,admin"],
    ) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(node, certificate, tmp_path_factory):
    """(plain port, TLS port) of an nginx that runs config/nginx.conf, ports and paths replaced."""
    folder = tmp_path_factory.mktemp("nginx")
    plain, tls = _free_ports(2)
    text = (CONFIG / "nginx.conf").read_text()
    for old, new in {
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{tls} ssl;",
        "    listen [::]:80;\n": "",
        "    listen [::]:443 ssl;\n": "",
        "127.0.0.1:8080": node.web.removeprefix("http://"),
        "/etc/letsencrypt/live/links.example.com/fullchain.pem": str(certificate),
        "/etc/letsencrypt/live/links.example.com/privkey.pem": str(certificate),
        "/var/log/nginx/sendback.log": str(folder / "access.log"),
    }.items():
        assert old in text, f"config/nginx.conf says no more: {old}"
        text = text.replace(old, new)
    (folder / "site.conf").write_text(text)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\n"
        f"events {{ }}\nhttp {{ {temporary} include {folder}/site.conf; }}\n"
    )
    command = [_program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with _running(command, plain):
        yield plain, tls, folder


@pytest.fixture(scope="module")
def tokens(node):
    """Tokens that this node's keys sign."""
    keyring = SecretConstantsFile(node.data_dir / "secret-constants.json").load()
    message = MessageFacts(
        email="ann@example.org",
        listid="news",
        sendid="news1",
        mail_class="news",
        url_domain=HOST,
        tagged_at=int(time.time()) - 3600,
    )
    facts = (
        LinkFacts(url=ODD, pos=1),
        LinkFacts(url="https://shop.example/app", universal=True, pos=2),
        LinkFacts(url="https://list.example/bye", kind=LinkKind.UNSUB_BODY_CONFIRM, pos=3),
        LinkFacts(url="https://shop.example/" + "x" * 5_000, pos=4),
    )
    return Metadata(keyring, compress=False).issue(Storage.STATELESS, message, facts)


def ask(port, path, method="GET", *, tls=None, headers=None, body=None, source="127.0.0.2"):
    """(status, headers, body); from an address of its own, so that the proxy has one to tell."""
    if tls:
        context = ssl.create_default_context(cafile=str(tls))
        with socket.create_connection(("127.0.0.1", port), 20, (source, 0)) as raw:
            connection = http.client.HTTPConnection(HOST)
            connection.sock = context.wrap_socket(raw, server_hostname=HOST)
            return _exchange(connection, path, method, headers, body)
    connection = http.client.HTTPConnection("127.0.0.1", port, 20, source_address=(source, 0))
    return _exchange(connection, path, method, headers, body)


def _exchange(connection, path, method, headers, body):
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        given = {"Host": HOST, "User-Agent": BROWSER, **(headers or {})}
        if body is not None:
            given["Content-Length"] = str(len(body))
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


@pytest.mark.nginx
def test_a_click_goes_through_octet_by_octet_and_says_who_came(proxy, tokens, node, certificate):
    plain, tls, folder = proxy
    expected = ODD.replace(" ", "%20").replace("\u00e9", "%C3%A9")
    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Host": "evil.example",
        "X-Real-IP": "6.6.6.6",
    }
    token = tokens.link_tokens[0][1]

    for status, headers, body in (
        ask(tls, f"/click?{token}", tls=certificate, headers=forged),
        ask(plain, f"/click?{token}&fbclid=x", headers=forged),
    ):
        assert (status, headers["Location"], body) == (302, expected, b"")
        assert headers["Cache-Control"].startswith("no-store")
        assert headers["Referrer-Policy"] == "no-referrer"
        assert not headers["Set-Cookie"]
    status, headers, _ = ask(tls, f"/uni/click?{tokens.link_tokens[1][1]}", tls=certificate)
    assert (status, headers["Location"]) == (302, "https://shop.example/app")  # S4.23

    clicks = node.wait_events(3)
    assert {event["engine_ip"] for event in clicks} == {"127.0.0.2"}
    assert {event["email"] for event in clicks} == {"ann@example.org"}
    assert token not in (folder / "access.log").read_text(), "no token in a log"


@pytest.mark.nginx
def test_a_url_of_8_kb_passes_and_a_longer_one_is_refused(proxy, tokens):  # W6, W13
    plain, _, _ = proxy
    token = tokens.link_tokens[3][1]
    room = 8192 - len(f"/click?{token}&")

    status, headers, _ = ask(plain, f"/click?{token}&{'a' * room}")
    assert (status, len(headers["Location"])) == (302, 5_021)
    assert ask(plain, f"/click?{token}&{'a' * (room + 1)}")[0] == 414


@pytest.mark.nginx
def test_the_rest_of_the_public_side(proxy, tokens, certificate):
    plain, tls, _ = proxy

    status, headers, body = ask(tls, "/.well-known/apple-app-site-association", tls=certificate)
    assert (status, headers["Content-Type"], body.decode()) == (200, "application/json", AASA)
    assert ask(plain, "/.well-known/assetlinks.json")[0] == 404
    other = {"Host": "other.example"}
    assert ask(plain, "/apple-app-site-association", headers=other)[0] == 404  # S4.25

    status, headers, body = ask(plain, f"/open?{tokens.open_token}")
    assert (status, headers["Content-Type"], len(body)) == (200, "image/gif", 43)
    status, headers, body = ask(plain, f"/open?{tokens.open_token}", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, "43", b"")

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    unsub = f"/unsub?{tokens.unsub_token}"
    one_click = b"List-Unsubscribe=One-Click"
    status, headers, _ = ask(tls, unsub, "POST", tls=certificate, headers=form, body=one_click)
    assert (status, headers["Location"]) == (200, None)  # R15
    status, headers, _ = ask(
        plain, f"/unsub?{tokens.link_tokens[2][1]}", "POST", headers=form, body=b"confirm=1"
    )
    assert status == 303
    assert headers["Location"].startswith("https://list.example/bye?email=ann%40example.org")
    for path, status in (("/click?x", 404), ("//click?x", 404), ("/", 404), ("/unsub", 404)):
        assert ask(plain, path)[0] == status
    assert ask(plain, "/click?x", "DELETE")[0] == 405


def test_haproxy_takes_its_example(certificate, tmp_path):
    program = _program("haproxy", optional=True)
    text = (CONFIG / "haproxy.cfg").read_text()
    path = tmp_path / "haproxy.cfg"
    path.write_text(text.replace("/etc/haproxy/certs/", str(certificate)))

    done = subprocess.run(
        [program, "-c", "-f", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_caddy_takes_its_example():
    program = _program("caddy", optional=True)

    done = subprocess.run(
        [program, "validate", "--adapter", "caddyfile", "--config", str(CONFIG / "Caddyfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def haproxy(node, certificate, folder):
    """(plain port, TLS port) of config/haproxy.cfg."""
    plain, tls = _free_ports(2)
    text = _replaced(
        "haproxy.cfg",
        {
            "maxconn 20000": "maxconn 200",  # what the test's limit of descriptors allows
            "bind :80\n": f"bind 127.0.0.1:{plain}\n",
            "bind :443 ssl crt /etc/haproxy/certs/": f"bind 127.0.0.1:{tls} ssl crt {certificate}",
            "127.0.0.1:8080": node.web.removeprefix("http://"),
        },
    )
    (folder / "haproxy.cfg").write_text(text)
    command = [_program("haproxy", optional=True), "-f", str(folder / "haproxy.cfg")]
    with _running(command, plain):
        yield plain, tls


@contextlib.contextmanager
def caddy(node, _certificate, folder):
    """(plain port, TLS port) of config/Caddyfile; certificates on demand, made by Caddy itself."""
    plain, tls = _free_ports(2)
    text = _replaced(
        "Caddyfile",
        {
            "auto_https disable_redirects": "auto_https disable_redirects\n\tadmin off\n"
            f"\tlocal_certs\n\tskip_install_trust\n\thttp_port {plain}\n\thttps_port {tls}\n"
            f"\tdefault_bind 127.0.0.1\n\tstorage file_system {folder / 'caddy'}",
            "127.0.0.1:8081": node.admin.removeprefix("http://"),
            "127.0.0.1:8080": node.web.removeprefix("http://"),
        },
    )
    (folder / "Caddyfile").write_text(text)
    program = _program("caddy", optional=True)
    arguments = ["run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]
    with _running([program, *arguments], plain):
        yield plain, tls


@pytest.mark.parametrize("proxy_of", [haproxy, caddy], ids=lambda made: made.__name__)
def test_the_others_hand_on_what_counts(proxy_of, node, certificate, tokens, tmp_path):
    expected = ODD.replace(" ", "%20").replace("\u00e9", "%C3%A9")
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil.example"}
    before = len(node.events())
    with proxy_of(node, certificate, tmp_path) as (plain, tls):
        click = f"/click?{tokens.link_tokens[0][1]}"
        status, headers, body = ask(plain, click, headers=forged)
        assert (status, headers["Location"], body) == (302, expected, b"")
        status, headers, body = _ask_without_trust(tls, click, forged)
        assert (status, headers["Location"], body) == (302, expected, b"")
        assert ask(plain, "/apple-app-site-association")[2].decode() == AASA
        other = {"Host": "other.example"}
        assert ask(plain, "/apple-app-site-association", headers=other)[0] == 404
        long = f"/click?{tokens.link_tokens[3][1]}"
        status, headers, _ = ask(plain, f"{long}&{'a' * (8192 - len(long) - 1)}")
        assert (status, len(headers["Location"])) == (302, 5_021)
        assert ask(plain, "//click?x")[0] == 404
        if proxy_of is caddy:
            with pytest.raises(OSError):  # /ask says no: no certificate for a host that is not ours
                _ask_without_trust(tls, click, {}, name="other.example")

    clicks = node.wait_events(before + 3)[before:]
    assert {event["engine_ip"] for event in clicks} == {"127.0.0.2"}


def _replaced(name, changes):
    text = (CONFIG / name).read_text()
    for old, new in changes.items():
        assert old in text, f"config/{name} says no more: {old}"
        text = text.replace(old, new)
    return text


def _ask_without_trust(port, path, headers, name=HOST):
    """As `ask` over TLS, whoever signed the certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.2", 0)) as raw:
        connection = http.client.HTTPConnection(HOST)
        connection.sock = context.wrap_socket(raw, server_hostname=name)
        return _exchange(connection, path, "GET", headers, None)


def test_every_example_says_what_the_others_say():
    for name in ("nginx.conf", "Caddyfile", "haproxy.cfg"):
        text = (CONFIG / name).read_text()
        assert "127.0.0.1:8080" in text
        assert "http_trusted_proxy_ips" in text
        assert re.search("docs/howto/behind-a-proxy.md", text)
    assert (CONFIG.parent / "docs/howto/behind-a-proxy.md").exists()


def _program(name: str, *, optional: bool = False) -> str:
    found = shutil.which(name, path=SEARCH)
    if found is None and optional:
        pytest.skip(f"{name} is not installed")
    return found or name


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@contextlib.contextmanager
def _running(command: list[str], port: int):
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, "it ended at once"
                assert time.monotonic() < deadline, "it does not listen"
                time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(20)
