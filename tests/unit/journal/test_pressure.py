"""Back-pressure in one number: who writes it, who reads it, and when it ends."""

import pytest

from sendback.journal.pressure import Pressure, PressureGauge, journal_bytes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pressure"


def reading(path, tmp_path, max_bytes: int = 1000) -> Pressure:
    return Pressure(path, tmp_path / "journal", max_bytes)


def test_nothing_written_is_no_pressure(path, tmp_path) -> None:
    assert reading(path, tmp_path).current() == 0.0
    assert not reading(path, tmp_path).is_high


def test_from_ninety_percent_on_mail_is_refused(path, tmp_path) -> None:
    gauge = PressureGauge(path)

    assert not gauge.write(0.899)
    assert not reading(path, tmp_path).is_high
    assert gauge.write(0.9)
    assert reading(path, tmp_path).is_high
    assert gauge.write(3.0)
    assert reading(path, tmp_path).current() == 3.0


def test_a_value_about_the_threshold_changes_nothing_every_second(path, tmp_path) -> None:
    """Found by reading: each crossing was an alert line."""
    gauge = PressureGauge(path)
    answers = [gauge.write(0.901 if n % 2 else 0.899) for n in range(10)]

    assert answers == [False] + [True] * 9
    assert reading(path, tmp_path).is_high
    assert not gauge.write(0.849)
    assert not path.exists()


def test_a_worker_that_starts_under_pressure_goes_on_where_the_last_one_was(path) -> None:
    PressureGauge(path).write(0.95)

    assert PressureGauge(path).write(0.87)
    assert not PressureGauge(path).write(0.8)
    assert not PressureGauge(path).write(0.87)


def test_readers_see_a_full_journal_while_the_worker_is_down(path, tmp_path) -> None:
    folder = tmp_path / "journal"
    folder.mkdir()
    (folder / "web-1-1.seg").write_bytes(b"x" * 890)
    (folder / "web-1-1.seg.suspect").write_bytes(b"x" * 5000)
    assert journal_bytes(folder) == 890
    assert not reading(path, tmp_path).is_high
    (folder / "web-1-2.seg").write_bytes(b"x" * 10)
    assert reading(path, tmp_path).is_high


def test_a_file_that_can_not_be_read_is_pressure(path, tmp_path) -> None:
    path.write_text("not a number")

    assert reading(path, tmp_path).is_high


def test_a_disk_that_can_not_be_written_stops_nobody(tmp_path) -> None:
    assert PressureGauge(tmp_path / "no" / "such" / "folder").write(0.95)
