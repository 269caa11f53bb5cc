"""A full log: the dead don't hold up the living, and the living lose nothing."""

import pytest

from sendback.delivery import Room
from sendback.eventlog import EventLog, Parked
from unit.eventlog.test_log import click

HOUR = 3600.0
WINDOWS = {"good": 72.0, "bad": 72.0}


class House:
    def __init__(self, folder) -> None:
        self.now = 1_700_000_000.0
        self.log = EventLog(folder / "events.sqlite", clock=lambda: self.now)
        self.lines: list[str] = []
        self.count = 0
        self.disk = 110_000_000
        self.room = Room(
            self.log, max_bytes=4_000_000, keep_days=30,
            disk_reserve_bytes=10_000_000, free_bytes=self.free_bytes,
            clock=lambda: self.now, say=self.lines.append,
        )  # fmt: skip

    def free_bytes(self) -> int:
        return self.disk - self.log.retention.size()

    def leave_free(self, count: int) -> None:
        self.disk = self.log.retention.size() + count

    def events(self, count: int) -> None:
        self.log.append([click(self.count + n) for n in range(count)])
        self.count += count

    def had(self, *names: str) -> None:
        for name in names:
            self.log.set_cursor(name, self.log.last_seq())

    def prune(self) -> float:
        return self.room.prune(["statistics"], WINDOWS)

    def state(self, name: str):
        return self.log.deliveries.state(name)


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    yield made
    made.log.close()


def outage(house, name: str = "bad") -> None:
    house.log.deliveries.note(name, failing=True)


@pytest.mark.parametrize("trouble", ["failing", "paused", "disabled"])
def test_who_is_dead_beyond_the_window_misses_events_and_nobody_else_does(house, trouble) -> None:
    if trouble == "failing":
        outage(house)
    else:
        house.log.deliveries.set_state("bad", trouble)
    house.now += 73 * HOUR
    while house.count < 30_000:
        house.events(2000)
        house.had("good", "statistics")
        assert house.prune() < 0.85

    assert house.state("good").expired == 0
    expired = house.state("bad").expired
    assert 20_000 < expired < 30_000
    assert house.state("bad").seq == expired == house.log.first_seq() - 1  # the newest wait on
    assert len(house.lines) == 1
    assert house.lines[0].startswith("ERROR destination bad: ")


def test_within_the_window_the_log_outgrows_its_cap_and_says_for_whom(house) -> None:
    """Nothing is lost to the dead one, and nobody else waits for it."""
    outage(house)
    house.now += 71 * HOUR
    while house.count < 30_000:
        house.events(1000)
        house.had("good", "statistics")
        full = house.prune()
        assert not house.room.is_blocked

    assert full > 1.5
    assert house.state("bad").expired == 0
    assert house.log.first_seq() == 1
    (line,) = house.lines
    assert line.startswith("ERROR the event log is above its cap because of bad: it grows while")
    assert "more than 9 MiB of the disk are free" in line
    house.now += 2 * HOUR
    assert house.prune() < 0.85
    assert house.state("bad").expired > 0


def test_on_a_full_disk_the_silent_one_misses_its_oldest_events_and_nobody_waits(house) -> None:
    outage(house)
    house.now += HOUR
    while house.prune() < 3.0:
        house.events(1000)
        house.had("good", "statistics")
    house.leave_free(9_500_000)
    full = house.prune()

    assert not house.room.is_blocked
    missed = house.state("bad").expired
    assert 0 < missed < house.count / 2  # twice what is missing, not down to the cap
    assert 2.0 < full < 3.0
    assert house.state("good").expired == house.state("statistics").expired == 0
    assert "the disk is nearly full" in house.lines[1]
    house.prune()
    assert house.state("bad").expired == missed


def test_on_a_full_disk_finishing_waits_for_a_living_one_and_goes_on(house) -> None:
    """What a slow one wants is nobody's to take; it must be said once, not every second."""
    while house.prune() < 1.1:
        house.events(1000)
        house.had("bad", "statistics")
    for free in (9_000_000, 9_000_000, 10_500_000, 9_900_000):
        house.leave_free(free)
        house.prune()
        assert house.room.is_blocked

    assert house.state("good").expired == 0
    assert len(house.lines) == 2
    assert house.lines[1].startswith("ERROR the event log is full and 8 MiB of the disk are free")
    assert house.lines[1].endswith("no new event is finished until good took some")
    house.had("good")
    assert house.prune() < 0.95
    assert not house.room.is_blocked


def test_nobody_is_named_while_all_have_only_just_got_what_is_new(house) -> None:
    house.events(10_000)
    house.prune()
    assert house.lines == []
    house.had("good", "statistics")
    house.prune()
    assert "because of bad:" in house.lines[0]


def test_all_are_named_when_all_stay_behind(house) -> None:
    house.events(10_000)
    for _ in range(20):
        house.prune()

    assert len(house.lines) == 1
    assert "because of statistics, good, bad:" in house.lines[0]


def test_a_size_about_the_cap_is_one_line(house) -> None:
    outage(house)
    while house.prune() < 1.0:
        house.events(200)
        house.had("good", "statistics")
    for _ in range(20):
        house.log.set_cursor("bad", house.log.first_seq() + 150)
        house.prune()
        house.events(150)
        house.had("good", "statistics")
        house.prune()

    assert len(house.lines) == 1


def test_what_a_slow_one_or_the_statistics_want_is_not_taken(house) -> None:
    outage(house)
    house.now += 100 * HOUR
    house.events(1500)
    house.had("good")
    house.log.set_cursor("statistics", 600)
    house.events(8000)
    house.prune()

    assert house.log.first_seq() == 601
    assert house.state("bad").expired == 600
    assert house.state("statistics").expired == house.state("good").expired == 0


def test_what_age_takes_undelivered_is_said_once(house) -> None:
    """Found by reading: it was counted, and no line said so."""
    house.events(100)
    house.had("good", "statistics")
    for _ in range(5):
        house.now += 31 * 24 * HOUR / 5
        house.events(10)
        house.had("good", "statistics")
        house.prune()
    house.now += 10
    house.prune()

    assert house.state("bad").expired == 100
    (line,) = (line for line in house.lines if "retention_days" in line)
    assert line.startswith("ERROR destination bad: ")
    assert "expire, 100 now" in line


def test_dead_letters_go_before_events(house) -> None:
    house.events(4000)
    house.had("good", "statistics")
    house.log.deliveries.note("bad", moved=(0, 4000), bury=[(n, 1, "x") for n in range(1, 4001)])
    house.log.deliveries.note("bad", failing=True)
    house.events(3000)
    house.now += 100 * HOUR
    assert house.prune() < 0.85

    assert house.log.deliveries.dead_count("bad") == 0
    assert house.state("bad").expired == 4000
    assert house.log.first_seq() == 4001


def test_a_parked_event_does_not_stop_pruning(house) -> None:
    house.events(1)
    house.log.deliveries.note("bad", moved=(0, 1), park=[Parked(1, 1, 0, 0, "hm")])
    for _ in range(8):
        house.events(2500)
        house.had("good", "bad", "statistics")
        assert house.prune() < 0.85

    assert [event.seq for event in house.log.read(0, 1)] == [1]
    assert len(house.log.read(0, 20_001)) < 8000
