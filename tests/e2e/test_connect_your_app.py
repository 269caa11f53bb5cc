"""docs/howto/connect-your-app.md, block by block, against a real node."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.node import running_node

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "connect-your-app.md"


def block(name: str, port: int) -> str:
    found = re.search(rf"^```\w+ {name}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, name
    return found[1].replace("2587", str(port))


def copies(node, count: int) -> list[bytes]:
    new = node.data_dir / "outbox" / "new"
    deadline = time.monotonic() + 20
    while not new.is_dir() or len(list(new.iterdir())) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [path.read_bytes() for path in sorted(new.iterdir())]


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("app")
    with running_node(folder / "data", arguments=["--only", "web,admin,submission"]) as running:
        yield running


@pytest.fixture
def port(node) -> int:
    shutil.rmtree(node.data_dir / "outbox" / "new", ignore_errors=True)
    return node.address("submission")[1]


def test_smtplib(node, port):
    subprocess.run([sys.executable, "-c", block("smtplib", port)], check=True, timeout=60)
    (copy,) = copies(node, 1)
    assert b"Delivered-To: ada@example.net" in copy
    assert b"/click?" in copy
    assert b"SPRING|1815" not in copy


def test_django(node, port):
    pytest.importorskip("django", reason="Django is not installed")
    script = f"""
from django.conf import settings
values = {{}}
exec({block("django", port)!r}, values)
settings.configure(**{{k: v for k, v in values.items() if k.isupper()}})
import django
django.setup()
from django.core.mail import EmailMultiAlternatives, send_mail
assert send_mail("hi", "text", "news@example.com", ["ada@example.net"],
                 html_message='<a href="https://example.com/">x</a>') == 1
mail = EmailMultiAlternatives("hi", "text", "news@example.com", ["a@x.test"], bcc=["b@x.test"],
                              headers={{"X-GreenArrow-SendID": "Django-1"}})
assert mail.send() == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    found = copies(node, 3)
    assert sum(b"/click?" in copy for copy in found) == 1
    assert not any(b"X-GreenArrow" in copy for copy in found)


@pytest.mark.skipif(not shutil.which("swaks"), reason="swaks is not installed")
def test_swaks(node, port):
    subprocess.run(block("swaks", port), shell=True, check=True, capture_output=True, timeout=60)
    (copy,) = copies(node, 1)
    assert b"/click?" in copy


@pytest.mark.skipif(not shutil.which("swaks"), reason="swaks is not installed")
def test_lmtp(tmp_path):
    env = {"SENDBACK_SUBMISSION__PROTOCOL": "lmtp"}
    with running_node(tmp_path / "data", arguments=["--only", "web,submission"], env=env) as node:
        command = block("lmtp", node.address("submission")[1])
        done = subprocess.run(
            command, shell=True, check=True, capture_output=True, timeout=60, text=True
        )
        assert "LHLO" in done.stdout
        (copy,) = copies(node, 1)
        assert copy.startswith(b"Return-Path: <bounce+")


def test_the_configuration_examples_are_valid(tmp_path):
    from fixtures.node import run_cli

    blocks = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    for number, text in enumerate(blocks):
        path = tmp_path / f"{number}.toml"
        path.write_text(text)
        arguments = ("--config", str(path), "--data-dir", str(tmp_path / "data"))
        assert run_cli("config", "check", *arguments).returncode == 0


def test_over_http(node, port, tmp_path):
    made = node.cli(*block("key", 0).split()[1:], "--json").stdout
    (tmp_path / "message.eml").write_bytes(
        b"From: news@example.com\nSubject: hello\nContent-Type: text/html\n\n"
        b'<p><a href="https://example.com/">go</a></p>\n'
    )
    script = block("rest", 0).replace("http://127.0.0.1:8081", node.admin)
    environ = {**os.environ, "SENDBACK_KEY": json.loads(made)["key"]}
    answers = [
        json.loads(
            subprocess.run(
                ["sh", "-c", script], check=True, capture_output=True, timeout=60, cwd=tmp_path,
                env=environ,
            ).stdout
        )
        for _ in range(2)
    ]  # fmt: skip

    assert answers[0] == answers[1]
    assert [(r["rcpt"], r["status"], r["code"]) for r in answers[0]["recipients"]] == [
        ("ada@example.net", "accepted", 250), ("bob@example.net", "accepted", 250),
    ]  # fmt: skip
    found = copies(node, 2)
    assert len(found) == 2  # the second request sent nothing
    assert all(b"/click?" in copy for copy in found)
