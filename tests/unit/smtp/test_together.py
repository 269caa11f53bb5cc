"""Jobs that wait while a call is under way go together in the next; each has its own answer."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sendback.smtp.together import Together


def run(scenario, work, **options):
    async def main():
        with ThreadPoolExecutor(4) as threads:
            return await scenario(Together(work, threads, **options))

    return asyncio.run(main())


def test_every_job_gets_its_own_answer():
    calls = []

    def work(jobs):
        calls.append(len(jobs))
        return [job * 2 for job in jobs]

    async def scenario(together):
        return await asyncio.gather(*(together.do(n) for n in range(100)))

    assert run(scenario, work, most=32) == [n * 2 for n in range(100)]
    assert sorted(calls) == [4, 32, 32, 32]


def test_who_comes_during_a_call_waits_for_the_next():
    gate, begun, calls = threading.Event(), threading.Event(), []

    def work(jobs):
        calls.append(list(jobs))
        begun.set()
        assert gate.wait(20)
        return jobs

    async def scenario(together):
        first = asyncio.ensure_future(together.do(0))
        await asyncio.to_thread(begun.wait, 20)
        rest = [asyncio.ensure_future(together.do(n)) for n in range(1, 6)]
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.gather(first, *rest)

    assert run(scenario, work, parallel=1, patience=60) == list(range(6))
    assert calls == [[0], [1, 2, 3, 4, 5]]


def test_calls_that_hang_make_nobody_wait_for_their_end():
    """A frozen database costs each message one deadline, not that of the messages before too."""
    gate, begun = threading.Event(), threading.Semaphore(0)

    def work(jobs):
        begun.release()
        assert gate.wait(20)
        return jobs

    async def scenario(together):
        asked = []
        for n in range(3):
            asked.append(asyncio.ensure_future(together.do(n)))
            assert await asyncio.to_thread(begun.acquire, timeout=20)
        gate.set()
        return await asyncio.gather(*asked)

    assert run(scenario, work, parallel=1, hurried=3, patience=0) == [0, 1, 2]


def test_hurry_has_its_limit():
    gate, running, most = threading.Event(), [], []

    def work(jobs):
        running.append(1)
        most.append(len(running))
        if len(most) == 2:
            gate.set()
        assert gate.wait(20)
        running.pop()
        return jobs

    async def scenario(together):
        return await asyncio.gather(*(together.do(n) for n in range(40)))

    options = {"parallel": 1, "hurried": 2, "most": 3, "patience": 0}
    assert run(scenario, work, **options) == list(range(40))
    assert max(most) == 2


def test_one_job_s_fault_is_its_own_and_a_call_s_fault_is_everybody_s():
    def work(jobs):
        if 13 in jobs:
            raise OSError("all of it")
        return [ValueError(job) if job == 7 else job for job in jobs]

    async def scenario(together):
        some = asyncio.gather(*(together.do(n) for n in (6, 7, 8)), return_exceptions=True)
        more = asyncio.gather(*(together.do(n) for n in (12, 13)), return_exceptions=True)
        return await some, await more

    (six, seven, eight), all_of_it = run(scenario, work, most=3)
    assert (six, eight) == (6, 8)
    assert isinstance(seven, ValueError)
    assert all(isinstance(error, OSError) for error in all_of_it)


def test_a_caller_that_leaves_takes_nobody_along():
    gate = threading.Event()

    def work(jobs):
        assert gate.wait(20)
        return jobs

    async def scenario(together):
        leaving = asyncio.ensure_future(together.do(1))
        staying = asyncio.ensure_future(together.do(2))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        gate.set()
        return await staying, await together.do(3)

    assert run(scenario, work) == (2, 3)


def test_threads_that_are_closed_leave_nobody_waiting():
    gate, begun = threading.Event(), threading.Event()

    def work(jobs):
        begun.set()
        assert gate.wait(20)
        return jobs

    async def main():
        threads = ThreadPoolExecutor(1)
        together = Together(work, threads)
        first = asyncio.ensure_future(together.do(1))
        await asyncio.to_thread(begun.wait, 20)
        second = asyncio.ensure_future(together.do(2))
        await asyncio.sleep(0.01)
        third = asyncio.ensure_future(together.do(3))
        await asyncio.sleep(0)
        threads.shutdown(wait=False, cancel_futures=True)
        gate.set()
        assert await asyncio.wait_for(first, 20) == 1
        late = asyncio.ensure_future(together.do(4))
        for waiting in (second, third, late):
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(waiting, 20)

    asyncio.run(main())
