"""Locks between hosts in asynchronous code."""

import asyncio
import random

import pytest

import holdlock
from conftest import until
from holdlock import CancelToken, Cancelled, Deadlock, LockLost, Timeout
from loops import loop  # noqa: F401  # fixture
from postgres import name, server  # noqa: F401  # fixtures


async def eventually(happens, sleep=asyncio.sleep):
    """Waits for an event while other tasks run."""
    for _ in range(20_000):
        if await happens():
            return
        await sleep(0.005)
    raise AssertionError("it did not happen")


def test_tasks_exclude_each_other_by_one_object(server, name, loop):
    inside, most, tokens = set(), [], []

    async def main():
        lock = holdlock.open_async(server.url(name))

        async def work():
            async with lock:
                assert lock.is_locked and lock.lock_counter == 1
                inside.add(lock.token)
                most.append(len(inside))
                tokens.append(lock.token)
                async with await lock.acquire(timeout=0):
                    assert lock.lock_counter == 2
                await lock.check()
                await loop.sleep(0.001)
                inside.remove(lock.token)

        await loop.all_of(*[work] * 5)
        assert not lock.is_locked and lock.token is None

    loop.run(main)
    assert len(most) == 5 and max(most) == 1 and tokens == sorted(tokens)
    server.nothing_left(name)


def test_cancelled_tasks_leave_nothing_behind(server, name, loop):
    ends = []

    async def main():
        lock = holdlock.open_async(server.url(name))

        async def work():
            async with lock:
                await loop.sleep(0.005)

        async def one():
            for _ in range(6):
                ends.append(await loop.cancelled_after(random.uniform(0, 0.06), work))
                assert not lock.is_locked

        await loop.all_of(*[one] * 6)
        # Whatever the cancelled ones had is given back.
        async with await lock.acquire(timeout=60):
            pass

    loop.run(main)
    assert any(ends) and len(ends) == 36
    server.nothing_left(name)


def test_a_waiting_task_lets_the_others_run(server, name):
    async def main():
        lock = holdlock.open_async(server.url(name))
        async with lock:
            task = asyncio.ensure_future(lock.acquire())

            async def one_waits():
                return len(await lock.waiters()) == 1

            await eventually(one_waits)
            assert not task.done() and len(await lock.holders()) == 1
            with pytest.raises(Timeout) as raised:
                await holdlock.open_async(server.url(name), timeout=10).acquire()
            assert raised.value.holders == await lock.holders()
        async with await task as same:
            assert same is lock
        await lock.release()

    asyncio.run(main())


def test_a_lock_that_another_task_has_acquired_can_be_released_when_that_has_ended(server, name):
    async def main():
        lock = holdlock.open_async(server.url(name))
        for _ in range(3):
            # Before Python 3.12 it makes a task.
            await asyncio.wait_for(lock.acquire(), 60)
            assert lock.is_locked and lock.is_valid()
            await lock.release()
            assert not lock.is_locked
        held, release = asyncio.Event(), asyncio.Event()

        async def hold():
            async with lock:
                held.set()
                await release.wait()

        task = asyncio.ensure_future(hold())
        await held.wait()
        assert not lock.is_locked and lock.is_valid()
        with pytest.raises(RuntimeError, match="another thread or task"):
            await lock.release()
        release.set()
        await task
        assert lock._owners == {}

    asyncio.run(main())
    server.nothing_left(name)


def test_a_lost_lock_is_noticed(server, name, loop):
    async def main():
        lock = holdlock.open_async(server.url(name))
        with pytest.raises(LockLost):
            async with lock:
                await lock.check()
                lost, heard = lock.lost, []
                assert not lost.is_set() and not await lost.wait(0.001)

                async def listen():
                    heard.append(await lost.wait())

                async def end():
                    await loop.sleep(0.01)
                    server.terminate(name)

                await loop.all_of(listen, listen, end)
                assert heard == [True, True] and isinstance(lost.reason, LockLost)
                with pytest.raises(LockLost):
                    lock.ensure_held()
                with pytest.raises(LockLost):
                    await lock.check()
        with pytest.raises(KeyError):
            async with await lock.acquire(timeout=60):
                server.terminate(name)
                assert await lock.lost.wait(60)
                raise KeyError("of the block")
        assert not lock.is_locked

    loop.run(main)


def test_the_loss_can_cancel_the_task(server, name):
    async def work(lock):
        async with lock:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            lock.lost.add_callback(lambda error: loop.call_soon_threadsafe(task.cancel))
            server.terminate(name)
            await asyncio.sleep(600)

    async def main():
        lock = holdlock.open_async(server.url(name))
        with pytest.raises(asyncio.CancelledError) as raised:
            await asyncio.ensure_future(work(lock))
        if hasattr(raised.value, "__notes__"):
            assert raised.value.__notes__[0].startswith("LockLost: ")
        assert not lock.is_locked

    asyncio.run(main())


def test_a_token_and_the_modes_work_as_in_threads(server, name):
    async def main():
        lock = holdlock.open_async(server.url(name), shared=True)
        async with lock:
            async with await holdlock.open_async(server.url(name), 60, shared=True).acquire():
                pass
            with pytest.raises(Deadlock):
                await lock.acquire(shared=False)
            token = CancelToken()
            other = holdlock.open_async(server.url(name))
            task = asyncio.ensure_future(other.acquire(cancel=token))

            async def one_waits():
                return len(await lock.waiters()) == 1

            await eventually(one_waits)
            token.cancel()
            with pytest.raises(Cancelled):
                await task
        with pytest.raises(NotImplementedError):
            with lock:
                pass
        await lock.lock()
        assert lock.is_locked
        await lock.unlock()
        assert not lock.is_locked

    asyncio.run(main())
    server.nothing_left(name)


def test_it_decorates_asynchronous_functions(server, name):
    async def main():
        lock = holdlock.open_async(server.url(name))

        @lock
        async def inside():
            return lock.is_locked

        assert await inside() and not lock.is_locked

    asyncio.run(main())


def test_a_loop_that_is_closed_while_a_task_waits_leaves_nothing(server, name):
    with holdlock.open(server.url(name)) as holder:

        async def main():
            asyncio.ensure_future(holdlock.open_async(server.url(name)).acquire())
            while len(await holdlock.open_async(server.url(name)).waiters()) != 1:
                await asyncio.sleep(0.005)

        asyncio.run(main())
        until(lambda: holder.waiters() == [])
    server.nothing_left(name)
