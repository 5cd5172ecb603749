"""Jobs in order, all that wait at once, and nothing that waits for ever."""

import asyncio
import threading

import pytest

from jaxrec.serve.service.worker import Busy, Worker


@pytest.fixture
def held():
    """(worker, release): it works only when released, and keeps the sizes of what it took."""
    gate, sizes = threading.Event(), []

    def work(jobs):
        gate.wait(10)
        sizes.append(len(jobs))
        for job in jobs:
            job.answer(job.what * 2) if job.what >= 0 else job.fail(ValueError("negative"))

    worker = Worker("test", work, waiting=8, at_most=4).start()
    yield worker, gate, sizes
    gate.set()
    worker.stop()


def test_what_waits_is_taken_at_once(held):
    worker, gate, sizes = held

    async def ask():
        first = asyncio.create_task(worker.do(0))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(worker.do(n)) for n in range(1, 7)]
        await asyncio.sleep(0.05)
        gate.set()
        return [await task for task in (first, *others)]

    assert asyncio.run(ask()) == [0, 2, 4, 6, 8, 10, 12]
    assert sizes == [1, 4, 2]


def test_too_many_are_refused_and_the_late_are_not_begun(held):
    worker, gate, sizes = held

    async def ask():
        running = asyncio.create_task(worker.do(1))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await worker.do(2, 0.02)
        waiting = [asyncio.create_task(worker.do(3)) for _ in range(7)]
        await asyncio.sleep(0.05)
        with pytest.raises(Busy):
            await worker.do(4)
        gate.set()
        await asyncio.gather(running, *waiting)

    asyncio.run(ask())
    assert sum(sizes) == 8  # the late one is not among them


def test_a_failure_is_its_own(held):
    worker, gate, _ = held
    gate.set()

    async def ask():
        return await asyncio.gather(worker.do(-1), worker.do(5), return_exceptions=True)

    failed, answer = asyncio.run(ask())
    assert isinstance(failed, ValueError) and answer == 10


def test_stopping_answers_what_waits():
    worker = Worker("test", lambda jobs: [job.answer(job.what) for job in jobs]).start()

    async def ask():
        tasks = [asyncio.create_task(worker.do(n)) for n in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(worker.stop)
        with pytest.raises(Busy):
            await worker.do(1)
        return await asyncio.gather(*tasks)

    assert asyncio.run(ask()) == list(range(20))
