"""STARTTLS and AUTH, on a real certificate."""

import base64
import smtplib
import ssl
import subprocess
from pathlib import Path

import pytest

from sendback.errors import Misconfigured
from sendback.model import Catalog
from sendback.relay import Outbox
from sendback.smtp.limits import Limits
from sendback.smtp.server import tls_context
from sendback.smtp.submission import Submission
from sendback.smtp.submitting import SubmissionSession
from sendback.tagging import Tagging


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=mx.test -keyout {folder}/key -out {folder}/cert",
        shell=True,
        check=True,
        capture_output=True,
    )
    return folder / "cert", folder / "key"


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_a_bounce_over_tls(listener, certificate, captured, signed):
    door = listener(tls=tls_context(*certificate))
    with smtplib.SMTP("127.0.0.1", door.port) as client:
        client.ehlo()
        assert client.has_extn("starttls")
        client.starttls(context=trusting())
        assert client.mail("")[0] == 503  # what was said before is forgotten
        client.ehlo()
        assert not client.has_extn("starttls")
        assert client.sock.version() in ("TLSv1.2", "TLSv1.3")
        assert client.sendmail("", [signed()], b"x" * 300_000) == {}
        assert client.docmd("STARTTLS")[0] == 502
    assert len(captured()) == 1


def test_a_command_injected_behind_starttls_is_not_run(listener, certificate):  # 7B.20
    door = listener(tls=tls_context(*certificate))
    client = door.connect()
    client.reply()
    client.ask(b"EHLO c.test")
    client.send(b"STARTTLS\r\nMAIL FROM:<>\r\n")
    assert client.reply() == b"554 5.5.0 Data sent before it was asked for\r\n"
    assert client.reply() == b""
    client.close()


def test_junk_in_place_of_a_handshake_ends_the_connection(listener, certificate):
    door = listener(tls=tls_context(*certificate))
    client = door.connect()
    client.reply()
    client.ask(b"EHLO c.test")
    assert client.ask(b"STARTTLS").startswith(b"220")
    client.send(b"MAIL FROM:<>\r\n" * 100)
    while client.file.read(1024):
        pass
    client.close()


def test_old_tls_is_refused(certificate):
    assert tls_context(*certificate).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_certificate_that_cannot_be_loaded(tmp_path):
    (tmp_path / "cert").write_text("nonsense")
    with pytest.raises(Misconfigured, match="can't be loaded"):
        tls_context(tmp_path / "cert", None)


@pytest.fixture
def submission(doors, metadata, journal, catalog: Catalog, certificate, tmp_path):
    import argon2

    hashed = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("geheim")
    handler = Submission(
        Tagging(metadata, lambda: catalog),
        Outbox(tmp_path / "outbox"),
        journal,
        tmp_path / "deferred",
        hostname="mx.test",
        allowed_networks=[],
        users={"app": "sécret", "hashed": hashed},
        user_mail_classes={"app": "plain"},
    )
    return doors(
        lambda server: SubmissionSession(server, handler),
        tls=tls_context(*certificate),
        limits=Limits(drain_seconds=2),
    )


def secure(port: int) -> smtplib.SMTP:
    client = smtplib.SMTP("127.0.0.1", port)
    client.ehlo()
    assert not client.has_extn("auth")
    client.starttls(context=trusting())
    client.ehlo()
    return client


def plain(user: str, password: str) -> str:
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_login(submission, tmp_path, mechanism):
    with secure(submission.port) as client:
        client.user, client.password = "hashed", "geheim"
        method = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}[mechanism]
        assert client.auth(mechanism, method)[0] == 235
        assert client.docmd("AUTH", "PLAIN " + plain("hashed", "geheim"))[0] == 503
        assert client.sendmail("a@b.test", ["c@d.test"], b"Subject: x\r\n\r\n") == {}
    assert len(list((tmp_path / "outbox/new").iterdir())) == 1


