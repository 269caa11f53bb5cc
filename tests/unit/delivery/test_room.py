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
        self.room = Room(
            self.log, max_bytes=4_000_000, keep_days=30,
            clock=lambda: self.now, say=self.lines.append,
        )  # fmt: skip

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


def test_within_the_window_nothing_is_lost_and_the_log_says_who_holds_it(house) -> None:
    outage(house)
    house.now += 71 * HOUR
    full = 0.0
    while house.count < 30_000 and full < 1.0:
        house.events(1000)
        house.had("good", "statistics")
        full = house.prune()
    house.prune()

    assert full >= 1.0
    assert house.state("bad").expired == 0
    assert house.log.first_seq() == 1
    assert house.lines == [
        "ERROR the event log is full: no new event is finished until bad took some"
    ]
    house.now += 2 * HOUR
    assert house.prune() < 0.85
    assert house.state("bad").expired > 0


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
