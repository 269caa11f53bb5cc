"""The command line used wrongly, or by hostile pipes: facts/reliability.md section 7, F1 to F20.

Real processes: what is looked at is exit codes, streams and files. What one command alone answers
to bad input stands with the tests of that command too.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sendback.metadata.local import LocalStore
from sendback.model import LinkFacts, MessageFacts, Privacy
from sendback.secret_constants import Keyring, SecretConstantsFile

MAIL = b"From: a@b.example\nTo: c@d.example\nSubject: x\n\nhello\n"
REWRITE = ("rewrite", "--rcpt", "ann@x.example")


@pytest.fixture
def start(tmp_path):
    def call(*arguments, data_dir=True, **options):
        shared = ["--data-dir", str(tmp_path / "data")] if data_dir else []
        given = {"stdin": subprocess.DEVNULL, "stdout": -1, "stderr": -1, "cwd": tmp_path}
        return subprocess.Popen(
            [sys.executable, "-m", "sendback", *arguments, *shared], **{**given, **options}
        )

    return call


@pytest.fixture
def run(start):
    def call(*arguments, stdin=None, **options):
        if stdin is not None:
            options["stdin"] = subprocess.PIPE
        with start(*arguments, **options) as process:
            out, said = process.communicate(stdin, timeout=60)
        said = said or b""
        assert b"Traceback" not in said, said
        assert b"\x1b" not in (out or b"") + said
        return process.returncode, out, said

    return call


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        pytest.param([], 2, b"Usage", id="F1-no-arguments"),
        pytest.param(["evnets"], 2, b"events", id="F2-unknown-command"),
        pytest.param(["--help"], 0, b"", id="F3-help"),
        pytest.param(["events", "list", "--help"], 0, b"", id="F3-help-of-a-command"),
        pytest.param(["events", "list", "--frm", "1"], 2, b"--frm", id="F4-unknown-flag"),
        pytest.param(["events", "list", "--limit"], 2, b"argument", id="F5-missing-value"),
        pytest.param(["stats", "send"], 2, b"SENDID", id="F5-missing-argument"),
    ],
)
def test_calls(run, arguments, code, says):
    done = run(*arguments, data_dir=False)

    assert done[0] == code
    assert says in done[1] + done[2]


def test_standard_input_that_is_empty_or_closed(run):  # F6
    for closing in ({"stdin": b""}, {"preexec_fn": lambda: os.close(0)}):
        assert run(*REWRITE, **closing)[0] == 1
        assert run("bounces", "parse", **closing)[0] in (0, 1)


def test_standard_input_that_is_a_terminal(run):  # F6
    master, terminal = os.openpty()
    process_sees = os.fdopen(terminal, "rb", closefd=True)
    code, _, said = run(*REWRITE, stdin=None, preexec_fn=lambda: os.dup2(terminal, 0))
    process_sees.close()
    os.close(master)

    assert code == 2  # it would wait for ever for somebody who does not know
    assert b"pipe a message in" in said


def test_standard_output_that_is_closed(run, start):  # F7
    code, _, said = run("config", "show", stdout=None, preexec_fn=lambda: os.close(1))
    assert code in (0, 1), said
    with start("config", "show") as process:
        process.stdout.close()
        assert process.wait(60) in (0, 1, -signal.SIGPIPE)
        assert process.stderr.read() == b""


def test_standard_output_that_is_full(run):  # F8
    with Path("/dev/full").open("wb") as full:
        assert run("mail-class", "list", "--json", stdout=full)[0] == 1


@pytest.mark.parametrize(
    "command",
    [REWRITE, ("bounces", "parse"), ("suppression", "import")],
    ids=["rewrite", "parse", "import"],
)
def test_files_that_can_not_be_read(run, tmp_path, command):  # F9
    for path in ("missing.eml", str(tmp_path), "/proc/self/mem"):
        code, out, said = run(*command, path)
        assert code in (1, 2), path
        assert path.encode() in out + said


def test_a_binary_file_is_mail_too(run, tmp_path):  # F10
    junk = tmp_path / "junk.eml"
    junk.write_bytes(os.urandom(200_000))

    code, out, _ = run("bounces", "parse", str(junk), "--json")
    assert code == 0
    assert b'"other"' in out


def test_a_file_of_10_gb_is_not_read_whole(run, tmp_path):  # F11
    with (tmp_path / "huge.eml").open("wb") as file:
        file.truncate(10 << 30)
    code, _, said = run(*REWRITE, str(tmp_path / "huge.eml"))
    assert code == 1
    assert b"over 256 MB" in said
    code, out, _ = run("bounces", "parse", str(tmp_path / "huge.eml"))  # its head is read
    assert (code, b"other" in out) == (0, True)


def test_arguments_that_are_no_text_and_a_plain_locale(run):  # F12
    env = {**os.environ, "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert run("suppression", "check", b"\xff\xfe@x.example", env=env)[0] in (0, 1, 2)
    assert run("link", "decode", b"http://x/click?\xff", env=env)[0] == 1
    assert run("mail-class", "add", "news", "--listid", "é", env=env)[0] in (0, 1, 2)
    code, out, _ = run("mail-class", "list", "--json", env=env)
    assert code == 0
    json.loads(out)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred", "a\r\nX: y"])
def test_control_characters(run, text):  # F13
    for command in (
        ("stats", "send"),
        ("link", "decode"),
        ("recipient", "show"),
        ("link", "block"),
    ):
        assert run(*command, text)[0] in (1, 2), command


@pytest.mark.parametrize(
    "text", ["", "x", "http://", "http://x/click?", "https://x/click?" + "A" * 9000]
)
def test_decoding_junk(run, text):  # F14
    assert run("link", "decode", text)[0] in (1, 2)


def test_decoding_with_another_key(run, tmp_path):  # F15
    message = b'Content-Type: text/html\nFrom: a@b.example\n\n<a href="https://example.com/">x</a>'
    code, out, _ = run(*REWRITE, stdin=message)
    assert code == 0
    link = out.split(b'href="')[1].split(b'"')[0]
    (tmp_path / "data" / "secret-constants.json").unlink()

    code, out, said = run("link", "decode", link)
    assert code == 1
    assert b"bad MAC" in out + said


def test_a_secret_on_the_command_line_is_warned_of(run):  # F16
    one, two = os.urandom(32).hex(), os.urandom(32).hex()
    code, _, said = run("secret-constants", f"--constant1={one}", f"--constant2={two}")

    assert code == 0
    assert b"history" in said or b"visible" in said or b"warning" in said.lower()


def test_rotating_twice_at_once_keeps_both(start, tmp_path):  # F17
    file = SecretConstantsFile(tmp_path / "data" / "secret-constants.json")
    (tmp_path / "data").mkdir()
    file.ensure()
    running = [start("secret-constants", "rotate", "--json") for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in running]

    rows = file.rows()
    assert len(rows) == 3
    assert {answer["fingerprint"] for answer in answers} < {row.fingerprint for row in rows}
    assert sum(row.state == "signing" for row in rows) == 1


def test_rotating_and_being_killed_loses_no_key(start, tmp_path):  # F18
    path = tmp_path / "data" / "secret-constants.json"
    (tmp_path / "data").mkdir()
    first = SecretConstantsFile(path).ensure().fingerprint
    for number in range(8):
        with start("secret-constants", "rotate") as process:
            time.sleep(0.12 + number * 0.03)
            process.kill()
        rows = SecretConstantsFile(path).rows()
        assert first in {row.fingerprint for row in rows}
        assert SecretConstantsFile(path).load()
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("age", ["0d", "-1d", "garbage", "90", "1e9d", "99999999999999999999d"])
def test_pruning_by_an_age_that_is_none(run, tmp_path, age):  # F19
    filled(tmp_path, 3)
    code, _, said = run("metadata", "prune", "--storage", "local", "--older-than", age)

    assert code == 2
    assert b"90d" in said or b"age" in said
    assert messages(tmp_path) == 3


def test_pruning_that_is_killed_goes_on_where_it_was(start, run, tmp_path):  # F20
    filled(tmp_path, 30_000)
    prune = ("metadata", "prune", "--storage", "local", "--older-than", "90d")
    with start(*prune) as process:
        deadline = time.monotonic() + 60
        while messages(tmp_path) == 30_000 and process.poll() is None:
            assert time.monotonic() < deadline
        process.kill()
    left = messages(tmp_path)
    assert left % 5_000 == 0  # whole batches, or nothing

    assert run(*prune)[0] == 0
    assert messages(tmp_path) == 0


def filled(tmp_path, count):
    """Local metadata with messages of long ago."""
    (tmp_path / "data").mkdir()
    store = LocalStore(tmp_path / "data" / "metadata.sqlite", clock=lambda: 1_500_000_000)
    keyring = Keyring.from_constants(os.urandom(32), os.urandom(32))
    facts = {"listid": "l", "sendid": "s", "click_tracking_id": "", "mail_class": "default",
             "url_domain": "x", "instance_id": "", "privacy": Privacy.FULL}  # fmt: skip
    jobs = [
        (MessageFacts(email=f"u{n}@x.example", tagged_at=1_500_000_000, **facts), ())
        for n in range(count)
    ]
    store.issue(keyring, jobs[0][0], [LinkFacts(url="https://example.com/", pos=1)])
    for batch in (
        itertools.batched(jobs[1:], 5_000) if hasattr(itertools, "batched") else [jobs[1:]]
    ):
        store._writer.run(batch, None)
    store.close()


def messages(tmp_path):
    store = LocalStore(tmp_path / "data" / "metadata.sqlite", readonly=True)
    try:
        return store.counts()["messages"]
    finally:
        store.close()
