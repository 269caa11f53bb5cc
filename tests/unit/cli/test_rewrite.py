"""`sendback rewrite` as a process: one message, a stream, and input that is none."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HTML = (
    b"From: news@example.com\nSubject: hi\nContent-Type: text/html\n\n"
    b'<html><body><a href="https://example.com/">a</a></body></html>\n'
)


def run(tmp_path, *arguments: str, stdin=b"", **options) -> subprocess.CompletedProcess[bytes]:
    given = {} if "stdin_file" in options else {"input": stdin}
    if "stdin_file" in options:
        given["stdin"] = options.pop("stdin_file")
    return subprocess.run(
        [sys.executable, "-m", "sendback", "rewrite", "--data-dir", tmp_path / "data", *arguments],
        capture_output="stdout" not in options,
        timeout=60,
        check=False,
        **given,
        **options,
    )


def test_one_message(tmp_path):
    """An empty data directory: what is needed is made."""
    done = run(tmp_path, "--rcpt", "ada@example.net", "--explain", stdin=HTML)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"List-Unsubscribe: <http://localhost:")
    assert b"/click?" in done.stdout
    assert b"tracked" in done.stderr
    assert b"mail class" in done.stderr
    assert b"https://example.com/" in done.stderr


def test_a_file(tmp_path):
    (tmp_path / "message.eml").write_bytes(HTML)
    path = str(tmp_path / "message.eml")
    done = run(tmp_path, path, "--rcpt", "ada@example.net", "--json")
    document = json.loads(done.stdout)
    assert document["mail_from"].startswith("bounce+")
    assert document["links"][0]["url"] == "https://example.com/"
    assert b"/click?" in base64.b64decode(document["message_b64"])
    null = run(tmp_path, path, "--rcpt", "ada@example.net", "--sender", "")
    assert null.stdout == HTML


def test_a_stream_answers_line_by_line(tmp_path):
    """Each answer is there before the next line is sent."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sendback", "rewrite", "--jsonl", "-", "--data-dir", tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        for number in range(3):
            asked = {"id": number, "rcpt": f"u{number}@x.test"}
            asked["message_b64"] = base64.b64encode(HTML).decode()
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert answer["id"] == number
            assert len(answer["links"]) == 1
        process.stdin.write(b"junk\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] is None
        process.stdin.close()
        assert process.wait(30) == 1
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        ([], HTML, 2, b"--rcpt"),
        (["--rcpt"], HTML, 2, b"requires an argument"),
        (["--rcpt", "nobody"], HTML, 1, b"not a recipient's address"),
        (["--rcpt", "a@b\nc"], HTML, 1, b"not a recipient's address"),
        (["--rcpt", "a\x1b[31m@b"], HTML, 1, b"not a recipient's address"),
        (["--rcpt", "a@b", "--mail-class", "nope"], HTML, 1, b"no mail class"),
        (["--rcpt", "a@b", "missing.eml"], b"", 1, b"missing.eml"),
        (["--rcpt", "a@b", "/tmp"], b"", 1, b"/tmp"),
        (["--rcpt", "a@b"], b"", 1, b"no message"),
        (["--jsonl", "missing.jsonl"], b"", 1, b"missing.jsonl"),
        (["--rcpt", "a@b", "--nonsense"], b"", 2, b"No such option"),
    ],
)
def test_bad_use(tmp_path, arguments, stdin, code, said):  # reliability.md 7F
    done = run(tmp_path, *arguments, stdin=stdin)
    assert done.returncode == code, done
    assert said in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stderr


def test_junk_goes_through(tmp_path):
    junk = os.urandom(5000).replace(b"\n", b"x")
    done = run(tmp_path, "--rcpt", "a@b.test", stdin=junk)
    assert (done.returncode, done.stdout) == (0, junk)


def test_a_sparse_file_is_refused_unread(tmp_path):
    with (tmp_path / "huge.eml").open("wb") as file:
        file.truncate(10 << 30)
    done = run(tmp_path, "--rcpt", "a@b.test", str(tmp_path / "huge.eml"))
    assert done.returncode == 1
    assert b"over 256 MB" in done.stderr


def test_output_that_cannot_be_written(tmp_path):
    with Path("/dev/full").open("wb") as full:
        done = run(tmp_path, "--rcpt", "a@b.test", stdin=HTML, stdout=full, stderr=-1)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
