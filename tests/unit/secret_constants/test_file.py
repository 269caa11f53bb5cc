"""The file of secret constants: private, atomic, one change at a time, clear in its errors."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sendback.errors import Conflict, Malformed, Misconfigured, NotFound
from sendback.secret_constants import Key, SecretConstantsFile

ONE, TWO = bytes(range(32)).hex(), bytes(range(32, 64)).hex()


@pytest.fixture
def file(tmp_path: Path) -> SecretConstantsFile:
    return SecretConstantsFile(
        tmp_path / "data" / "secret-constants.json", clock=lambda: 1_795_000_000
    )


def test_first_start_makes_a_private_random_pair_once(file):
    made = file.ensure()

    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [len(bytes.fromhex(c)) for c in made.signing.constants] == [32, 32]
    assert file.ensure().signing == made.signing
    assert file.load().signing == made.signing


def test_no_file_names_the_cure(file):
    with pytest.raises(Misconfigured, match="no secret constants yet") as caught:
        file.load()

    assert caught.value.hint
    assert caught.value.place == str(file.path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_readable_by_others_is_refused(file, mode):  # W16
    file.ensure()
    file.path.chmod(mode)

    with pytest.raises(Misconfigured, match="other users") as caught:
        file.load()
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", b"{}", b"[]", b'{"keys":[]}', b'{"keys":[{"constant1":"xx"}]}',
        b'{"keys":[],"version":2}', b"null",
        b'{"keys":[{"constant1":"SECRETSECRET","constant2":"SECRETSECRET","state":"signing"}]}',
    ],
)  # fmt: skip
def test_a_broken_file_is_named_and_its_content_is_not(file, content):
    file.ensure()
    file.path.write_bytes(content)

    with pytest.raises(Misconfigured) as caught:
        file.load()
    assert caught.value.place == str(file.path)
    assert "SECRET" not in str(caught.value)


def test_set_the_pair_of_another_server(file):  # S0.3
    file.ensure()
    before = file.load().signing

    ring = file.set_pair(ONE, TWO)

    assert ring.signing == Key(bytes.fromhex(ONE), bytes.fromhex(TWO))
    assert ring.accepted == (before,)
    assert file.set_pair(ONE, TWO).signing == ring.signing
    assert len(file.rows()) == 2


def test_add_promote_retire(file):
    first = file.ensure().signing
    added = file.add()
    assert file.load().signing == first
    assert file.load().accepted == (added,)

    file.promote(added.fingerprint[:8])
    assert file.load().signing == added
    assert file.load().accepted == (first,)

    file.retire(first.fingerprint)
    ring = file.load()
    assert ring.accepted == ()
    assert ring.retired == (first,)
    assert [row.state for row in file.rows()] == ["signing", "retired"]


def test_the_same_pair_added_on_every_server(file, tmp_path):
    other = SecretConstantsFile(tmp_path / "other" / "secret-constants.json")
    file.ensure()
    other.ensure()
    added = file.add()

    assert other.add(*added.constants) == added
    assert other.promote(f"{added.key_id:02x}") == added
    assert other.add(*added.constants) == added  # and nothing changes: it signs already
    assert other.load().signing == added


def test_what_can_not_be_done_says_so(file):
    signing = file.ensure().signing

    with pytest.raises(Conflict, match="promote another"):
        file.retire(signing.fingerprint)
    with pytest.raises(NotFound, match="list"):
        file.promote("nothing")
    with pytest.raises(Malformed, match="32 hexadecimal digits"):
        file.set_pair("aa", TWO)
    with pytest.raises(Malformed, match="both"):
        file.add(ONE)
    assert file.load().signing == signing


def test_rotations_at_once_all_take_effect(file):
    file.ensure()
    threads = [threading.Thread(target=file.rotate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [row.state for row in file.rows()] == ["signing"] + ["accepted"] * 8
    assert file.path.stat().st_mode & 0o777 == 0o600


ROTATE_FOR_EVER = """
import sys
from sendback.secret_constants import SecretConstantsFile
file = SecretConstantsFile(sys.argv[1])
print("ready", flush=True)
while len(file.rows()) < 400:
    file.rotate()
    file.retire(next(row.fingerprint for row in file.rows() if row.state == "accepted"))
"""


def test_killed_in_the_middle_of_a_rotation(file):
    """The file holds the old or the new keys, whole; the lock of the dead is free."""
    first = file.ensure().signing
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", ROTATE_FOR_EVER, str(file.path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        before = file.path.stat().st_ino
        while file.path.stat().st_ino == before:
            os.sched_yield()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()

        ring = file.load()
        assert first in (ring.signing, *ring.accepted, *ring.retired)
        assert file.rotate() == file.load().signing
