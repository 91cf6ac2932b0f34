"""A task that acquires a lock and ends: another task has to be able to release the lock.

Before Python 3.12, ``asyncio.wait_for(lock.acquire(), 5)`` runs the acquisition in a task of its
own. A task of that kind is made here, so that each version of Python runs the same test.
"""

import asyncio

import pytest

from holdlock import AsyncFileLock, AsyncLockSet, AsyncReadWriteLock, AsyncSemaphore, FileLock, Timeout

LOCKS = {
    "semaphore": lambda path: AsyncSemaphore(path, 1),
    "set": lambda path: AsyncLockSet([path]),
    "mutex": lambda path: AsyncFileLock(path, thread_local="mutex"),
    "set of mutexes": lambda path: AsyncLockSet([AsyncFileLock(path, thread_local="mutex")]),
    "lock": AsyncFileLock,
}


@pytest.fixture(params=sorted(LOCKS))
def lock(request, path):
    return LOCKS[request.param](path)


def is_free(path):
    try:
        FileLock(path).acquire(timeout=0).lock.release()
    except Timeout:
        return False
    return True


def test_another_task_releases_what_an_ended_task_has_acquired(path, lock):
    async def main():
        await asyncio.ensure_future(lock.acquire())
        assert not is_free(path)
        await lock.release()
        assert is_free(path)

    asyncio.run(main())


def test_the_task_is_kept_and_has_ended_all_the_same(path, lock):
    async def main():
        kept = asyncio.ensure_future(lock.acquire())
        await kept
        await lock.release()
        assert is_free(path)

    asyncio.run(main())


def test_the_result_of_an_acquisition_releases_it_in_another_task(path, lock):
    async def main():
        async with await asyncio.ensure_future(lock.acquire()):
            assert not is_free(path)
        assert is_free(path)

    asyncio.run(main())


@pytest.mark.parametrize("mode", ["read", "write"])
def test_the_same_for_readers_and_writers(path, mode):
    async def main():
        lock = AsyncReadWriteLock(path)
        acquire = lock.acquire_read if mode == "read" else lock.acquire_write
        async with await asyncio.ensure_future(acquire()):
            assert not is_free(path)
        assert is_free(path)
        await asyncio.ensure_future(acquire())
        await lock.release()
        assert is_free(path)
        with pytest.raises(RuntimeError, match="not held by this task"):
            await lock.release()

    asyncio.run(main())


def test_the_result_releases_the_set_of_a_task_that_still_runs(path):
    async def main():
        locks = AsyncLockSet([path])
        done, held = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def other():
            held.set_result(await locks.acquire())
            await done.wait()

        task = asyncio.ensure_future(other())
        async with await held:
            assert not is_free(path)
        assert is_free(path)
        done.set()
        await task

    asyncio.run(main())


def test_a_task_that_still_runs_keeps_what_it_holds(path):
    async def main():
        semaphore = AsyncSemaphore(path, 2)
        mutex = AsyncFileLock(path + "2", thread_local="mutex")
        done, held = asyncio.Event(), asyncio.Event()

        async def other():
            async with semaphore, mutex:
                held.set()
                await done.wait()

        task = asyncio.ensure_future(other())
        await held.wait()
        with pytest.raises(RuntimeError, match="this task holds none"):
            await semaphore.release()
        with pytest.raises(RuntimeError, match="held by another task"):
            await mutex.release()
        done.set()
        await task

    asyncio.run(main())
