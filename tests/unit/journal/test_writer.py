"""Group commit, and what happens when the disk does not play along."""

import asyncio
import errno
import importlib.util
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


@pytest.fixture
def ops():
    return FailingOps()


@pytest.fixture
def journal(tmp_path, ops):
    made = Journal(tmp_path, "test", files=ops)
    yield made
    ops.hold_sync.set()
    ops.fail_sync = ops.fail_write = 0
    ops.short_writes = False
    made.close()


@pytest.mark.parametrize("level", list(Level))
def test_an_appended_record_is_read_while_the_writer_lives(tmp_path, journal, level) -> None:
    assert journal.append(b"one", level=level)
    assert journal.append(b"two", level=level, timeout=5)

    assert read_all(tmp_path) == [b"one", b"two"]


@pytest.mark.parametrize("level", list(Level))
def test_no_acknowledged_record_is_missing_twice_or_out_of_its_threads_order(
    tmp_path, level
) -> None:
    """The swap-and-append hazard: facts/hotpath.md section 7. Tiny batches, many switches."""
    import sys

    journal = Journal(tmp_path, "test", segment_bytes=20_000)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    acknowledged: list[list[bytes]] = [[] for _ in range(12)]

    def work(me: int) -> None:
        for number in range(150):
            payload = b"%d %d" % (me, number)
            if journal.append(payload, level=level if number % 3 else Level.DISK):
                acknowledged[me].append(payload)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(12)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        journal.close()

    found = read_all(tmp_path)
    assert 12 * 150 == len(found) == len(set(found))
    for mine in acknowledged:
        prefix = mine[0].split()[0] + b" "
        assert mine == [payload for payload in found if payload.startswith(prefix)]


def test_a_sync_covers_only_what_was_written_before_it(tmp_path, journal, ops) -> None:
    """A record that comes while a sync is under way waits for the next one."""
    ops.hold_sync.clear()
    journal_first = threading.Thread(target=journal.append, args=(b"first",))
    journal_first.start()
    ops.in_sync.wait(5)
    done = threading.Event()

    def second() -> None:
        journal.append(b"second")
        done.set()

    threading.Thread(target=second).start()
    assert not done.wait(0.05)
    ops.hold_sync.set()
    assert done.wait(5)
    journal_first.join()
    assert read_all(tmp_path) == [b"first", b"second"]


def test_a_stalled_disk_holds_nobody_longer_than_his_timeout(tmp_path, journal, ops) -> None:
    # facts/reliability.md fault 9
    journal.append(b"a segment is open")
    ops.hold_sync.clear()
    ops.in_sync.clear()
    leader = threading.Thread(target=journal.append, args=(b"leader",))
    leader.start()
    ops.in_sync.wait(5)
    began = time.monotonic()
    answers = [journal.append(b"web %d" % n, timeout=0.25) for n in range(20)]
    took = time.monotonic() - began

    assert not any(answers)
    assert took < 2.0  # not 20 x 0.25: once it is known, answers come at once
    assert journal.degraded
    assert len([p for p in read_all(tmp_path) if p.startswith(b"web")]) == 20  # level os
    ops.hold_sync.set()
    leader.join()
    deadline = time.monotonic() + 10
    while journal.degraded and time.monotonic() < deadline:
        journal.append(b"probe", timeout=0.25)
        time.sleep(0.01)
    assert not journal.degraded
    assert journal.append(b"well again", timeout=5)
    assert journal.counters()["unconfirmed"] >= 20


def test_while_it_is_slow_the_sync_thread_syncs_and_nobody_leads(tmp_path, ops) -> None:
    journal = Journal(tmp_path, "test", files=ops, slow=-1.0)  # every sync is slow
    journal.append(b"one")
    ops.hold_sync.clear()
    ops.in_sync.clear()
    waiting = threading.Thread(target=journal.append, args=(b"two",))
    waiting.start()
    ops.in_sync.wait(5)
    names = [t.name for t in threading.enumerate()]
    ops.hold_sync.set()
    waiting.join(5)
    journal.close()

    assert "journal-sync" in names
    assert read_all(tmp_path) == [b"one", b"two"]


def test_a_failed_sync_moves_the_batch_to_a_new_segment(tmp_path, journal, ops) -> None:
    # facts/reliability.md fault 4
    journal.append(b"before")
    ops.fail_sync = 1

    assert journal.append(b"batch")

    assert len(list(tmp_path.glob("*.suspect"))) == 1
    assert len(list(tmp_path.glob("*.seg"))) == 2
    assert journal.counters()["failed_syncs"] == 1
    assert {b"before", b"batch"} == set(read_all(tmp_path))
    newest = max(tmp_path.glob("*.seg"), key=lambda p: p.stat().st_mtime_ns)
    assert b"batch" in newest.read_bytes()


def test_level_os_records_are_rescued_too(tmp_path, ops) -> None:
    journal = Journal(tmp_path, "test", files=ops, os_interval=30)
    journal.append(b"quiet", level=Level.OS)
    ops.fail_sync = 1
    journal.append(b"loud")

    suspects = {p.with_suffix("") for p in tmp_path.glob("*.suspect")}
    sound = [p for p in tmp_path.glob("*.seg") if p not in suspects]
    assert len(sound) == 1
    assert b"quiet" in sound[0].read_bytes()
    journal.close()


