"""Order, retries, outages, poison: a destination on clocks of the test's own."""

import random
import uuid

import msgspec
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from sendback.delivery import Delivery, Filter, Following, made_up_event
from sendback.errors import Unavailable
from sendback.eventlog import EventLog
from sendback.model import Click, Complaint, uuid7
from sendback.sinks import Outcome, Result

T0 = 1_750_000_000.0
OK = Outcome(Result.DELIVERED, 200, "fine")
DOWN = Outcome(Result.FAILED, None, "refused")
BROKEN = Outcome(Result.FAILED, 500, "oops")
REFUSED = Outcome(Result.REFUSED, 400, "no")


class Receiver:
    """A sink that remembers; `rule(batch)` answers."""

    def __init__(self, max_batch: int = 0, max_parallel: int | None = None) -> None:
        self.max_batch = max_batch
        if max_parallel is not None:
            self.max_parallel = max_parallel
        self.rule = lambda batch: OK
        self.got: list[int] = []
        self.requests: list[list[int]] = []

    def deliver(self, batch):
        seqs = [event.seq for event in batch]
        self.requests.append(seqs)
        outcome = self.rule(batch)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome.result is Result.DELIVERED:
            self.got += seqs
        return outcome

    def close(self) -> None:
        self.closed = True


class Bench:
    def __init__(self, folder, *, max_batch=0, max_parallel=None, wanted=None, **options) -> None:
        self.now = T0
        self.log = EventLog(folder / f"{uuid.uuid4()}.sqlite", clock=lambda: self.now)
        self.sink = Receiver(max_batch, max_parallel)
        self.options = {"max_batch": 8, **options}
        self.wanted = wanted or Filter()
        self.lines: list[str] = []
        self.restart()

    def restart(self) -> None:
        self.delivery = Delivery(
            "d", self.log, self.sink, self.wanted,
            clock=lambda: self.now, monotonic=lambda: self.now,
            uniform=lambda a, b: 1.0, say=self.lines.append, **self.options,
        )  # fmt: skip

    def events(self, count: int, **fields) -> None:
        time_ms = int(self.now * 1000)
        self.log.append(
            [
                Click(event_time=time_ms // 1000, event_time_ms=time_ms,
                      event_unique_id=str(uuid.UUID(bytes=uuid7(time_ms))), **fields)
                for _ in range(count)
            ]
        )  # fmt: skip

    def run(self, seconds: float = 0.0, *, tick: float = 1.0) -> None:
        ends = self.now + seconds
        while True:
            for _ in range(10_000):
                if not self.delivery.step():
                    break
            if self.now >= ends:
                return
            self.now += tick

    @property
    def state(self):
        return self.log.deliveries.state("d")

    @property
    def dead(self):
        return [letter.seq for letter in self.log.deliveries.dead_letters("d", limit=10_000)]


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.log.close()


def test_events_that_come_while_it_looks_are_sent_once(bench, monkeypatch) -> None:
    # found by a whole node under load: they were sent, and then sent again
    bench.events(3)
    look = bench.log.last_seq

    def racing() -> int:
        last = look()
        monkeypatch.undo()
        bench.events(4)
        return last

    monkeypatch.setattr(bench.log, "last_seq", racing)
    bench.run()

    assert bench.sink.requests == [list(range(1, 8))]
    assert (bench.state.seq, bench.state.delivered) == (7, 7)


def test_events_go_in_order_in_batches(bench) -> None:
    bench.events(20)
    bench.run()

    assert bench.sink.requests == [list(range(1, 9)), list(range(9, 17)), list(range(17, 21))]
    assert (bench.state.seq, bench.state.delivered, bench.state.retries) == (20, 20, 0)
    assert not bench.delivery.step()


def test_a_sink_that_takes_one_gets_one(tmp_path) -> None:
    bench = Bench(tmp_path, max_batch=1)
    bench.events(5)
    bench.run()

    assert bench.sink.requests == [[1], [2], [3], [4], [5]]
    assert len(bench.log.deliveries.attempts("d")) == 5


