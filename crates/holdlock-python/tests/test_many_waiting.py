"""Many tasks that wait: for slots, sets, gates and upgrades, as for locks, without many descriptors."""

import asyncio
import os

import pytest

from holdlock import (
    AsyncFileLock,
    AsyncLockSet,
    AsyncSemaphore,
    AsyncTokenGate,
    CancelToken,
    Cancelled,
    FileLock,
    Semaphore,
    Timeout,
)

TASKS = 300
#: Makes something to wait for, and the awaitable that acquires it.
WAITS = {
    "lock": lambda path: AsyncFileLock(path).acquire,
    "semaphore": lambda path: AsyncSemaphore(path, 1).acquire,
    "set": lambda path: AsyncLockSet([path, path + "2"]).acquire,
    "right to upgrade": lambda path: AsyncFileLock(path, upgradeable=True).acquire_upgradeable,
    "gate": lambda path: lambda *limit, **options: AsyncTokenGate(path).enter(1, *limit, **options),
}


@pytest.fixture(params=sorted(WAITS))
def acquire(request, path):
    """Each call makes an acquisition by an object of its own."""
    return lambda *limit, **options: WAITS[request.param](path)(*limit, **options)


def count(what):
    return len(os.listdir(f"/proc/self/{what}"))


async def settle(tasks):
    """Lets each task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not any(task.done() for task in tasks)


def test_waiting_tasks_cost_no_descriptors_and_no_threads(acquire):
    inside = []

    async def work():
        async with await acquire():
            assert inside == []
            inside.append(1)
            await asyncio.sleep(0)
            inside.pop()

    async def main():
        async with await acquire():
            descriptors, threads = count("fd"), count("task")
            tasks = [asyncio.ensure_future(work()) for _ in range(TASKS)]
            await settle(tasks)
            assert count("fd") < descriptors + 20
            assert count("task") < threads + 10
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_a_task_in_the_middle_of_the_line_can_be_cancelled(acquire):
    order = []

    async def work(number):
        async with await acquire():
            order.append(number)

    async def main():
        async with await acquire():
            tasks = [asyncio.ensure_future(work(number)) for number in range(5)]
            await settle(tasks)
            for number in (0, 2):
                tasks[number].cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in ended] == [
            number in (0, 2) for number in range(5)
        ]
        async with await acquire(0):
            pass

    asyncio.run(main())
    assert sorted(order) == [1, 3, 4]


def test_limits_and_tokens_end_the_waits_of_a_line(acquire):
    async def main():
        token = CancelToken()
        async with await acquire():
            last = asyncio.ensure_future(acquire(cancel=token))
            waiting = [asyncio.ensure_future(acquire(0.05)) for _ in range(5)]
            cancelled = [asyncio.ensure_future(acquire(cancel=token)) for _ in range(5)]
            for error in await asyncio.gather(*waiting, return_exceptions=True):
                assert type(error) is Timeout and error.filename, error
            token.cancel()
            for error in await asyncio.gather(last, *cancelled, return_exceptions=True):
                assert type(error) is Cancelled, error
        async with await acquire(0):
            pass

    asyncio.run(main())


def test_tasks_get_the_slot_in_the_order_in_which_they_asked(path):
    order = []

    async def work(number):
        async with AsyncSemaphore(path, 1):
            order.append(number)

    async def main():
        async with AsyncSemaphore(path, 1):
            tasks = [asyncio.ensure_future(work(number)) for number in range(20)]
            await settle(tasks)
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert order == [*range(20)]


def test_a_line_is_served_while_another_process_uses_the_semaphore_too(path, child):
    script = """
import sys
from holdlock import Semaphore
semaphore = Semaphore(sys.argv[1], 2)
print("ready")
for _ in range(30):
    with semaphore:
        pass
print("done")
"""
    other = child(script, path)
    other.expect("ready")

    async def work():
        async with AsyncSemaphore(path, 2) as slot:
            assert slot in (0, 1)
            await asyncio.sleep(0)

    async def main():
        await asyncio.wait_for(asyncio.gather(*[work() for _ in range(100)]), 100)

    asyncio.run(main())
    other.expect("done")
    with Semaphore(path, 2, timeout=0), Semaphore(path, 2, timeout=0):
        pass


def test_a_waiting_set_joins_a_task_while_it_stands_in_the_line(path):
    """The members are shared objects: what one task has acquired, the others hold, too."""
    locks = AsyncLockSet([AsyncFileLock(path)])

    async def main():
        other = FileLock(path)
        other.acquire()
        both = asyncio.Event()
        inside = []

        async def work():
            async with locks:
                inside.append(1)
                if len(inside) == 5:
                    both.set()
                await both.wait()

        tasks = [asyncio.ensure_future(work()) for _ in range(5)]
        await settle(tasks)
        other.release()
        await asyncio.wait_for(asyncio.gather(*tasks), 100)

    asyncio.run(main())