def test_a_disk_that_never_syncs_refuses_everybody(tmp_path, journal, ops) -> None:
    # facts/reliability.md fault 5
    journal.append(b"before")
    ops.fail_sync = -1

    for _ in range(3):
        with pytest.raises(Unavailable):
            journal.append(b"never")
    ops.fail_sync = 0
    assert journal.append(b"again")
    assert b"again" in read_all(tmp_path)


def test_a_full_disk_uses_the_reserve_and_refuses_smtp(tmp_path, journal, ops) -> None:
    # facts/reliability.md fault 6
    journal.append(b"before")
    ops.fail_write = 1
    ops.room = 0

    assert journal.append(b"with the reserve's room")
    assert journal.full
    assert not (tmp_path / "test.reserve").exists()
    with pytest.raises(Unavailable):
        asyncio.run(journal.append_async(b"smtp"))

    ops.room = 1 << 40
    journal._disk._looked_at = 0.0
    asyncio.run(journal.append_async(b"smtp again"))
    assert not journal.full
    assert (tmp_path / "test.reserve").exists()


def test_half_a_write_is_cut_away(tmp_path, journal, ops) -> None:
    journal.append(b"before")
    ops.short_writes = True
    with pytest.raises(Unavailable):
        journal.append(b"never acknowledged " * 10)
    ops.short_writes = False
    journal.append(b"after")

    assert read_all(tmp_path) == [b"before", b"after"]


def test_another_write_error_goes_on_in_a_new_segment(tmp_path, journal, ops) -> None:
    journal.append(b"before")
    ops.fail_write, ops.write_errno = 1, errno.EIO

    assert journal.append(b"after")
    assert len(list(tmp_path.glob("*.seg"))) == 2
    assert read_all(tmp_path) == [b"before", b"after"]


def test_segments_rotate_and_are_released_when_synced(tmp_path) -> None:
    journal = Journal(tmp_path, "test", segment_bytes=2_000)
    for number in range(100):
        journal.append(b"%04d" % number * 20)
    reader = JournalReader(tmp_path)
    while reader.read():
        pass
    before = len(list(tmp_path.glob("*.seg")))
    gone = reader.delete_read()
    left = len(list(tmp_path.glob("*.seg")))
    journal.append(b"the live one stayed")
    journal.close()

    assert before > 3
    assert before - left == len(gone)
    assert 1 <= left <= 2  # the live one, and at most one that waits for its last sync


def test_async_appends_share_commits(tmp_path, journal, ops) -> None:
    async def many() -> None:
        await asyncio.gather(*(journal.append_async(b"%d" % n) for n in range(200)))

    asyncio.run(many())

    assert {b"%d" % n for n in range(200)} == set(read_all(tmp_path))
    assert ops.syncs < 100


def test_a_cancelled_async_append_completes(tmp_path, journal, ops) -> None:
    async def cancel() -> None:
        ops.hold_sync.clear()
        task = asyncio.create_task(journal.append_async(b"kept"))
        await asyncio.to_thread(ops.in_sync.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ops.hold_sync.set()
        await journal.append_async(b"next")

    asyncio.run(cancel())
    assert read_all(tmp_path) == [b"kept", b"next"]


def test_an_error_in_the_log_does_not_stop_the_journal(tmp_path, ops) -> None:
    # facts/reliability.md fault 39
    def broken(_line: str) -> None:
        raise BrokenPipeError

    journal = Journal(tmp_path, "test", files=ops, log=broken)
    ops.fail_sync = 1
    assert journal.append(b"fine")
    journal.close()
    with pytest.raises(Unavailable):
        journal.append(b"closed")


class FailsThenHangs(FailingOps):
    """A sync that fails does so at once; the others wait for `hold_sync`."""

    def fdatasync(self, fd: int) -> None:
        if self.fail_sync:
            self.fail_sync -= 1
            raise OSError(5, "input/output error")
        super().fdatasync(fd)


def test_a_rescue_that_hangs_holds_nobody(tmp_path) -> None:
    """Found with tests/bench/slow_disk.c: a disk that hung and then failed stopped every answer.

    The rescue's own sync hangs until the test lets it go, so whoever is answered before that has
    not waited for the disk, however slow the machine is.
    """
    ops = FailsThenHangs()
    journal = Journal(tmp_path, "test", files=ops)
    journal.append(b"before")
    ops.hold_sync.clear()
    ops.in_sync.clear()
    ops.fail_sync = 1
    leader = threading.Thread(target=journal.append, args=(b"leader",))
    leader.start()
    assert ops.in_sync.wait(5)

    assert journal.append(b"os", level=Level.OS, timeout=20)
    assert not journal.append(b"disk", timeout=0.01)
    assert leader.is_alive()
    ops.hold_sync.set()
    leader.join(10)
    journal.close()
    assert set(read_all(tmp_path)) >= {b"before", b"leader", b"os", b"disk"}