def test_filters_let_the_cursor_move_on(tmp_path) -> None:
    wanted = Filter(types=["scomp"], mail_classes=["News"], bots="none")
    bench = Bench(tmp_path, wanted=wanted)
    bench.events(50)
    one = {"event_time": 1, "event_time_ms": 1, "event_unique_id": str(uuid.uuid4())}
    bench.log.append([Complaint(**one, mail_class="news")])
    bench.log.append([Complaint(**{**one, "event_unique_id": str(uuid.uuid4())}, mail_class="x")])
    bench.run(10)

    assert bench.sink.got == [51]
    assert bench.state.seq == 52


@pytest.mark.parametrize(("bots", "got"), [("all", [1, 2]), ("only", [1]), ("none", [2])])
def test_bots(tmp_path, bots, got) -> None:
    bench = Bench(tmp_path, wanted=Filter(bots=bots))
    bench.events(1, is_bot=True)
    bench.events(1, is_bot=False)
    bench.run()

    assert bench.sink.got == got


# -- outages ---------------------------------------------------------------------------------


def test_an_outage_is_probed_and_then_everything_flows(bench) -> None:
    # facts/reliability.md fault 24
    bench.sink.rule = lambda batch: DOWN
    bench.events(30)
    bench.run(600)
    probes = len(bench.sink.requests)
    assert 20 <= probes <= 36  # 5, 10, 20, then every 30 s; once ten for an event's fault
    assert bench.state.failing_since_ms == int(T0 * 1000)
    assert bench.sink.got == []
    bench.sink.rule = lambda batch: OK
    bench.run(31)

    assert bench.sink.got == list(range(1, 31))
    assert bench.state.failing_since_ms is None
    assert bench.dead == []


def test_retry_after_is_kept(bench) -> None:
    bench.sink.rule = lambda batch: Outcome(Result.THROTTLED, 429, "slow down", 600.0)
    bench.events(1)
    bench.run(599)
    assert len(bench.sink.requests) == 1
    bench.run(2)
    assert len(bench.sink.requests) == 2


def test_a_receiver_that_fails_more_often_than_not_is_asked_every_30_seconds(bench) -> None:  # H3
    bench.events(10_000)
    tries = []

    def rule(batch):
        tries.append(bench.now)
        return OK if len(tries) % 3 == 0 else DOWN

    bench.sink.rule = rule
    bench.run(600)

    late = [at for at in tries if at > T0 + 120]
    assert len(late) <= 45  # without the breaker 96: it fails at 0, 5 and takes at 15
    bench.sink.rule = lambda batch: OK
    bench.run(31)
    assert bench.state.seq == bench.log.last_seq()


@pytest.mark.parametrize(("outage", "next_try"), [(1, 5), (20, 20), (400, 30)])
def test_a_restart_does_not_forget_an_outage(bench, outage, next_try) -> None:
    bench.sink.rule = lambda batch: DOWN
    bench.events(1)
    bench.run(outage)
    tries, last = len(bench.sink.requests), bench.log.deliveries.attempts("d", 1)[0].at_ms / 1000
    for _ in range(20):  # a worker that crashes again and again
        bench.restart()
        bench.run()
    assert len(bench.sink.requests) == tries
    bench.sink.rule = lambda batch: OK
    while not bench.sink.got:
        bench.run(1)
    assert bench.now - last <= next_try + 1


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_jumps_holds_up_no_retry(tmp_path, jump) -> None:
    # facts/reliability.md fault 28
    bench = Bench(tmp_path)
    offset = 0.0
    bench.delivery = Delivery(
        "d", bench.log, bench.sink, bench.wanted, max_batch=8,
        clock=lambda: bench.now + offset, monotonic=lambda: bench.now, uniform=lambda a, b: 1.0,
    )  # fmt: skip
    bench.sink.rule = lambda batch: DOWN
    bench.events(20)
    bench.run(40)
    offset = jump
    bench.run(40)
    tries = len(bench.sink.requests)
    bench.run(60)
    assert len(bench.sink.requests) == tries + 2
    bench.sink.rule = lambda batch: OK
    bench.run(31)
    assert bench.sink.got == list(range(1, 21))
    assert bench.dead == []
    bench.log.close()


def test_a_restart_after_the_clock_went_back_waits_one_probe_at_most(bench) -> None:
    bench.sink.rule = lambda batch: DOWN
    bench.events(1)
    bench.run(100)
    bench.now -= 3600
    bench.restart()
    bench.sink.rule = lambda batch: OK
    bench.run(31)
    assert bench.sink.got == [1]


