"""kill -9, and a kernel that says no: real processes."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sendback.journal import JournalReader

CHILD = """
import sys, threading
from pathlib import Path
from sendback.errors import Unavailable
from sendback.journal import Journal, Level
journal = Journal(Path(sys.argv[1]), "child", segment_bytes=30_000)
level = Level[sys.argv[2]]
lock = threading.Lock()
def work(me):
    for n in range(int(sys.argv[3])):
        payload = b"%d.%d" % (me, n)
        try:
            journal.append(payload, level=level)
        except Unavailable:
            print("refused", payload.decode(), flush=True)
            continue
        with lock:
            sys.stdout.write("ok " + payload.decode() + "\\n")
            sys.stdout.flush()
threads = [threading.Thread(target=work, args=(me,)) for me in range(6)]
[t.start() for t in threads]
[t.join() for t in threads]
journal.close()
"""


def payloads_in(folder: Path) -> list[str]:
    reader = JournalReader(folder)
    found: list[str] = []
    while batch := reader.read():
        found += [record.payload.decode() for record in batch]
    return found


def acknowledged_in(output: bytes) -> set[str]:
    return set(re.findall(r"^ok (\S+)$", output.decode(), re.MULTILINE))


@pytest.mark.parametrize("level", ["DISK", "OS"])
def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path, level) -> None:
    # facts/reliability.md fault 1
    for turn in range(5):
        folder = tmp_path / str(turn)
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), level, "100000"], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(200 + 150 * turn)]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        child.wait()
        child.stdout.close()
        whole = (b"".join(lines) + rest).rpartition(b"\n")[0]

        found = payloads_in(folder)

        assert len(found) == len(set(found))
        assert acknowledged_in(whole) <= set(found)


@pytest.mark.strace
@pytest.mark.parametrize("when", [3, 4, 7, 12])
def test_killed_exactly_at_a_sync(tmp_path, when) -> None:
    # facts/reliability.md fault 2
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
         "-e", f"inject=fdatasync:signal=KILL:when={when}",
         sys.executable, "-c", CHILD, str(tmp_path), "DISK", "30"],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip

    found = payloads_in(tmp_path)
    assert acknowledged_in(done.stdout) <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.strace
@pytest.mark.parametrize("when", ["3", "5", "3..6"])
def test_the_kernel_fails_a_sync(tmp_path, when) -> None:
    # facts/reliability.md fault 4
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
         "-e", f"inject=fdatasync:error=EIO:when={when}",
         sys.executable, "-c", CHILD, str(tmp_path), "DISK", "30"],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip

    acknowledged = acknowledged_in(done.stdout)
    assert acknowledged <= set(payloads_in(tmp_path))
    assert list(tmp_path.glob("*.suspect"))
    # What stands in sound segments alone must hold every acknowledged record: the pages of a
    # suspect one may be gone after a power cut.
    suspects = [path.with_suffix("") for path in tmp_path.glob("*.suspect")]
    sound = b"".join(p.read_bytes() for p in tmp_path.glob("*.seg") if p not in suspects)
    early = b"".join(p.read_bytes() for p in suspects)
    missing = [a for a in acknowledged if a.encode() not in sound and a.encode() not in early]
    assert not missing


SLOW_CHILD = """
import sys, threading, time
from pathlib import Path
from sendback.journal import Journal, Level
journal = Journal(Path(sys.argv[1]), "child")
level, waits, stop = Level[sys.argv[2]], [], time.monotonic() + 2
def work():
    while time.monotonic() < stop:
        began = time.monotonic()
        journal.append(b"x" * 300, level=level, timeout=0.25)
        waits.append(time.monotonic() - began)
        time.sleep(0.005)
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
waits.sort()
print(len(waits), waits[int(len(waits) * 0.99)], waits[-1])
journal.close()
"""


@pytest.mark.strace
@pytest.mark.parametrize(("level", "p99", "longest"), [("DISK", 0.27, 0.6), ("OS", 0.1, 0.4)])
@pytest.mark.parametrize("delay_us", [200_000, 1_000_000])
def test_a_disk_that_takes_its_time(tmp_path, level, p99, longest, delay_us) -> None:
    """facts/reliability.md fault 9; alone on a machine the figures are 0.5 ms, 252 ms and 3 ms."""
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync",
         "-e", f"inject=fdatasync,fsync:delay_enter={delay_us}",
         sys.executable, "-c", SLOW_CHILD, str(tmp_path), level],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip

    count, found_p99, found_longest = done.stdout.split()
    assert int(count) > 500
    assert float(found_p99) <= p99
    assert float(found_longest) <= longest
    assert int(count) == len(payloads_in(tmp_path))
