"""Leader and followers: each job runs once and gets its own answer, whatever goes wrong."""

import threading
import time

import pytest

from fixtures.postgres import wait_until
from sendback.errors import Unavailable
from sendback.metadata.batching import Batcher


class Recorder:
    """Doubles each job; can be held, and can fail."""

    def __init__(self, **options) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.running = 0
        self.most = 0
        self.error: BaseException | None = None
        self.mutex = threading.Lock()
        self.batcher: Batcher[int, int] = Batcher(self.run, **options)

    def run(self, jobs, deadline):
        with self.mutex:
            self.batches.append(list(jobs))
            self.running += 1
            self.most = max(self.most, self.running)
        self.gate.wait(10)
        with self.mutex:
            self.running -= 1
        if self.error is not None:
            raise self.error
        return [job * 2 for job in jobs]

    def start(self, *jobs: int, deadline: float | None = None) -> "list[Call]":
        return [Call(self.batcher, job, deadline) for job in jobs]


class Call(threading.Thread):
    def __init__(self, batcher, job, deadline) -> None:
        super().__init__()
        self.batcher, self.job, self.deadline = batcher, job, deadline
        self.result: int | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.batcher.submit(self.job, self.deadline)
        except BaseException as error:  # noqa: BLE001 - kept for the test to look at
            self.error = error


def test_alone_a_job_runs_at_once():
    recorder = Recorder()

    assert recorder.batcher.submit(21) == 42
    assert recorder.batches == [[21]]


def test_those_who_wait_go_together_in_order_of_coming():
    recorder = Recorder()
    recorder.gate.clear()
    calls = recorder.start(1)
    wait_until(lambda: recorder.running == 1)
    for number in range(2, 8):
        calls += recorder.start(number)
        wait_until(lambda n=number: len(recorder.batcher._waiting) == n - 1)
    recorder.gate.set()
    for call in calls:
        call.join()

    assert recorder.batches == [[1], [2, 3, 4, 5, 6, 7]]
    assert [call.result for call in calls] == [2, 4, 6, 8, 10, 12, 14]


def test_batches_are_bounded_and_so_is_what_runs_at_once():
    recorder = Recorder(parallel=2, max_batch=3)
    calls = recorder.start(*range(40))
    for call in calls:
        call.join()

    assert [call.result for call in calls] == [job * 2 for job in range(40)]
    assert recorder.most <= 2
    assert max(map(len, recorder.batches)) <= 3
    assert sorted(job for batch in recorder.batches for job in batch) == list(range(40))


def test_a_failure_is_everybody_s_in_the_batch_and_nobody_s_after_it():
    recorder = Recorder()
    recorder.gate.clear()
    calls = recorder.start(1)
    wait_until(lambda: recorder.running == 1)
    calls += recorder.start(2, 3)
    wait_until(lambda: len(recorder.batcher._waiting) == 2)
    recorder.error = Unavailable("down")
    recorder.gate.set()
    for call in calls:
        call.join()
    recorder.error = None

    assert [str(call.error) for call in calls] == ["down"] * 3
    assert recorder.batcher.submit(4) == 8


def test_a_bug_in_run_reaches_the_leader_and_frees_the_others():
    recorder = Recorder()
    recorder.gate.clear()
    first = recorder.start(1)
    wait_until(lambda: recorder.running == 1)
    recorder.error = ZeroDivisionError()
    others = recorder.start(2, 3)
    wait_until(lambda: len(recorder.batcher._waiting) == 2)
    recorder.gate.set()
    for call in first + others:
        call.join()
    recorder.error = None

    assert isinstance(first[0].error, ZeroDivisionError)
    assert sorted(type(call.error).__name__ for call in others) == [
        "Unavailable", "ZeroDivisionError",
    ]  # fmt: skip
    assert recorder.batcher.submit(4) == 8


def test_who_has_no_time_left_goes_and_the_others_are_served():
    recorder = Recorder()
    recorder.gate.clear()
    leader = recorder.start(1)
    wait_until(lambda: recorder.running == 1)
    with pytest.raises(Unavailable, match="in time"):
        recorder.batcher.submit(2, time.monotonic() + 0.02)
    patient = recorder.start(3)
    wait_until(lambda: len(recorder.batcher._waiting) == 1)
    recorder.gate.set()
    for call in leader + patient:
        call.join()

    assert [call.result for call in leader + patient] == [2, 6]
    assert 2 not in [job for batch in recorder.batches for job in batch]


def test_hundreds_of_impatient_threads_lose_no_leader():
    """A thread may be chosen as leader in the moment its time is up: it has to choose another."""
    recorder = Recorder(parallel=2)

    def work(number: int) -> None:
        for turn in range(30):
            try:
                assert (
                    recorder.batcher.submit(number, time.monotonic() + (number * turn % 7) / 4000)
                    == number * 2
                )
            except Unavailable:
                pass

    threads = [threading.Thread(target=work, args=(n,)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.batcher.submit(5, time.monotonic() + 10) == 10
    assert recorder.batcher._idle == 2
    assert not recorder.batcher._waiting
