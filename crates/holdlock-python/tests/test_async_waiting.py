"""The waits of tasks for native locks, and their cancellation."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time

import pytest
from conftest import until, waits
from loops import loop  # noqa: F401
from waits import is_unused, release, waiting_threads

from holdlock import AsyncFileLock, CancelToken, Cancelled, Deadlock, FileLock, Timeout
from holdlock._async_wakeups import AsyncioWakeups


def test_the_loop_runs_while_a_task_waits_and_is_woken_by_the_release(path, holder, loop):
    other = holder(path)
    lock = AsyncFileLock(path, poll_interval=50)
    before = set(threading.enumerate())
    ticks = []

    async def main():
        async def tick():
            for _ in range(20):
                await loop.sleep(0.002)
                ticks.append(time.monotonic())
            while not lock.waiters():
                await loop.sleep(0.001)
            assert [one.pid for one in lock.waiters()] == [os.getpid()]
            assert before.issuperset(threading.enumerate())
            other.tell()

        async def wait():
            async with lock:
                assert len(ticks) == 20
            assert time.monotonic() - ticks[-1] < 10

        await loop.all_of(tick, wait)

    loop.run(main)


def test_a_waiting_task_costs_no_processor_time(path, holder, loop):
    holder(path)

    async def main():
        async def wait():
            with pytest.raises(Timeout):
                await AsyncFileLock(path).acquire(timeout=0.6)

        await loop.all_of(*[wait] * 10)

    loop.run(AsyncFileLock(path + "2").lock)  # what is imported late
    before = time.process_time()
    loop.run(main)
    assert time.process_time() - before < 0.4


def test_a_timeout_comes_in_time_and_names_the_holder(path, holder, loop):
    other = holder(path)

    async def main():
        for _ in range(100):  # on a busy machine, most of them may be late
            began = time.monotonic()
            with pytest.raises(Timeout) as caught:
                await AsyncFileLock(path, timeout=0.05).acquire()
            took = time.monotonic() - began
            assert str(other.pid) in str(caught.value)
            assert took >= 0.05
            if took < 0.08:
                break
        assert took < 0.08
        assert [one.pid for one in caught.value.holders] == [other.pid]
        assert [one.pid for one in AsyncFileLock(path).holders()] == [other.pid]
        for terms in ({"timeout": 0}, {"blocking": False}, {"blocking": False, "timeout": 9}):
            with pytest.raises(Timeout):
                await AsyncFileLock(path).acquire(**terms)
        until(lambda: waiting_threads() == 0)  # the system ends a thread a moment later

    loop.run(main)


def test_a_cancelled_wait_leaves_nothing_behind(path, holder, loop):
    other = holder(path)
    lock = AsyncFileLock(path)

    async def main():
        for _ in range(20):
            assert await loop.cancelled_after(0.003, lock.acquire)
            assert lock.waiters() == []  # at once
            assert not lock.is_locked

    loop.run(main)
    other.tell()
    other.expect("released")
    assert is_unused(path)


def test_a_storm_of_cancellations_leaves_nothing_behind(path, loop):
    """Tasks pass the lock on while other waiting tasks are cancelled at any moment."""
    turns = 0
    chance = random.Random(1)

    async def work():
        nonlocal turns
        lock = AsyncFileLock(path)

        async def once():
            nonlocal turns
            async with lock:
                turns += 1
                await loop.sleep(chance.random() * 0.0004)

        for _ in range(60):
            await loop.cancelled_after(chance.random() * 0.003, once)
            assert not lock.is_locked

    async def main():
        await loop.all_of(*[work] * 12)
        assert is_unused(path)

    loop.run(main)
    assert turns > 0
    until(lambda: waiting_threads() == 0)
    FileLock(path).acquire(timeout=0).lock.release()


def test_an_exception_that_strikes_as_a_task_is_woken_costs_no_task(tmp_path, monkeypatch):
    # A handler of a signal may raise anywhere in the loop, which logs the exception and goes on.
    wake = AsyncioWakeups._wake_one
    strikes = []

    def strike(self, number):
        if len(strikes) < 3:
            strikes.append(number)
            raise ValueError
        wake(self, number)

    monkeypatch.setattr(AsyncioWakeups, "_wake_one", strike)
    holders = [FileLock(tmp_path / str(number)).acquire().lock for number in range(5)]
    logged = []

    async def wait(number):
        async with AsyncFileLock(tmp_path / str(number)):
            pass

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        tasks = [asyncio.create_task(wait(number)) for number in range(5)]
        while not all(waits(lock.lock_file, os.getpid()) for lock in holders):
            await asyncio.sleep(0.001)
        for lock in holders:
            lock.release()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)

    asyncio.run(main())
    assert len(strikes) == len(logged) == 3


def test_a_lock_that_comes_at_the_moment_of_the_cancellation_is_given_back(path):
    """The task is cancelled after its wait has ended, and before it knows that."""

    async def main():
        one, two = AsyncFileLock(path), AsyncFileLock(path)
        for _ in range(50):
            await one.acquire()
            wait = asyncio.ensure_future(two.acquire())
            await asyncio.sleep(0.001)
            await one.release()
            time.sleep(0.001)  # the loop stands still while the lock is acquired
            wait.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wait
            assert not two.is_locked
            assert is_unused(path)

    asyncio.run(main())


def test_a_task_cancelled_twice_leaves_nothing_behind(path, holder):
    holder(path)

    async def main():
        lock = AsyncFileLock(path)
        for _ in range(20):
            wait = asyncio.ensure_future(lock.acquire())
            await asyncio.sleep(0.001)
            wait.cancel()
            await asyncio.sleep(0)
            wait.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wait
            assert lock.waiters() == []

    asyncio.run(main())


def test_wait_for_gives_up_in_time(path, holder):
    holder(path)

    async def main():
        lock = AsyncFileLock(path)
        began = time.monotonic()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(lock.acquire(), 0.05)
        assert time.monotonic() - began < 10
        assert lock.waiters() == []

    asyncio.run(main())


def test_cancel_check_and_a_token_end_a_wait(path, holder, loop):
    holder(path)
    calls = []

    async def main():
        lock = AsyncFileLock(path)
        with pytest.raises(Cancelled):
            await lock.acquire(
                poll_interval=0.01, cancel_check=lambda: calls.append(1) or len(calls) == 3
            )
        token = CancelToken()
        threading.Timer(0.05, token.cancel).start()
        for _ in range(2):  # once it is cancelled, at once
            with pytest.raises(Cancelled):
                await lock.acquire(timeout=30, cancel=token)
        assert lock.waiters() == []

    loop.run(main)
    assert len(calls) == 3


def test_a_task_that_would_wait_for_itself_gets_an_error(path, loop):
    async def main():
        one, two = AsyncFileLock(path), AsyncFileLock(path)
        async with one:
            with pytest.raises(Deadlock):
                await two.acquire()
            with pytest.raises(Timeout):
                await two.acquire(timeout=0.01)
            with pytest.raises(RuntimeError):
                FileLock(path).acquire()  # the loop would stand still for ever

            async def wait():
                async with two:
                    pass

            async def release():
                await loop.sleep(0.01)
                await one.release()

            # Another task may well wait: this one goes on meanwhile.
            await loop.all_of(wait, release)
        async with two:
            pass
        async with one:
            pass

    loop.run(main)


def test_a_lock_that_the_task_has_lost_is_no_deadlock(path, loop):
    async def main():
        one, two = AsyncFileLock(path), AsyncFileLock(path)

        async def take():
            await one.acquire()

        async def is_released_by_a_thread(release):
            thread = threading.Thread(target=lambda: (time.sleep(0.02), release()))
            thread.start()
            async with two:
                pass
            thread.join()

        # Taken by this task once, and now by another one.
        await one.acquire()
        await one.release()
        await loop.all_of(take)
        await is_released_by_a_thread(lambda: asyncio.run(release(one)))
        # Taken by this task, and forgotten.
        await AsyncFileLock(path).acquire()
        other = FileLock(path, thread_local=False)
        other.acquire()
        await is_released_by_a_thread(other.release)

    loop.run(main)


CROWD = """
import asyncio, os, resource, sys
from holdlock import AsyncFileLock

