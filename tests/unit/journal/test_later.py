"""Appends that call back: once each, never before the disk has the record, never too late."""

import importlib.util
import random
import sys
import threading
import time
from pathlib import Path

import pytest

from sendback.errors import Unavailable
from sendback.journal import Journal, JournalReader, Level

_spec = importlib.util.spec_from_file_location(
    "journal_fakes", Path(__file__).with_name("fakes.py")
)
_fakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fakes)
FailingOps = _fakes.FailingOps


def read_all(folder: Path) -> list[bytes]:
    reader = JournalReader(folder)
    found: list[bytes] = []
    while batch := reader.read():
        found += [record.payload for record in batch]
    return found


class Caller:
    """What one append heard, in order."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.answered = threading.Event()

    def then(self) -> None:
        self.heard.append("then")
        self.answered.set()

    def fail(self, error: Unavailable | None) -> None:
        self.heard.append(error)

    def append(self, journal: Journal, payload: bytes, timeout: float = 20) -> "Caller":
        journal.append_then(payload, self.then, self.fail, timeout=timeout)
        return self

    def wait(self) -> list[object]:
        assert self.answered.wait(20)
        return self.heard


class HangingOps(FailingOps):
    """A disk that hangs in `write` too."""

    def __init__(self) -> None:
        super().__init__()
        self.hold_write = threading.Event()
        self.hold_write.set()

    def write(self, fd: int, data: bytes) -> int:
        self.hold_write.wait(20)
        return super().write(fd, data)


@pytest.fixture
def ops():
    return HangingOps()


@pytest.fixture
def journal(tmp_path, ops):
    made = Journal(tmp_path, "test", files=ops)
    yield made
    ops.hold_sync.set()
    ops.hold_write.set()
    ops.fail_sync = ops.fail_write = 0
    made.close()


def test_who_is_called_back_is_on_the_disk(tmp_path, journal, ops) -> None:
    assert Caller().append(journal, b"one").wait() == ["then"]
    ops.hold_sync.clear()
    ops.in_sync.clear()
    first = Caller().append(journal, b"two")
    assert ops.in_sync.wait(5)
    second = Caller().append(journal, b"three")
    assert not first.answered.wait(0.03)
    assert not second.answered.is_set()
    syncs = ops.syncs
    ops.hold_sync.set()

    assert first.wait() == second.wait() == ["then"]
    assert ops.syncs > syncs  # the second waited for a sync of its own
    assert read_all(tmp_path) == [b"one", b"two", b"three"]
    assert journal.counters()["unconfirmed"] == 0


def test_a_stalled_sync_is_waited_for_no_longer_than_said(tmp_path, journal, ops) -> None:
    # facts/reliability.md fault 9; no thread of the callers waits at all
    Caller().append(journal, b"a segment is open").wait()
    ops.hold_sync.clear()
    began = time.monotonic()
    callers = [Caller().append(journal, b"web %d" % n, timeout=0.25) for n in range(20)]
    assert time.monotonic() - began < 0.2
    heard = [caller.wait() for caller in callers]
    took = time.monotonic() - began

    assert heard == [[None, "then"]] * 20
    assert 0.25 <= took < 2.0
    assert len([p for p in read_all(tmp_path) if p.startswith(b"web")]) == 20  # level os
    began = time.monotonic()
    assert Caller().append(journal, b"web 20", timeout=20).wait() == [None, "then"]
    assert time.monotonic() - began < 5  # degraded: the answer comes at once
    ops.hold_sync.set()
    deadline = time.monotonic() + 10
    while journal.degraded and time.monotonic() < deadline:
        journal.append(b"probe", timeout=0.25)
        time.sleep(0.01)
    assert Caller().append(journal, b"well again").wait() == ["then"]
    assert [len(caller.heard) for caller in callers] == [2] * 20  # and never again
    found = read_all(tmp_path)
    assert len(found) == len(set(found) - {b"probe"}) + found.count(b"probe")


def test_a_stalled_write_too(tmp_path, journal, ops) -> None:
    Caller().append(journal, b"a segment is open").wait()
    ops.hold_write.clear()
    callers = [Caller().append(journal, b"web %d" % n, timeout=0.1) for n in range(5)]

    assert [caller.wait() for caller in callers] == [[None, "then"]] * 5
    ops.hold_write.set()
    journal.append(b"last")
    assert len(read_all(tmp_path)) == 7


def test_a_failed_sync_is_made_good_before_anybody_hears(tmp_path, journal, ops) -> None:
    # facts/reliability.md fault 4
    Caller().append(journal, b"before").wait()
    ops.fail_sync = 1

    assert Caller().append(journal, b"batch").wait() == ["then"]
    assert len(list(tmp_path.glob("*.suspect"))) == 1
    assert {b"before", b"batch"} == set(read_all(tmp_path))


@pytest.mark.parametrize("fault", ["fail_sync", "fail_write"])
def test_a_disk_that_never_obeys_is_told(journal, ops, fault) -> None:
    # facts/reliability.md faults 5 and 6
    Caller().append(journal, b"before").wait()
    setattr(ops, fault, -1)

    refused, then = Caller().append(journal, b"never").wait()

    assert isinstance(refused, Unavailable)
    assert then == "then"
    assert journal.counters()["refused"] == 1
    setattr(ops, fault, 0)
    journal.append(b"the disk is sound again")


def test_a_closed_journal_answers(tmp_path) -> None:
    journal = Journal(tmp_path, "test")
    last = Caller().append(journal, b"last")
    journal.close()

    assert last.heard == ["then"]
    refused, _ = Caller().append(journal, b"after").wait()
    assert isinstance(refused, Unavailable)
    assert read_all(tmp_path) == [b"last"]


def test_a_fault_of_one_caller_is_not_the_others(tmp_path, ops) -> None:
    lines: list[str] = []
    journal = Journal(tmp_path, "test", files=ops, log=lines.append)
    ops.hold_sync.clear()
    first = Caller().append(journal, b"one")

    def broken() -> None:
        raise ConnectionError("gone")

    journal.append_then(b"two", broken, first.fail, timeout=20)
    third = Caller().append(journal, b"three")
    ops.hold_sync.set()

    assert first.wait() == third.wait() == ["then"]
    journal.close()
    assert lines == ["ERROR journal: an answer failed: ConnectionError: gone"]


def test_who_waits_and_who_is_called_share_commits_and_lose_nothing(tmp_path) -> None:
    """The hazard of facts/hotpath.md section 7, with all three kinds of appends at once."""
    journal = Journal(tmp_path, "test", segment_bytes=20_000, slow=60)  # no disk is slow here
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    sent: list[list[bytes]] = [[] for _ in range(12)]
    callers: list[Caller] = []

    def work(me: int) -> None:
        chance = random.Random(me)
        for number in range(150):
            payload = b"%d %d" % (me, number)
            sent[me].append(payload)
            match chance.randrange(4):
                case 0:
                    assert journal.append(payload, level=Level.DISK)
                case 1:
                    assert journal.append(payload, level=Level.OS)
                case _:
                    callers.append(Caller().append(journal, payload))

    threads = [threading.Thread(target=work, args=(me,)) for me in range(12)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(caller.wait() == ["then"] for caller in callers)
    finally:
        sys.setswitchinterval(interval)
        journal.close()

    assert all(caller.heard == ["then"] for caller in callers)
    found = read_all(tmp_path)
    assert 12 * 150 == len(found) == len(set(found))
    for mine in sent:
        prefix = mine[0].split()[0] + b" "
        assert mine == [payload for payload in found if payload.startswith(prefix)]
