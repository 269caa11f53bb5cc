"""A disk that fills up under a running node: answers go on, mail is put off, nothing is lost."""

import contextlib
import os
import re
import smtplib
import subprocess
from pathlib import Path

import pytest

from e2e.test_first_light import SAMPLE, copies, dsn, fetch, html_of, return_path, send
from e2e.test_supervisor import until
from fixtures.node import FREE_PORTS, run_cli, running_node


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int = 24):
    """A tmpfs of its own; skips where mounting is not ours to do."""
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("a small disk needs the right to mount")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path) -> Path:
    """Take all the room there is."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 65536)
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 64)
    return ballast


def test_a_full_disk_is_survived_at_run_time(tmp_path):  # fault matrix 6
    with small_disk(tmp_path / "disk") as disk, running_node(disk / "data") as node:
        send(node, SAMPLE.read_bytes(), ["ada@example.org"])
        (copy,) = copies(node).values()
        link = re.search(r"/click\?[\w-]+", html_of(copy))[0]
        assert fetch(node.web + link)[0] == 302
        assert len(node.wait_events(1)) == 1

        ballast = fill(disk)
        answers = [fetch(node.web + link)[0] for _ in range(20)]
        assert set(answers) == {302}  # redirects go on
        bounce = dsn(copy, "ada@example.org") + b"x" * 200_000

        def put_off() -> bool:
            with smtplib.SMTP(*node.address("smtp"), timeout=30) as smtp:
                try:
                    smtp.sendmail("", [return_path(copy)], bounce)
                except smtplib.SMTPDataError as refused:
                    return refused.smtp_code in (451, 452)
                except smtplib.SMTPSenderRefused as refused:
                    return refused.smtp_code in (451, 452)
                except smtplib.SMTPRecipientsRefused as refused:
                    return {code for code, _ in refused.recipients.values()} <= {451, 452}
            return False

        assert until(put_off)

        ballast.unlink()

        def taken() -> bool:
            with smtplib.SMTP(*node.address("smtp"), timeout=30) as smtp:
                try:
                    return smtp.sendmail("", [return_path(copy)], bounce) == {}
                except smtplib.SMTPException:
                    return False

        assert until(taken, 60)  # resumes alone
        assert until(lambda: any(e["event_type"] == "bounce_all" for e in node.events()), 60)
        ids = [event["event_unique_id"] for event in node.events()]
        assert len(ids) == len(set(ids))
        assert "Traceback" not in node.log()


def test_a_full_disk_is_refused_at_start(tmp_path):
    with small_disk(tmp_path / "disk", 8) as disk:
        fill(disk)
        done = run_cli("serve", "--data-dir", str(disk / "data"), env=FREE_PORTS, check=False)

    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_disk_is_refused_at_start(tmp_path):  # fault matrix 8
    with small_disk(tmp_path / "disk", 8) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = run_cli("serve", "--data-dir", str(disk / "data"), env=FREE_PORTS, check=False)

    assert done.returncode == 1
    assert "read-only" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_of_somebody_else_is_refused_at_start(tmp_path):
    (tmp_path / "data").mkdir(mode=0o500)
    done = run_cli("serve", "--data-dir", str(tmp_path / "data"), env=FREE_PORTS, check=False)

    assert done.returncode == 1
    assert "no right to write there" in done.stderr
