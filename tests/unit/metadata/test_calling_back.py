"""Questions: every asker is called back once, whatever goes wrong, and many share one look."""

import threading

import pytest

from fixtures.postgres import wait_until
from sendback.errors import Unavailable
from sendback.metadata.calling_back import Questions


class Oracle:
    """Doubles each number; can be held, and can fail."""

    def __init__(self, **options) -> None:
        self.batches: list[list[int]] = []
        self.deadlines: list[float] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.heard: list[object] = []
        self.questions: Questions[int, int] = Questions(self.run, **options)

    def run(self, jobs, deadline):
        self.batches.append(list(jobs))
        self.deadlines.append(deadline)
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        return [job * 2 for job in jobs]

    def ask(self, *jobs: int) -> None:
        for job in jobs:
            self.questions.ask(job, 100.0 + job, self.heard.append, self.heard.append)

    def wait(self, count: int) -> list[object]:
        wait_until(lambda: len(self.heard) == count)
        return self.heard


@pytest.fixture
def oracle():
    oracle = Oracle(max_batch=4)
    yield oracle
    oracle.gate.set()
    oracle.questions.close()


def test_nobody_waits_and_everybody_hears(oracle):
    oracle.ask(21)

    assert oracle.wait(1) == [42]


def test_what_comes_meanwhile_is_one_batch_with_the_deadline_of_its_oldest(oracle):
    oracle.gate.clear()
    oracle.ask(1)
    wait_until(lambda: oracle.batches)
    oracle.ask(2, 3, 4, 5, 6)
    oracle.gate.set()

    assert oracle.wait(6) == [2, 4, 6, 8, 10, 12]
    assert oracle.batches == [[1], [2, 3, 4, 5], [6]]
    assert oracle.deadlines == [101.0, 102.0, 106.0]


@pytest.mark.parametrize("error", [Unavailable("down"), ZeroDivisionError("a fault of ours")])
def test_a_failure_is_everybodys_and_the_thread_goes_on(oracle, error):
    oracle.error = error
    oracle.ask(1, 2)
    heard = list(oracle.wait(2))
    assert all(isinstance(one, Unavailable) for one in heard)
    assert str(error) in str(heard[0])

    oracle.error = None
    oracle.ask(3)
    assert oracle.wait(3)[2] == 6


def test_one_askers_fault_is_not_the_others(oracle):
    def broken(_: object) -> None:
        raise ValueError("mine")

    oracle.gate.clear()
    oracle.ask(1)
    oracle.questions.ask(2, 0.0, broken, oracle.heard.append)
    oracle.questions.ask(3, 0.0, broken, broken)
    oracle.ask(4)
    oracle.gate.set()

    first, fault, last = oracle.wait(3)
    assert (first, last) == (2, 8)
    assert str(fault) == "mine"


def test_closing_answers_those_who_asked_and_asking_anew_begins_again(oracle):
    oracle.gate.clear()
    oracle.ask(1)
    wait_until(lambda: oracle.batches)
    oracle.ask(2)
    oracle.questions.close()
    oracle.gate.set()
    assert oracle.wait(2) == [2, 4]

    oracle.ask(5)
    assert oracle.wait(3)[2] == 10
    oracle.questions.close()
    oracle.questions.close()
    wait_until(lambda: not any(t.name == "questions" for t in threading.enumerate()))


def test_nobody_closes_between_a_look_at_the_thread_and_the_question(oracle):
    """It would lie behind the thread's end, and its asker would wait for ever."""
    questions = oracle.questions
    oracle.ask(1)
    oracle.wait(1)

    class ClosedWherePossible:
        def put(self, ticket) -> None:
            if questions._mutex.acquire(blocking=False):
                questions._mutex.release()
                questions.close()
            tickets.put(ticket)

    tickets, questions._tickets = questions._tickets, ClosedWherePossible()
    oracle.ask(2)
    questions._tickets = tickets

    assert oracle.wait(2) == [2, 4]