def test_the_users_mail_class(submission, tmp_path):
    html = b"Content-Type: text/html\r\n\r\n<a href='https://example.com/'>x</a>"
    with secure(submission.port) as client:
        assert client.docmd("AUTH", "PLAIN " + plain("app", "sécret"))[0] == 235
        client.sendmail("a@b.test", ["c@d.test"], html)
        client.sendmail("a@b.test", ["c@d.test"], b"X-GreenArrow-MailClass: NEWS\r\n" + html)
    first, second = (path.read_bytes() for path in sorted((tmp_path / "outbox/new").iterdir()))
    assert b"'https://example.com/'" in first
    assert b"/click?" in second


def test_wrong_credentials(submission):
    with secure(submission.port) as client:
        assert client.docmd("AUTH", "CRAM-MD5")[0] == 504
        assert client.docmd("AUTH", "PLAIN !!!")[0] == 501
        assert client.docmd("AUTH", "PLAIN")[0] == 334
        assert client.docmd("*")[0] == 501
        assert client.docmd("AUTH", "PLAIN " + plain("app", "wrong"))[0] == 535
        assert client.docmd("AUTH", "PLAIN " + plain("nobody", "sécret"))[0] == 535
        assert client.mail("a@b.test")[0] == 530
        assert client.docmd("AUTH", "PLAIN " + plain("hashed", "x"))[0] == 535
        assert client.getreply()[0] == 421


def test_junk_in_place_of_a_handshake_ends_a_submission_too(submission):
    client = submission.connect()
    client.reply()
    client.ask(b"EHLO c.test")
    assert client.ask(b"STARTTLS") == b"220 2.0.0 Ready to start TLS\r\n"
    client.send(b"MAIL FROM:<>\r\n" * 100)
    while client.file.read(1024):
        pass
    client.close()
    assert submission.server.counters["faults"] == 0


def test_injected_commands_are_forgotten(submission):
    """CVE-2024-34083: what came in clear behind STARTTLS is not run under TLS."""
    client = submission.connect()
    client.reply()
    client.ask(b"EHLO c.test")
    client.send(b"STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n")
    assert client.reply().startswith(b"220")
    with trusting().wrap_socket(client.sock) as secured:
        client.file.close()
        secured.sendall(b"EHLO c.test\r\nRCPT TO:<a@b.test>\r\n")
        received = b""
        while b"503 5.5.1 MAIL first" not in received:
            received += secured.recv(4096)
    assert b"STARTTLS" not in received


def test_login_over_tls_only_and_once(submission):
    with secure(submission.port) as client:
        assert client.docmd("auth", "plain " + plain("app", "sécret"))[0] == 235
        assert client.docmd("STARTTLS")[0] == 502
        assert client.mail("a@b.test")[0] == 250
        assert client.docmd("AUTH", "PLAIN " + plain("app", "sécret"))[0] == 503
    with smtplib.SMTP("127.0.0.1", submission.port) as client:
        client.ehlo()
        assert client.docmd("AUTH", "PLAIN " + plain("app", "sécret"))[0] == 538


def test_login_lines_of_any_kind(submission):
    with secure(submission.port) as client:
        for line in ["=", "AA==", "////", base64.b64encode(b"a\0b\0c\0d").decode()]:
            assert client.docmd("AUTH", "PLAIN " + line)[0] == 501
        assert client.docmd("AUTH", "PLAIN")[0] == 334
        client.send("A" * 70_000 + "\r\n")
        assert client.getreply()[0] == 421
    assert submission.server.counters["faults"] == 0


def test_who_guesses_too_often_must_wait(submission):
    for _ in range(7):
        client = secure(submission.port)
        for _ in range(3):
            assert client.docmd("AUTH", "PLAIN " + plain("app", "wrong"))[0] in (535, 454)
        client.close()
    with secure(submission.port) as client:
        code, words = client.docmd("AUTH", "PLAIN " + plain("app", "sécret"))
        assert (code, words) == (454, b"4.7.0 Too many failed logins, try again later")