def test_resuming_by_hand_tries_at_once_also_after_a_restart(bench) -> None:
    bench.sink.rule = lambda batch: DOWN
    bench.events(1)
    bench.run(100)
    bench.restart()
    bench.log.deliveries.set_state("d", "paused")
    bench.run()
    bench.log.deliveries.set_state("d", "active")
    bench.sink.rule = lambda batch: OK
    bench.run()
    assert bench.sink.got == [1]


def test_gone_disables_until_resumed(bench) -> None:
    bench.sink.rule = lambda batch: Outcome(Result.GONE, 410, "gone")
    bench.events(3)
    bench.run(1000)
    assert len(bench.sink.requests) == 1
    assert bench.state.state == "disabled"
    bench.sink.rule = lambda batch: OK
    bench.log.deliveries.set_state("d", "active")
    bench.run()
    assert bench.sink.got == [1, 2, 3]


def test_gone_disables_also_when_a_parked_event_hears_it(bench) -> None:
    # found by reading: only the next event of the log would have
    bench.sink.rule = poison([2], BROKEN)
    bench.events(4)
    bench.run(60)
    assert bench.log.deliveries.parked_count("d") == 1
    bench.sink.rule = lambda batch: Outcome(Result.GONE, 410, "gone")
    bench.run(3 * 3600, tick=60)
    assert bench.state.state == "disabled"
    assert bench.log.deliveries.parked_count("d") == 1
    bench.sink.rule = lambda batch: OK
    bench.log.deliveries.set_state("d", "active")
    bench.run(24 * 3600, tick=60)
    assert sorted(bench.sink.got) == [1, 2, 3, 4]


def test_a_receiver_that_asks_for_less_is_not_asked_for_the_other_parked_events(bench) -> None:
    """Found by reading: each parked event was tried at once, whatever the last answer said."""
    bench.events(30)
    bench.sink.rule = lambda batch: REFUSED if len(batch) == 1 else OK
    bench.options["max_batch"] = 1
    bench.restart()
    bench.run(3600)
    letters = bench.log.deliveries.dead_letters("d", limit=100)
    assert len(letters) >= 10
    bench.sink.rule = lambda batch: OK
    bench.run(60)
    bench.log.deliveries.retry_dead_letters(letters)
    bench.sink.requests.clear()
    bench.sink.rule = lambda batch: Outcome(Result.THROTTLED, 429, "later", 600.0)
    bench.run(599)
    assert len(bench.sink.requests) == 1
    bench.sink.rule = lambda batch: OK
    bench.run(600)
    assert {seq for (seq,) in bench.sink.requests} == {letter.seq for letter in letters}


def test_a_retry_after_that_ends_a_search_for_poison_is_kept(bench) -> None:
    """Found by reading: it was asked again after five seconds."""
    first = {tuple(range(1, 9)), (1, 2, 3, 4), (1, 2), (1,)}
    bench.sink.rule = lambda batch: (
        REFUSED
        if tuple(event.seq for event in batch) in first
        else Outcome(Result.THROTTLED, 429, "later", 600.0)
    )
    bench.events(8)
    bench.run(0)
    assert bench.dead == [1]
    tries = len(bench.sink.requests)
    bench.run(599)
    assert len(bench.sink.requests) == tries
    bench.sink.rule = lambda batch: OK
    bench.run(2)
    assert bench.sink.got == list(range(2, 9))


def test_a_410_that_ends_a_search_for_poison_disables(bench) -> None:
    bench.sink.rule = lambda batch: (
        REFUSED if batch[0].seq == 1 else Outcome(Result.GONE, 410, "gone")
    )
    bench.events(8)
    bench.run(0)
    assert bench.state.state == "disabled"


def test_a_pause_is_no_outage(tmp_path) -> None:
    """Found by reading: paused for longer than its window in an outage, it lost all its events to
    the dead letters at the first failure after it was resumed.
    """
    bench = Bench(tmp_path, window_hours=75.6)
    bench.events(5)
    bench.sink.rule = lambda batch: DOWN
    bench.run(60)
    bench.log.deliveries.set_state("d", "paused", "by hand")
    bench.run(0)
    bench.now += 96 * 3600
    bench.log.deliveries.set_state("d", "active")
    bench.run(60)
    assert bench.dead == []
    assert bench.state.failing_since_ms > (T0 + 96 * 3600) * 1000
    since = bench.state.failing_since_ms
    bench.log.deliveries.set_state("d", "active")  # it is: nothing begins anew
    assert bench.state.failing_since_ms == since
    bench.run(76 * 3600, tick=300)
    assert bench.dead == [1, 2, 3, 4, 5]
    bench.log.close()


