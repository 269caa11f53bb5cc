"""Lines of a file: synced, whole, safe with logrotate."""

import gzip
import json
import os
import re
import subprocess
import sys
import time

import pytest

from sendback.delivery import made_up_event
from sendback.sinks import Result
from sendback.sinks.ndjson import NdjsonSink


def batch(count: int, start: int = 0):
    return [made_up_event("node", 1_700_000_000 + start + n) for n in range(count)]


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_are_lines(tmp_path) -> None:
    path = tmp_path / "deep" / "all.ndjson"
    sink = NdjsonSink(path)
    first = batch(3)
    assert sink.deliver(first).result is Result.DELIVERED
    sink.deliver(batch(2))
    sink.close()

    assert len(lines(path)) == 5
    assert path.read_bytes().startswith(first[0].body + b"\n")
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("how", ["rename", "delete", "replace"])
def test_logrotate_may_move_the_file_away(tmp_path, how) -> None:
    path = tmp_path / "all.ndjson"
    sink = NdjsonSink(path)
    sink.deliver(batch(1))
    if how == "delete":
        path.unlink()
    else:
        path.rename(tmp_path / "old")
    if how == "replace":
        path.touch()
    sink.deliver(batch(2))
    sink.close()

    assert len(lines(path)) == 2


def test_rotation_by_size(tmp_path) -> None:
    now = [1_700_000_000.0]
    path = tmp_path / "all.ndjson"
    sink = NdjsonSink(path, rotate_bytes=2000, clock=lambda: now[0])
    for _ in range(12):
        sink.deliver(batch(1))
        now[0] += 1
    sink.close()
    rotated = sorted(tmp_path.glob("all.ndjson.2*"))

    assert len(rotated) >= 3
    assert re.fullmatch(r"all\.ndjson\.20231114T2213\d\d", rotated[0].name)
    assert sum(len(lines(p)) for p in [*rotated, *tmp_path.glob("all.ndjson")]) == 12


def test_a_file_that_can_not_be_rotated_is_written_on(tmp_path, monkeypatch) -> None:
    """Found by reading: its lines were on the disk, and came again every 30 seconds."""
    path = tmp_path / "all.ndjson"
    sink = NdjsonSink(path, rotate_bytes=100)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "rename", refused)
    outcomes = [sink.deliver(batch(1, n)) for n in range(3)]
    sink.close()

    assert {outcome.result for outcome in outcomes} == {Result.DELIVERED}
    assert "not rotated" in outcomes[0].answer
    assert len(lines(path)) == 3


def test_a_rotated_file_that_can_not_be_packed_stays_as_it_is(tmp_path, monkeypatch) -> None:
    path = tmp_path / "all.ndjson"
    sink = NdjsonSink(path, rotate_bytes=100, compress=True)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    sink.deliver(batch(3))
    assert sink._packing is not None
    sink._packing.join(20)
    sink.close()

    (rotated,) = tmp_path.glob("all.ndjson.2*")
    assert len(lines(rotated)) == 3
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.strace
def test_every_batch_and_every_new_name_is_synced_before_it_counts(tmp_path) -> None:
    child = (
        "import sys; from pathlib import Path; from sendback.delivery import made_up_event;"
        "from sendback.sinks.ndjson import NdjsonSink; sink = NdjsonSink(Path(sys.argv[1]));"
        "[print('result ' + sink.deliver([made_up_event('n', 0.0)]).result.value, flush=True)"
        " for _ in range(2)]"
    )
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-qq", "-y", "-o", str(trace), "-e", "trace=write,fdatasync,fsync",
         sys.executable, "-c", child, str(tmp_path / "new" / "all.ndjson")],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    seen = [
        "folder" if "fsync" in line and "/new>" in line
        else "lines" if "write" in line and "all.ndjson>" in line
        else "sync" if "fdatasync" in line and "all.ndjson>" in line
        else "result" if "result delivered" in line else ""
        for line in trace.read_text().splitlines()
    ]  # fmt: skip

    assert [one for one in seen if one] == [
        "folder", "lines", "sync", "result", "lines", "sync", "result",
    ]  # fmt: skip


def test_rotated_files_are_packed(tmp_path) -> None:
    path = tmp_path / "all.ndjson"
    sink = NdjsonSink(path, rotate_bytes=100, compress=True)
    sink.deliver(batch(3))
    deadline = time.monotonic() + 20
    while not (packed := list(tmp_path.glob("*.gz"))) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert len(gzip.decompress(packed[0].read_bytes()).splitlines()) == 3
    sink.close()


def test_a_torn_line_is_cut_away_at_the_start(tmp_path) -> None:
    path = tmp_path / "all.ndjson"
    path.write_bytes(b'{"whole": 1}\n{"torn": ')
    sink = NdjsonSink(path)
    sink.deliver(batch(1))
    sink.close()

    assert lines(path)[0] == {"whole": 1}
    assert len(lines(path)) == 2


def test_only_a_torn_line(tmp_path) -> None:
    path = tmp_path / "all.ndjson"
    path.write_bytes(b"x" * 3_000_000)
    sink = NdjsonSink(path)
    sink.deliver(batch(1))
    sink.close()

    assert len(lines(path)) == 1


def test_a_full_disk_leaves_no_half_batch(tmp_path, monkeypatch) -> None:
    path = tmp_path / "all.ndjson"
    sink = NdjsonSink(path)
    sink.deliver(batch(1))
    real = os.write

    def full(fd, data):
        real(fd, bytes(data)[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    outcome = sink.deliver(batch(2))
    monkeypatch.setattr(os, "write", real)

    assert outcome.result is Result.FAILED
    assert "space" in outcome.answer
    assert len(lines(path)) == 1
    assert sink.deliver(batch(2)).result is Result.DELIVERED
    assert len(lines(path)) == 3
    sink.close()


def test_a_folder_that_can_not_be_made(tmp_path) -> None:
    (tmp_path / "file").touch()
    outcome = NdjsonSink(tmp_path / "file" / "x.ndjson").deliver(batch(1))

    assert outcome.result is Result.FAILED
