"""Many readers or one writer, in asynchronous code: each task holds for itself."""

from __future__ import annotations

import asyncio
import pickle

import pytest
from conftest import run_forked, until
from loops import loop  # noqa: F401
from waits import is_unused, waiting_threads
from test_read_write import HOLDER, alone

from holdlock import AsyncAcquireReadWriteReturnProxy, AsyncReadWriteLock, FileLock, Timeout


def test_tasks_read_together_and_write_alone(path, loop):
    lock = AsyncReadWriteLock(path)
    readers, writers = [], []

    async def work(number):
        for turn in range(20):
            if (turn + number) % 4:
                async with lock.read_lock():
                    readers.append(number)
                    assert not writers
                    await loop.sleep(0)
                    readers.remove(number)
            else:
                async with await lock.acquire_write() as entered:
                    assert entered is lock
                    writers.append(number)
                    await loop.sleep(0)
                    assert len(writers) == 1 and not readers
                    writers.remove(number)

    async def read():
        async with lock.read_lock():
            readers.append(None)
            while len(readers) < 6:  # until all are here
                await loop.sleep(0.001)

    async def main():
        await loop.all_of(*[lambda n=n: work(n) for n in range(6)])
        await loop.all_of(*[read] * 6)

    loop.run(main)
    until(lambda: waiting_threads() == 0)
    assert is_unused(path)


def test_tasks_exclude_other_processes(path, child, loop):
    writer = child(HOLDER, path, "write")
    writer.expect("held")

    async def main():
        lock = AsyncReadWriteLock(path, timeout=0.02)
        for acquire in (lock.acquire_read, lock.acquire_write):
            with pytest.raises(Timeout, match=str(writer.pid)):
                await acquire()
            with pytest.raises(Timeout):
                await acquire(blocking=False)
        assert [one.pid for one in lock.holders()] == [writer.pid]
        writer.tell()
        async with lock.read_lock(timeout=10):
            alone(path).acquire_read(timeout=0).lock.release()
            with pytest.raises(Timeout):
                alone(path).acquire_write(timeout=0)

    loop.run(main)
    assert is_unused(path)


def test_a_held_lock_can_be_acquired_again_in_the_same_mode(path, loop):
    async def main():
        lock = AsyncReadWriteLock(path)
        async with lock.read_lock(), lock.read_lock():
            with pytest.raises(RuntimeError, match="upgrade not allowed"):
                await lock.acquire_write()
        async with lock.write_lock(), lock.write_lock():
            with pytest.raises(RuntimeError, match="downgrade not allowed"):
                await lock.acquire_read()
        assert is_unused(path)
        with pytest.raises(RuntimeError, match="not held by this task"):
            await lock.release()
        await lock.release(force=True)
        proxy = await lock.acquire_write()
        assert type(proxy) is AsyncAcquireReadWriteReturnProxy and proxy.lock is lock
        await lock.acquire_write()
        await lock.release(force=True)
        assert is_unused(path)

    loop.run(main)


def test_a_writer_that_waits_goes_before_readers_that_come_later(path, child, loop):
    first = child(HOLDER, path, "read")
    first.expect("held")
    asked, order = [], []

    async def main():
        lock = AsyncReadWriteLock(path)

        async def write():
            async with lock.write_lock():
                order.append("write")

        async def read():
            while not FileLock(path).waiters():
                await loop.sleep(0.001)
            with pytest.raises(Timeout):
                await lock.acquire_read(blocking=False)
            asked.append("read")
            async with lock.read_lock():
                order.append("read")

        async def release():
            while not asked:
                await loop.sleep(0.001)
            order.append("release")
            first.tell()

        await loop.all_of(write, read, release)

    loop.run(main)
    assert order == ["release", "write", "read"]


def test_a_task_that_reads_lets_no_other_past_a_waiting_writer(path, child, loop):
    async def main():
        lock, other = AsyncReadWriteLock(path), AsyncReadWriteLock(path, is_singleton=False)

        async def read():
            for one in (lock, other):
                with pytest.raises(Timeout):
                    await one.acquire_read(timeout=0.01)
                with pytest.raises(Timeout):
                    await one.acquire_read(blocking=False)

        async with lock.read_lock():
            writer = child(HOLDER, path, "write")
            while not FileLock(path).waiters():
                await loop.sleep(0.001)
            await loop.all_of(read)
        writer.expect("held")

    loop.run(main)