def test_no_log_line_names_an_address(bench) -> None:
    """CONTRACT section 3; receivers name whom they don't know."""
    for answer in ('{"to":"joe@example.net"}', "no <joe@example.net>", "u?x=joe%40example.net&y"):
        bench.sink.rule = lambda batch, answer=answer: Outcome(Result.FAILED, 401, answer)
        bench.events(1)
        bench.run(60)
        (line,) = bench.lines
        assert "401" in line
        assert "example.net" not in line
        assert bench.log.deliveries.attempts("d", 1)[0].answer == answer
        bench.sink.rule = lambda batch: OK
        bench.run(60)
        bench.lines.clear()


def test_an_operator_who_resumes_is_noticed_within_a_second(bench) -> None:
    bench.sink.rule = lambda batch: DOWN
    bench.events(1)
    bench.run(100)

    assert bench.delivery.wait() <= 1.0


def test_pause_keeps_events_waiting(bench) -> None:
    bench.log.deliveries.set_state("d", "paused")
    bench.events(3)
    bench.run(100)
    assert bench.sink.requests == []
    bench.log.deliveries.set_state("d", "active")
    bench.run()
    assert bench.sink.got == [1, 2, 3]


def test_after_the_window_events_are_dead_letters_not_silence(tmp_path) -> None:
    bench = Bench(tmp_path, window_hours=2)
    bench.sink.rule = lambda batch: DOWN
    bench.events(20)
    bench.run(3600, tick=10)
    bench.events(5)
    bench.run(3700, tick=10)
    assert bench.dead == list(range(1, 21))
    bench.sink.rule = lambda batch: OK
    bench.run(40)

    assert bench.sink.got == list(range(21, 26))
    letters = bench.log.deliveries.dead_letters("d")
    bench.log.deliveries.retry_dead_letters(letters)
    bench.run(100)
    assert sorted(bench.sink.got) == list(range(1, 26))


def test_an_old_backlog_becomes_dead_letters_in_one_step(tmp_path) -> None:
    bench = Bench(tmp_path, window_hours=1)
    bench.sink.rule = lambda batch: DOWN
    bench.events(12_000)
    bench.run(10)
    bench.now += 7200
    bench.events(10)
    bench.run()

    assert bench.dead[:3] == [1, 2, 3]
    assert bench.log.deliveries.dead_count("d") == 12_000
    assert bench.state.seq == 12_000
    bench.log.close()


def test_a_kill_before_the_cursor_is_stored_delivers_again(bench, monkeypatch) -> None:
    # facts/reliability.md fault 25
    bench.events(4)
    real = bench.log.deliveries.note

    def killed(*args, **kwargs):
        raise Unavailable("killed here")

    monkeypatch.setattr(bench.log.deliveries, "note", killed)
    with pytest.raises(Unavailable):
        bench.delivery.step()
    monkeypatch.setattr(bench.log.deliveries, "note", real)
    bench.restart()
    bench.run()

    assert bench.sink.requests == [[1, 2, 3, 4], [1, 2, 3, 4]]


def test_a_fault_in_a_sink_is_an_outage(bench) -> None:
    bench.sink.rule = lambda batch: RuntimeError("bug")
    bench.events(2)
    bench.run(1)
    assert bench.state.failing_since_ms is not None
    bench.sink.rule = lambda batch: OK
    bench.run(60)
    assert bench.sink.got == [1, 2]


def test_an_event_that_breaks_a_package_s_sink_is_parked_and_the_rest_moves_on(bench) -> None:
    """Found by reading: one event held up its destination for the whole window."""
    bench.sink.rule = lambda batch: (
        RuntimeError("bug") if any(event.seq == 5 for event in batch) else OK
    )
    bench.events(20)
    bench.run(120)

    assert sorted(bench.sink.got) == [n for n in range(1, 21) if n != 5]
    assert bench.log.deliveries.parked_count("d") == 1


