"""Recovery: torn tails, damage, abandoned and live segments."""

import os
import random
from pathlib import Path

import pytest

from sendback.journal import Journal, JournalReader, frames


def segment_of(folder: Path, payloads: list[bytes], name: str = "test") -> Path:
    journal = Journal(folder, name)
    for payload in payloads:
        journal.append(payload)
    journal.close()
    return max(folder.glob(f"{name}-*.seg"))


def read_all(reader: JournalReader) -> list[bytes]:
    found: list[bytes] = []
    while batch := reader.read(7):
        found += [record.payload for record in batch]
    return found


def reading(folder: Path) -> tuple[JournalReader, list[str]]:
    lines: list[str] = []
    return JournalReader(folder, log=lines.append), lines


def test_every_torn_length_keeps_the_whole_records(tmp_path) -> None:
    # facts/reliability.md fault 10
    path = segment_of(tmp_path, [b"first", b"second", b"the last one, torn"])
    whole = path.read_bytes()
    last = len(frames.encode([b"the last one, torn"], 0))
    for cut in range(1, last):
        path.write_bytes(whole[:-cut])
        reader, lines = reading(tmp_path)

        assert read_all(reader) == [b"first", b"second"]
        assert reader.counters()["torn_tails"] == 1
        assert "torn record" in lines[0]
        assert path.stat().st_size == next(iter(reader.positions().values()))


def test_bit_flips_cost_their_record_only(tmp_path) -> None:
    # facts/reliability.md fault 11
    payloads = [bytes([65 + n]) * 50 for n in range(20)]
    path = segment_of(tmp_path, payloads)
    whole = path.read_bytes()
    size = len(frames.encode([payloads[0]], 0))
    rng = random.Random(4)
    for _ in range(60):
        at = rng.randrange(frames.HEADER.size, len(whole))
        victim = (at - frames.HEADER.size) // size
        flipped = bytes([whole[at] ^ (1 << rng.randrange(8))])
        path.write_bytes(whole[:at] + flipped + whole[at + 1 :])
        reader, lines = reading(tmp_path)

        assert payloads[:victim] + payloads[victim + 1 :] == read_all(reader)
        assert lines
        if victim < 19:
            assert reader.counters()["damaged"] == 1
            assert list((tmp_path / "damaged").iterdir())


def test_zeroes_after_a_power_cut_are_the_end(tmp_path) -> None:
    path = segment_of(tmp_path, [b"first"])
    path.write_bytes(path.read_bytes() + b"\0" * 5000)
    reader, _ = reading(tmp_path)

    assert read_all(reader) == [b"first"]
    reader.read()
    assert len(reader.delete_read()) == 1


def test_a_live_tail_is_waited_for_not_damaged(tmp_path) -> None:
    journal = Journal(tmp_path, "test")
    journal.append(b"first")
    path = next(tmp_path.glob("*.seg"))
    half = frames.encode([b"being written"], 0)[:9]
    with path.open("ab") as file:
        file.write(half)
    reader, lines = reading(tmp_path)

    assert read_all(reader) == [b"first"]
    assert not reader.read()
    assert not lines
    assert not reader.delete_read()
    os.truncate(path, path.stat().st_size - len(half))
    journal.append(b"second")
    assert read_all(reader) == [b"second"]
    journal.close()


def test_damage_in_a_live_segment_is_skipped_after_some_patience(tmp_path) -> None:
    journal = Journal(tmp_path, "test")
    journal.append(b"first")
    path = next(tmp_path.glob("*.seg"))
    with path.open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"??")
    journal.append(b"second")
    now = [100.0]
    reader = JournalReader(tmp_path, clock=lambda: now[0])

    assert reader.read() == []
    now[0] += 6
    assert read_all(reader) == [b"second"]
    assert reader.counters()["damaged"] == 1
    journal.close()


def test_positions_survive_the_reader(tmp_path) -> None:
    segment_of(tmp_path, [b"%d" % n for n in range(30)])
    first, _ = reading(tmp_path)
    head = [record.payload for record in first.read(11)]
    second, _ = reading(tmp_path)
    second.seek(first.positions())

    assert [b"%d" % n for n in range(30)] == head + read_all(second)


def test_writers_are_read_in_the_order_they_began(tmp_path) -> None:
    clock = [1000.0]
    early = Journal(tmp_path, "web", clock=lambda: clock[0])
    early.append(b"web")
    clock[0] = 1001.0
    late = Journal(tmp_path, "smtp", clock=lambda: clock[0])
    late.append(b"smtp")

    assert read_all(reading(tmp_path)[0]) == [b"web", b"smtp"]
    early.close()
    late.close()


def test_only_finished_and_read_segments_are_deleted(tmp_path) -> None:
    segment_of(tmp_path, [b"done"], "old")
    live = Journal(tmp_path, "live")
    live.append(b"x")
    reader, _ = reading(tmp_path)
    assert not reader.delete_read()
    read_all(reader)
    reader.read()

    assert len(reader.delete_read()) == 1
    assert list(tmp_path.glob("old-*.seg")) == []
    live.append(b"y")
    assert read_all(reader) == [b"y"]
    live.close()


@pytest.mark.parametrize("harm", ["delete", "header", "directory"])
def test_a_bad_segment_is_said_once_and_the_others_are_read(tmp_path, harm) -> None:
    # facts/reliability.md fault 12
    bad = segment_of(tmp_path, [b"lost"], "bad")
    segment_of(tmp_path, [b"kept", b"too"], "good")
    reader, lines = reading(tmp_path)
    if harm == "delete":
        reader.read(1)
        bad.unlink()
    elif harm == "header":
        bad.write_bytes(b"\0" * 200)
    else:
        bad.unlink()
        bad.mkdir()

    assert [p for p in read_all(reader) if p != b"lost"] == [b"kept", b"too"]
    assert len([line for line in lines if bad.name in line]) == 1


def test_a_segment_without_its_whole_header_holds_nothing_and_goes(tmp_path) -> None:
    empty = tmp_path / "web-1-1700000000000.seg"
    empty.write_bytes(b"")
    segment_of(tmp_path, [b"kept"])
    reader, lines = reading(tmp_path)

    assert read_all(reader) == [b"kept"]
    assert lines == []
    assert not empty.exists()


def test_a_record_larger_than_the_reading_chunk(tmp_path) -> None:
    big = os.urandom(3_000_000)
    segment_of(tmp_path, [b"before", big, b"after"])

    assert [b"before", big, b"after"] == read_all(reading(tmp_path)[0])


def test_backlog_counts_what_is_unread(tmp_path) -> None:
    segment_of(tmp_path, [b"x" * 1000])
    reader, _ = reading(tmp_path)

    assert reader.backlog_bytes() > 1000
    read_all(reader)
    assert reader.backlog_bytes() == 0
