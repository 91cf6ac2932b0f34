"""Native locks in asynchronous code: tasks that hold one, together or each by itself."""

from __future__ import annotations

import asyncio
import importlib
import pickle

import pytest
from conftest import until
from loops import loop  # noqa: F401
from waits import acquire, is_unused, threads, waiting_threads

import holdlock
from holdlock import AsyncFileLock, FileLock, Timeout


def test_the_lock_is_held_in_the_block(path, loop):
    async def main():
        lock = AsyncFileLock(path)
        before = threads()
        async with lock as entered:
            assert entered is lock and lock.is_locked and lock.locked
            with pytest.raises(Timeout):
                FileLock(path).acquire(timeout=0)
        assert not lock.is_locked
        async with await lock.acquire() as entered:
            assert entered is lock and lock.lock_counter == 1
        FileLock(path).acquire(timeout=0)
        assert threads() <= before

    loop.run(main)


def test_a_free_lock_is_taken_without_leaving_the_loop(path):
    lock = AsyncFileLock(path)
    for step in (lock.acquire(), lock.release(), lock.__aenter__(), lock.release()):
        with pytest.raises(StopIteration):
            step.send(None)  # the first step is the last one
    assert not lock.is_locked


def test_it_can_be_acquired_again_and_is_released_as_often(path, loop):
    async def main():
        lock = AsyncFileLock(path)
        async with lock, lock:
            assert lock.lock_counter == 2
            await lock.release()
            assert lock.is_locked
            await lock.acquire()
        assert not lock.is_locked
        await lock.release()  # of a free lock: nothing
        await lock.acquire()
        await lock.acquire()
        await lock.release(force=True)
        assert lock.lock_counter == 0
        assert await lock.lock() is lock
        await lock.lock()
        assert lock.lock_counter == 1
        await lock.unlock()
        assert not lock.locked

    loop.run(main)


def test_tasks_with_an_object_each_exclude_one_another(path, loop):
    inside = []

    async def work():
        lock = AsyncFileLock(path)
        for _ in range(10):
            async with lock:
                inside.append(1)
                assert len(inside) == 1
                await loop.sleep(0)
                inside.pop()

    async def main():
        await loop.all_of(*[work] * 10)

    loop.run(main)


def test_tasks_exclude_one_another_on_one_object_as_a_mutex(path, loop):
    inside = []
    lock = AsyncFileLock(path, thread_local="mutex")

    async def work():
        for _ in range(10):
            async with lock, lock:
                inside.append(1)
                assert len(inside) == 1
                await loop.sleep(0)
                inside.pop()

    async def main():
        await loop.all_of(*[work] * 10)

    loop.run(main)
    assert not lock.is_locked


def test_tasks_hold_one_object_together(path, holder, loop):
    other = holder(path)
    lock = AsyncFileLock(path)

    async def main():
        async def release():
            while waiting_threads() < 1:
                await loop.sleep(0.001)
            await loop.sleep(0.001)  # by now all three have begun to wait
            other.tell()

        await loop.all_of(lock.acquire, lock.acquire, lock.acquire, release)
        assert lock.lock_counter == 3
        for _ in range(3):
            assert lock.is_locked
            await lock.release()
        assert not lock.is_locked

    loop.run(main)
    until(lambda: waiting_threads() == 0)
    assert is_unused(path)


def test_shared_locks(path, loop):
    async def main():
        one = AsyncFileLock(path, shared=True)
        two = AsyncFileLock(path)
        async with one, await two.acquire(shared=True):
            with pytest.raises(Timeout):
                await AsyncFileLock(path).acquire(timeout=0.01)
            with pytest.raises(RuntimeError):
                await one.acquire(shared=False)
        async with two:
            with pytest.raises(Timeout):
                await one.acquire(timeout=0.01)

            async def read():
                async with one:
                    pass

            async def release():
                await loop.sleep(0.01)
                await two.release()

            await loop.all_of(read, read, release)
        assert one.lock_counter == 0

    loop.run(main)
    assert is_unused(path)


def test_a_collected_lock_is_released(path):
    async def main():
        await AsyncFileLock(path).acquire()

    asyncio.run(main())
    FileLock(path).acquire(timeout=0)


def test_one_object_for_each_path(path):
    one = AsyncFileLock(path, is_singleton=True)
    assert AsyncFileLock(path, is_singleton=True) is one
    with pytest.raises(ValueError, match="shared"):
        AsyncFileLock(path, is_singleton=True, shared=True)
    with pytest.raises(ValueError, match="run_in_executor"):
        AsyncFileLock(path, is_singleton=True, run_in_executor=False)
    assert FileLock(path, is_singleton=True) is not one

    async def main():
        async with one, AsyncFileLock(path, is_singleton=True):
            assert one.lock_counter == 2

    asyncio.run(main())


def test_a_pickled_lock_arrives_unheld(path):
    lock = AsyncFileLock(
        path, timeout=3, thread_local=True, run_in_executor=False, shared=True, mode=0o600
    )
    asyncio.run(acquire(lock))
    copy = pickle.loads(pickle.dumps(lock))
    assert type(copy) is AsyncFileLock and not copy.is_locked
    assert (copy.timeout, copy.shared, copy.mode) == (3, True, 0o600)
    assert copy.is_thread_local() and not copy.run_in_executor
    plain = pickle.loads(pickle.dumps(AsyncFileLock(path)))
    assert not plain.is_thread_local() and plain.run_in_executor


def test_the_classes_are_related(path):
    lock = AsyncFileLock(path, timeout=2, poll_interval=1)
    assert isinstance(lock, FileLock) and isinstance(lock, holdlock.BaseAsyncFileLock)
    assert holdlock.AsyncFileLock is holdlock.AsyncUnixFileLock
    assert (lock.timeout, lock.poll_interval, lock.blocking, lock.mode) == (2, 1, True, 0o644)
    assert (lock.loop, lock.executor, lock.run_in_executor) == (None, None, True)
    assert not lock.is_thread_local() and lock.lock_file == path
    lock.timeout = 4
    lock.executor = None
    assert lock.timeout == 4
    assert holdlock.asyncio.AsyncFileLock is AsyncFileLock
    assert importlib.import_module("holdlock.asyncio") is holdlock.asyncio
