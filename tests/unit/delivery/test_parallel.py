"""Several batches on their way at once: how many, what comes twice, who is asked for it."""

import threading

import pytest

from sendback.sinks import Result
from unit.delivery.test_step import BROKEN, DOWN, OK, Bench, poison


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path, parallel=4, max_parallel=64)
    yield made
    made.log.close()


def test_batches_fly_together_and_never_more_than_allowed(bench) -> None:
    flying = most = 0
    lock, together = threading.Lock(), threading.Barrier(4, timeout=20)

    def rule(_batch):
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        together.wait()  # breaks unless four are here at once
        with lock:
            flying -= 1
        return OK

    bench.sink.rule = rule
    bench.events(8 * 16)
    bench.run()

    assert most == 4
    assert sorted(bench.sink.got) == list(range(1, 8 * 16 + 1))
    assert bench.state.seq == bench.state.delivered == 8 * 16


def test_a_sink_that_takes_one_at_a_time_is_never_called_twice_at_once(tmp_path) -> None:
    """Found by reading: two threads in one Postgres transaction, and what was acknowledged in the
    inner one went when the outer one failed."""
    bench = Bench(tmp_path, parallel=8)  # its sink says nothing of max_parallel
    threads = set()

    def rule(_batch):
        threads.add(threading.get_ident())
        return OK

    bench.sink.rule = rule
    bench.events(100)
    bench.run()

    assert threads == {threading.get_ident()}
    assert bench.sink.got == list(range(1, 101))
    bench.log.close()


def test_after_a_failure_no_more_than_what_was_in_the_air_comes_again(bench) -> None:
    failing = {"now": True}

    def rule(batch):
        is_first = batch[0].seq == 9
        return DOWN if is_first and failing["now"] else OK

    bench.sink.rule = rule
    bench.events(8 * 40)
    bench.delivery.step()
    assert bench.state.seq == 8
    failing["now"] = False
    bench.run(6)

    assert sorted(set(bench.sink.got)) == list(range(1, 8 * 40 + 1))
    assert len(bench.sink.got) - 8 * 40 <= 3 * 8
    assert bench.state.seq == 8 * 40


def test_poison_is_found_and_the_rest_moves_on(bench) -> None:
    bench.events(100)
    bench.sink.rule = poison([50], BROKEN)
    bench.run(120)

    assert set(bench.sink.got) == set(range(1, 101)) - {50}
    assert bench.log.deliveries.parked_count("d") == 1
    assert bench.state.seq == 100


def test_a_step_is_bounded_in_time(bench) -> None:
    """A thousand requests of a second each must not pass before the cursor is stored."""

    def rule(_batch):
        bench.now += 0.5
        return OK

    bench.sink.max_batch = 1
    bench.sink.rule = rule
    bench.events(32)
    bench.delivery.step()

    assert 0 < bench.state.seq < 32
    bench.run()
    assert sorted(bench.sink.got) == list(range(1, 33))


def test_every_attempt_is_noted(bench) -> None:
    bench.events(8 * 5)
    bench.run()

    attempts = bench.log.deliveries.attempts("d")
    assert sorted(one.first_seq for one in attempts) == [1, 9, 17, 25, 33]
    assert {one.outcome for one in attempts} == {Result.DELIVERED.value}
    assert bench.state.first_attempts == 5
