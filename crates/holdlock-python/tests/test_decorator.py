"""Locks as decorators."""

import asyncio

from holdlock import FileLock


def test_the_lock_is_held_while_the_function_runs(path):
    lock = FileLock(path)

    @lock
    def work(left, right=1):
        """Adds."""
        assert lock.lock_counter == 1
        return left + right

    assert work(1, right=2) == 3
    assert not lock.is_locked
    assert (work.__name__, work.__doc__) == ("work", "Adds.")


def test_a_generator_holds_it_to_its_end(path):
    lock = FileLock(path)

    @lock
    def work():
        yield lock.is_locked
        yield lock.is_locked

    generator = work()
    assert not lock.is_locked
    assert next(generator) and lock.is_locked
    assert list(generator) == [True]
    assert not lock.is_locked
    generator = work()
    next(generator)
    generator.close()
    assert not lock.is_locked


def test_an_async_function_holds_it_to_its_end(path):
    lock = FileLock(path)

    @lock
    async def work():
        await asyncio.sleep(0)
        return lock.is_locked

    @lock
    async def several():
        yield lock.is_locked
        await asyncio.sleep(0)
        yield lock.is_locked

    async def main():
        assert await work()
        assert [held async for held in several()] == [True, True]
        assert not lock.is_locked

    asyncio.run(main())
