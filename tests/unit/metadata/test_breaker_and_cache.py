"""The circuit breaker, and rows remembered."""

import pytest

from fixtures.postgres import wait_until
from sendback.errors import Unavailable
from sendback.metadata import breaker as breaker_module
from sendback.metadata.breaker import Breaker
from sendback.metadata.cache import RowCache


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_it_opens_after_three_failures_within_five_seconds(monkeypatch):
    monkeypatch.setattr(breaker_module, "PROBE_EVERY", 3600)
    clock = Clock()
    breaker = Breaker(lambda: None, clock=clock)

    for step in (0, 3, 3):  # six seconds apart: not three in five
        clock.now += step
        breaker.failure("down")
    breaker.check()
    clock.now += 1
    breaker.failure("still down")
    with pytest.raises(Unavailable, match="still down"):
        breaker.check()
    assert breaker.times_opened == 1
    breaker.close()


def test_a_probe_closes_it_again(monkeypatch):
    monkeypatch.setattr(breaker_module, "PROBE_EVERY", 0.005)
    answers = ["no", "not yet"]

    def probe() -> None:
        if answers:
            raise Unavailable(answers.pop())

    breaker = Breaker(probe)
    for _ in range(3):
        breaker.failure("down")
    wait_until(lambda: not breaker.is_open)
    breaker.check()
    assert answers == []
    breaker.failure("once is not enough")
    breaker.check()


def test_rows_are_found_and_bounded():
    cache: RowCache[int] = RowCache(100)
    for number in range(1000):
        cache.put(b"%d" % number, number)

    assert len(cache) <= 100
    assert cache.get(b"999") == 999
    assert cache.get(b"1") is None
    assert (cache.hits, cache.misses) == (1, 1)


def test_what_is_used_stays():
    cache: RowCache[int] = RowCache(100)
    cache.put(b"often", 7)
    for number in range(1000):
        cache.put(b"%d" % number, number)
        assert cache.get(b"often") == 7


def test_unknown_for_five_seconds():
    clock = Clock()
    cache: RowCache[int] = RowCache(10, clock=clock)
    cache.put_unknown(b"a")

    assert cache.is_unknown(b"a")
    assert not cache.is_unknown(b"b")
    clock.now += 5.1
    assert not cache.is_unknown(b"a")
    cache.put_unknown(b"a")
    cache.put(b"a", 1)
    assert not cache.is_unknown(b"a")
    for number in range(100):
        cache.put_unknown(b"%d" % number)
    assert len(cache._unknown) <= 10
