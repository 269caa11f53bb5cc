"""A smarthost that wants TLS and a login: a real aiosmtpd with a certificate made here."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sendback.errors import Malformed
from sendback.model import SmtpRoute
from sendback.relay import Answer, Outgoing
from sendback.relay.upstream import Upstream


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """Key and self-signed certificate for 127.0.0.1, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "smarthost.test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "smarthost.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class Smarthost:
    """Takes mail from who has logged in; remembers over what it came."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, bool]] = []
        self.logins: list[tuple[bytes, bytes]] = []

    def judge(self, server, session, envelope, mechanism, data) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"geheim", handled=False, auth_data=data)

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.mails.append((envelope.rcpt_tos[0], server.transport.get_extra_info("cipher")))
        return "250 2.0.0 taken"


@pytest.fixture
def smarthost(certificate):
    opened = []

    def start(*, has_tls=True, wants_login=True, implicit=False):
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        handler = Smarthost()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        options = {"auth_required": wants_login, "authenticator": handler.judge}
        if implicit:
            options = {"ssl_context": context, "auth_require_tls": False, **options}
            options["auth_required"] = False  # the library does not see this TLS
        elif has_tls:
            options |= {"tls_context": context}
        controller = Controller(handler, "127.0.0.1", port, **options)
        controller.start()
        opened.append(controller)
        handler.port = port
        return handler

    yield start
    for controller in opened:
        controller.stop()


def send(smarthost, count=1, **route) -> list[Answer]:
    async def main():
        fields = {"domain": "*", "host": "127.0.0.1", "port": smarthost.port, **route}
        upstream = Upstream(SmtpRoute(**fields), hostname="mx.test", timeout=10.0)
        outgoing = Outgoing("b@mx.test", "ada@x.test", b"Subject: x\r\n\r\n")
        answers = [await upstream.send(outgoing) for _ in range(count)]
        await upstream.close()
        # TLS says good-bye behind `close`; a loop that ends before it leaves its transport open
        sockets = asyncio.get_running_loop()._selector.get_map()
        async with asyncio.timeout(20):
            while len(sockets) > 1:  # noqa: ASYNC110 - the loop's own is one; nothing tells of it
                await asyncio.sleep(0.001)
        return answers

    return asyncio.run(main())


LOGIN = {"username": "shop", "password": "geheim"}


@pytest.mark.parametrize("tls", ["opportunistic", "required"])
def test_login_over_starttls(smarthost, certificate, monkeypatch, tls):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    host = smarthost()
    assert send(host, 3, **LOGIN, tls=tls) == [Answer(250, "2.0.0 taken")] * 3
    assert host.logins == [(b"shop", b"geheim")]  # once: the connection is kept
    assert all(cipher for _, cipher in host.mails)


def test_an_untrusted_certificate(smarthost):
    """Good enough between mail servers, not where TLS is required."""
    host = smarthost(wants_login=False)
    assert send(host) == [Answer(250, "2.0.0 taken")]
    assert host.mails[0][1]
    (answer,) = send(host, tls="required")
    assert answer.text.startswith("4.7.4 ")
    assert send(host, tls="off") == [Answer(250, "2.0.0 taken")]
    assert not host.mails[1][1]


def test_a_certificate_for_another_name(smarthost, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    host = smarthost(wants_login=False)
    (answer,) = send(host, tls="required", host="localhost")
    assert answer.text.startswith("4.7.4 ")


def test_a_password_never_travels_in_clear(smarthost):
    host = smarthost(has_tls=False)
    for tls in ("opportunistic", "required"):
        (answer,) = send(host, **LOGIN, tls=tls)
        assert answer.text.startswith("4.7.4 ")
    assert host.logins == []


def test_a_refused_login_is_not_the_messages_fault(smarthost):
    host = smarthost()
    (answer,) = send(host, username="shop", password="wrong")
    assert answer == Answer(451, "4.7.8 The next mail server refused our login, try again later")
    assert host.mails == []


def test_implicit_tls(smarthost, certificate, monkeypatch):
    """Port 465, where TLS comes before the greeting."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    host = smarthost(implicit=True)
    create = asyncio.BaseEventLoop.create_connection

    async def elsewhere(self, protocol, host_name=None, port=None, **options):
        host_name, port = options.pop("host", host_name), options.pop("port", port)
        return await create(
            self, protocol, host_name, host.port if port == 465 else port, **options
        )

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", elsewhere)
    assert send(host, **LOGIN, port=465, tls="required") == [Answer(250, "2.0.0 taken")]
    assert host.mails[0][1]
    assert host.logins == [(b"shop", b"geheim")]
    monkeypatch.delenv("SSL_CERT_FILE")
    (answer,) = send(host, **LOGIN, port=465, tls="required")
    assert answer.text.startswith("4.7.4 ")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"username": "shop"}, "username"),
        ({"password": "geheim"}, "username"),
        ({**LOGIN, "tls": "off"}, "tls"),
    ],
)
def test_routes_that_make_no_sense(fields, field):
    with pytest.raises(Malformed) as caught:
        SmtpRoute(domain="*", host="mx.test", **fields)
    assert caught.value.field == field
