"""Semaphores for asynchronous code, and for greenlets."""

import asyncio
import subprocess
import sys

import pytest

from conftest import until
from holdlock import AsyncSemaphore, CancelToken, Cancelled, Deadlock, Semaphore, Timeout
from test_semaphore import HOLDER


def test_200_tasks_share_three_slots(path):
    semaphore = AsyncSemaphore(path, 3)
    inside, most = set(), []

    async def work():
        async with semaphore as slot:
            assert slot not in inside and semaphore.slot == slot
            inside.add(slot)
            most.append(len(inside))
            await asyncio.sleep(0.001)
            inside.remove(slot)

    async def main():
        await asyncio.gather(*[work() for _ in range(200)])

    asyncio.run(main())
    assert len(most) == 200 and max(most) == 3


def test_a_waiting_task_lets_the_others_run_and_gets_the_slot_of_a_process(path, child):
    holder = child(HOLDER, path, "1")
    holder.expect("0")

    async def main():
        semaphore = AsyncSemaphore(path, 1)
        task = asyncio.ensure_future(semaphore.acquire())
        while not semaphore.waiters():
            await asyncio.sleep(0.001)
        assert not task.done()
        holder.tell()
        slot = await task
        assert slot.slot == 0
        await slot.release()

    asyncio.run(main())


def test_a_cancelled_task_has_left_the_queue_and_holds_no_slot(path):
    async def main():
        semaphore = AsyncSemaphore(path, 1)
        async with semaphore:
            task = asyncio.ensure_future(semaphore.acquire())
            while not semaphore.waiters():
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert semaphore.waiters() == []
        async with await AsyncSemaphore(path, 1).acquire(timeout=0) as slot:
            assert slot == 0

    asyncio.run(main())


def test_a_limit_and_a_token_end_the_wait_of_a_task(path):
    async def main():
        semaphore = AsyncSemaphore(path, 1)
        async with semaphore:
            with pytest.raises(Timeout, match="the only slot is taken"):
                await semaphore.acquire(timeout=0.01)
            with pytest.raises(Timeout):
                await semaphore.acquire(blocking=False)
            with pytest.raises(Deadlock, match="this task holds the only slot of"):
                await semaphore.acquire()
            token = CancelToken()
            task = asyncio.ensure_future(AsyncSemaphore(path, 1).acquire(cancel=token))
            while not semaphore.waiters():
                await asyncio.sleep(0.001)
            token.cancel()
            with pytest.raises(Cancelled):
                await task
        with pytest.raises(RuntimeError, match="this task holds none"):
            await semaphore.release()
        with pytest.raises(NotImplementedError):
            with semaphore:
                pass

    asyncio.run(main())


def test_it_works_under_trio(path):
    trio = pytest.importorskip("trio")
    inside, most = set(), []

    async def work(semaphore):
        async with semaphore as slot:
            assert slot not in inside
            inside.add(slot)
            most.append(len(inside))
            await trio.sleep(0.001)
            inside.remove(slot)

    async def main():
        semaphore = AsyncSemaphore(path, 2)
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(work, semaphore)

    trio.run(main)
    assert len(most) == 20 and max(most) == 2


GREEN = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent, sys
from holdlock import Semaphore
semaphore = Semaphore(sys.argv[1], 2)
inside, most = set(), []
def work():
    with semaphore as slot:
        assert slot not in inside and semaphore.slot == slot
        inside.add(slot)
        most.append(len(inside))
        gevent.sleep(0.001)
        inside.remove(slot)
gevent.joinall([gevent.spawn(work) for _ in range(20)], raise_error=True)
print(len(most), max(most))
"""


def test_a_greenlet_holds_a_slot_and_its_wait_lets_others_run(path):
    pytest.importorskip("gevent")
    ran = subprocess.run(
        [sys.executable, "-c", GREEN, path], capture_output=True, text=True, timeout=100
    )
    assert ran.stdout == "20 2\n", ran.stderr


def test_tasks_and_threads_share_the_slots(path):
    async def main():
        async with AsyncSemaphore(path, 2):
            with Semaphore(path, 2), pytest.raises(Timeout):
                Semaphore(path, 2).acquire(timeout=0)

    asyncio.run(main())
    until(lambda: Semaphore(path, 2).holders() == [])