def test_a_reader_that_would_wait_behind_a_writer_for_itself_gets_an_error(path, child, loop):
    async def main():
        one, two = AsyncReadWriteLock(path), AsyncReadWriteLock(path, is_singleton=False)
        async with one.read_lock():
            writer = child(HOLDER, path, "write")
            while not FileLock(path).waiters():
                await loop.sleep(0.001)
            with pytest.raises(RuntimeError, match="Deadlock"):
                await two.acquire_read()
            async with one.read_lock():
                pass
        writer.expect("held")

    loop.run(main)


def test_a_cancelled_wait_leaves_nothing_behind(path, child, loop):
    writer = child(HOLDER, path, "write")
    writer.expect("held")

    async def main():
        lock = AsyncReadWriteLock(path)
        for acquire in (lock.acquire_read, lock.acquire_write) * 5:
            assert await loop.cancelled_after(0.003, acquire)
            assert FileLock(path).waiters() == []
        # Neither in the door.
        with pytest.raises(Timeout):
            await lock.acquire_read(timeout=0.01)

    loop.run(main)
    writer.tell()
    writer.expect("released")
    assert is_unused(path)


def test_objects_of_one_path_share_what_the_tasks_hold(path, loop):
    async def main():
        one, two = AsyncReadWriteLock(path), AsyncReadWriteLock(path)
        await one.acquire_write()
        await two.acquire_write()
        await one.release()
        with pytest.raises(RuntimeError):
            await one.release()
        with pytest.raises(Timeout):
            FileLock(path).acquire(timeout=0)
        await one.acquire_write()
        await two.close()
        with pytest.raises(RuntimeError, match="closed"):
            await two.acquire_read()
        with pytest.raises(Timeout):
            FileLock(path).acquire(timeout=0)
        await one.close()
        assert is_unused(path)
        other = AsyncReadWriteLock(path, is_singleton=False)
        async with AsyncReadWriteLock(path).read_lock():
            with pytest.raises(RuntimeError):
                await other.acquire_write()
            async with other.read_lock():
                pass
            with pytest.raises(Timeout):
                await other.acquire_write(timeout=0.01)

    loop.run(main)
    with pytest.raises(ValueError):
        kept = AsyncReadWriteLock(path)
        AsyncReadWriteLock(path, timeout=1)
    assert kept.timeout == -1


def test_a_collected_lock_is_released(path):
    async def main():
        lock = AsyncReadWriteLock(path)
        await lock.acquire_write()
        keeps_the_path = AsyncReadWriteLock(path)
        del lock
        async with keeps_the_path.read_lock(timeout=0):
            pass

    asyncio.run(main())


def test_a_child_owns_nothing_and_cannot_release(path):
    async def main():
        lock = AsyncReadWriteLock(path)
        await lock.acquire_write()

        def in_child():
            for step in (lock.release(), lock.close()):
                with pytest.raises(StopIteration):
                    step.send(None)
            with pytest.raises(Timeout):
                alone(path).acquire_read(timeout=0)

        assert run_forked(in_child) == ""
        with pytest.raises(Timeout):
            alone(path).acquire_read(timeout=0)

    asyncio.run(main())


def test_a_pickled_lock_keeps_the_arguments_of_the_constructor(path):
    lock = AsyncReadWriteLock(path, timeout=2, blocking=False)
    assert (lock.loop, lock.executor, lock.timeout, lock.lock_file) == (None, None, 2, path)
    copy = pickle.loads(pickle.dumps(lock))
    assert type(copy) is AsyncReadWriteLock and (copy.timeout, copy.blocking) == (2, False)
    with pytest.raises(RuntimeError, match="inside an asyncio task"):
        lock.acquire_read().send(None)


def test_close_ends_the_waits_of_other_tasks(path, holder, loop):
    other = holder(path)

    async def main():
        lock = AsyncReadWriteLock(path)

        async def wait(acquire):
            with pytest.raises(RuntimeError, match="was closed"):
                await acquire()

        async def close():
            await loop.sleep(0.05)
            await lock.close()

        await loop.all_of(
            lambda: wait(lock.acquire_read), lambda: wait(lock.acquire_write), close
        )

    loop.run(main)
    other.tell()
    other.expect("released")
    until(lambda: is_unused(path))