def count(what):
    return len(os.listdir(f"/proc/self/{what}"))

async def main():
    paths = [os.path.join(sys.argv[1], f"{number}.lock") for number in range(100)]
    held = [AsyncFileLock(path) for path in paths]
    for lock in held:
        await lock.acquire()
    before = count("task"), count("fd")

    async def one(number):
        async with AsyncFileLock(paths[number % 100], timeout=60):
            await asyncio.sleep(0)

    tasks = [asyncio.ensure_future(one(number)) for number in range(1000)]
    for _ in range(3):  # all of them begin to wait
        await asyncio.sleep(0)
    more = count("task") - before[0], count("fd") - before[1]
    assert more[0] <= 102 and more[1] <= 103, more
    for lock in held:
        await lock.release()
    await asyncio.gather(*tasks)

resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
asyncio.run(main())
"""


def test_a_thousand_tasks_on_a_hundred_locks_share_threads_and_descriptors(tmp_path):
    subprocess.run([sys.executable, "-c", CROWD, str(tmp_path)], check=True, timeout=100)


NO_DESCRIPTOR = """
import asyncio, errno, os, resource, sys
from holdlock import AsyncFileLock

async def main():
    held = AsyncFileLock(sys.argv[1])
    await held.acquire()
    number = os.open("/dev/null", os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + 1, number + 1))
    try:
        await AsyncFileLock(sys.argv[1]).acquire(timeout=30)
    except OSError as error:
        assert (error.errno, error.filename) == (errno.EMFILE, sys.argv[1]), repr(error)
    else:
        raise AssertionError("there was a descriptor left")

asyncio.run(main())
"""


def test_a_wait_without_a_descriptor_says_so_and_names_the_file(path):
    subprocess.run([sys.executable, "-c", NO_DESCRIPTOR, path], check=True, timeout=60)