def test_the_window_counts_from_when_an_event_was_due(tmp_path) -> None:
    """Found by reading: a click finished a week late was a dead letter at its first failure."""
    bench = Bench(tmp_path, window_hours=2)
    bench.sink.rule = lambda batch: DOWN
    bench.events(1)
    bench.run(3 * 3600, tick=30)
    assert bench.dead == [1]
    week_ago = int((bench.now - 7 * 86_400) * 1000)
    late = Click(event_time=week_ago // 1000, event_time_ms=week_ago,
                 event_unique_id=str(uuid.UUID(bytes=uuid7(week_ago))))  # fmt: skip
    bench.log.append([late])
    bench.run(3600, tick=30)
    assert bench.dead == [1]
    bench.run(3700, tick=30)
    assert bench.dead == [1, 2]


def test_replay(bench) -> None:
    bench.events(10)
    bench.run()
    bench.log.set_cursor("d", 7)
    bench.run()

    assert bench.sink.got == [*range(1, 11), 8, 9, 10]


# -- poison ----------------------------------------------------------------------------------


def poison(seqs, outcome):
    bad = set(seqs)
    return lambda batch: outcome if bad & {event.seq for event in batch} else OK


@pytest.mark.parametrize("bad", [[1], [8], [5], [3, 4], [1, 20], [2, 9, 17]])
@pytest.mark.parametrize("max_batch", [0, 1])
def test_a_refused_event_alone_is_a_dead_letter(tmp_path, bad, max_batch) -> None:
    bench = Bench(tmp_path, max_batch=max_batch)
    bench.sink.rule = poison(bad, REFUSED)
    bench.events(20)
    bench.run(30)

    assert bench.dead == bad
    assert sorted(bench.sink.got) == [n for n in range(1, 21) if n not in bad]
    assert len(bench.sink.got) == len(set(bench.sink.got))


def test_a_single_refused_event_is_a_dead_letter_at_once(bench) -> None:
    bench.sink.rule = lambda batch: REFUSED
    bench.events(1)
    bench.run()

    assert bench.dead == [1]


def test_a_receiver_that_refuses_everything_does_not_empty_the_log(bench) -> None:
    bench.sink.rule = lambda batch: REFUSED
    bench.events(500)
    bench.run(3600)

    assert len(bench.dead) <= 20
    bench.sink.rule = lambda batch: OK
    bench.run(31)
    assert sorted(bench.sink.got + bench.dead) == list(range(1, 501))


@pytest.mark.parametrize("max_batch", [0, 1])
def test_an_event_that_breaks_the_receiver_is_parked_and_the_rest_moves_on(
    tmp_path, max_batch
) -> None:
    bench = Bench(tmp_path, max_batch=max_batch, window_hours=10)
    bench.sink.rule = poison([5], BROKEN)
    bench.events(20)
    bench.run(120)

    assert sorted(bench.sink.got) == [n for n in range(1, 21) if n != 5]
    assert bench.log.deliveries.parked_count("d") == 1
    assert bench.dead == []
    bench.run(11 * 3600, tick=60)
    assert bench.dead == [5]
    assert bench.log.deliveries.parked_count("d") == 0
    tries = [r for r in bench.sink.requests if r == [5]]
    assert 5 <= len(tries) <= 12  # 5 s, 5 m, 30 m, 2 h, 5 h ...


@pytest.mark.parametrize(
    "outcome", [Outcome(Result.THROTTLED, 502, "bad gateway"), DOWN, Outcome(Result.THROTTLED, 504)]
)
def test_an_event_that_kills_the_receiver_behind_its_proxy_is_found(tmp_path, outcome) -> None:
    """Found by reading: a 502 or silence is an outage, so one event held up all others for three
    days, and then all of them were dead letters."""
    bench = Bench(tmp_path)
    bench.sink.rule = poison([5], outcome)
    bench.events(20)
    bench.run(600)

    assert sorted(bench.sink.got) == [n for n in range(1, 21) if n != 5]
    assert bench.log.deliveries.parked_count("d") == 1
    assert bench.dead == []


def test_a_long_outage_is_hardly_asked_more_often_for_that(bench) -> None:
    bench.sink.rule = lambda batch: Outcome(Result.THROTTLED, 502)
    bench.events(100)
    bench.run(3600)

    assert len(bench.sink.requests) < 3600 / 30 + 10 + 6 * 10
    assert bench.log.deliveries.parked_count("d") == 0
    assert bench.dead == []


def test_a_retry_after_is_an_outage_and_nothing_else(bench) -> None:
    bench.sink.rule = lambda batch: Outcome(Result.THROTTLED, 503, "", 60.0)
    bench.events(100)
    bench.run(3600)

    assert all(len(request) == 8 for request in bench.sink.requests)


def test_a_broken_receiver_is_no_poison(bench) -> None:
    bench.sink.rule = lambda batch: BROKEN
    bench.events(100)
    bench.run(3600)

    assert bench.dead == []
    assert bench.log.deliveries.parked_count("d") == 0
    bench.sink.rule = lambda batch: OK
    bench.run(31)
    assert bench.sink.got == list(range(1, 101))


def test_parallel_batches(tmp_path) -> None:
    bench = Bench(tmp_path, parallel=4, max_parallel=8)
    bench.events(100)
    bench.run()
    assert sorted(bench.sink.got) == list(range(1, 101))
    bench.sink.rule = poison([113], REFUSED)
    bench.events(30)
    bench.run(30)

    assert bench.dead == [113]
    assert set(bench.sink.got) == set(range(1, 131)) - {113}
    assert bench.state.seq == 130


@settings(max_examples=50, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 40), st.sampled_from([0, 1, 3]))
def test_whatever_happens_each_event_is_delivered_or_dead(
    tmp_path_factory, rng: random.Random, count: int, max_batch: int
) -> None:
    """A receiver with moods: in the end nothing is lost, and order holds for first arrivals."""
    bench = Bench(tmp_path_factory.mktemp("moods"), max_batch=max_batch)
    bad = set(rng.sample(range(1, count + 1), rng.randint(0, min(count, 5))))

    def moods(batch):
        if rng.random() < 0.3:
            return rng.choice([DOWN, BROKEN, Outcome(Result.THROTTLED, 503, "", 3.0)])
        return REFUSED if bad & {event.seq for event in batch} else OK

    bench.sink.rule = moods
    bench.events(count)
    bench.run(1200, tick=5)
    bench.sink.rule = poison(bad, REFUSED)
    for _ in range(50):
        bench.run(3600, tick=300)
        if not bench.log.deliveries.parked_count("d") and bench.state.seq >= count:
            break

    note(f"{bench.state} {bad} {bench.sink.requests}")
    assert set(bench.sink.got) | set(bench.dead) == set(range(1, count + 1))
    assert set(bench.dead) == bad
    assert set(bench.sink.got) & bad == set()
    bench.log.close()


def test_a_test_event_moves_nothing(bench) -> None:
    outcome = bench.delivery.test(made_up_event("node", T0))

    assert outcome.result is Result.DELIVERED
    assert bench.state.seq == 0
    assert bench.log.deliveries.attempts("d")[0].events == 1


def test_a_backlog_costs_the_same_at_any_length(bench) -> None:
    """No step reads more than one page: a million events behind cost no memory."""
    bench.events(3000)
    bench.delivery.step()

    assert bench.sink.requests == [list(range(1, 9))]


# -- consumers inside the house --------------------------------------------------------------


class Counter:
    def __init__(self) -> None:
        self.at = 0
        self.seen: list[int] = []
        self.fault: Exception | None = None

    def cursor(self) -> int:
        return self.at

    def consume(self, batch) -> None:
        if self.fault:
            raise self.fault
        self.seen += [event.seq for event in batch]
        self.at = batch[-1].seq


def test_a_consumer_follows_and_survives_its_database(bench) -> None:
    counter = Counter()
    following = Following("statistics", bench.log, counter, monotonic=lambda: bench.now)
    bench.events(10)
    assert following.step()
    counter.fault = Unavailable("down")
    bench.events(1)
    assert not following.step()
    counter.fault = None
    assert not following.step()
    bench.now += 60
    assert following.step()
    following.step()

    assert counter.seen == list(range(1, 12))
    assert bench.log.cursor("statistics") == 11


def test_a_consumer_ahead_of_a_new_log_is_not_fed_old_numbers(bench) -> None:
    counter = Counter()
    counter.at = 500
    following = Following("statistics", bench.log, counter, monotonic=lambda: bench.now)
    following.step()
    bench.events(2)
    following.step()

    assert counter.seen == [501, 502]


def test_the_made_up_event_has_every_field() -> None:
    event = made_up_event("node", T0)

    assert msgspec.json.decode(event.body, type=Click).is_bot
