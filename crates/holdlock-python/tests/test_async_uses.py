"""Decorators, hooks and wrong uses of native locks in asynchronous code."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

import pytest
from loops import loop  # noqa: F401
from waits import is_unused

import holdlock
from holdlock import AsyncFileLock, FileLock, Timeout


def test_the_hook_is_called_for_each_acquisition_and_can_undo_it(path, loop):
    heard = []

    def note(descriptor):
        heard.append((os.fstat(descriptor).st_ino, threading.current_thread()))
        if len(heard) == 3:
            raise KeyError("not now")

    async def main():
        lock = AsyncFileLock(path, on_acquired=note)
        async with lock, lock:
            assert len(heard) == 1
        in_loop = AsyncFileLock(path, on_acquired=note, run_in_executor=False)
        async with in_loop:
            assert len(heard) == 2
        with pytest.raises(KeyError):
            await lock.acquire()
        assert not lock.is_locked and is_unused(path)
        async with lock:
            pass

    loop.run(main)
    inode = os.stat(path).st_ino
    assert {number for number, _ in heard} == {inode}
    here = threading.current_thread()
    assert [thread is here for _, thread in heard] == [False, True, False, False]


def test_a_hook_that_fails_leaves_the_holds_of_other_tasks(path):
    may_fail = threading.Event()

    def fail(descriptor):
        assert may_fail.wait(120)
        raise KeyError("not for me")

    async def main():
        lock = AsyncFileLock(path, on_acquired=fail)
        first = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(0.01)
        await lock.acquire()
        may_fail.set()
        with pytest.raises(KeyError):
            await first
        assert lock.lock_counter == 1
        with pytest.raises(Timeout):
            FileLock(path).acquire(timeout=0)
        await lock.release()
        assert is_unused(path)

    asyncio.run(main())


def test_a_decorated_function_holds_the_lock(path, loop):
    lock = AsyncFileLock(path)

    @lock
    async def locked(what):
        """Says whether it is locked."""
        await loop.sleep(0)
        return what, lock.is_locked

    @lock
    async def twice():
        yield lock.is_locked
        yield lock.is_locked

    async def main():
        assert await locked(1) == (1, True)
        assert [one async for one in twice()] == [True, True]
        assert not lock.is_locked

    loop.run(main)
    assert locked.__name__ == "locked" and locked.__doc__ == "Says whether it is locked."
    with pytest.raises(TypeError):
        lock(lambda: None)


class Failing(AsyncFileLock):
    async def release(self, force=False):
        await super().release(force)
        raise OSError("the release")


def test_errors_of_the_block_and_of_the_release_are_both_reported(path):
    async def main():
        with pytest.raises(OSError, match="the release") as caught:
            async with Failing(path):
                raise KeyError("the block")
        assert isinstance(caught.value.__context__, KeyError)
        if sys.version_info >= (3, 11):
            with pytest.raises(BaseExceptionGroup) as group:
                async with Failing(path, context_error_policy="group"):
                    raise KeyError("the block")
            assert [type(one) for one in group.value.exceptions] == [KeyError, OSError]

    asyncio.run(main())


def test_wrong_uses_are_refused(path):
    with pytest.raises(ValueError, match="run_in_executor is not supported when thread_local"):
        AsyncFileLock(path, thread_local=True)
    lock = AsyncFileLock(path)
    with pytest.raises(NotImplementedError), lock:
        pass

    async def main():
        with pytest.raises(NotImplementedError):
            await holdlock.AsyncWindowsFileLock(path).acquire()
        with pytest.raises(ValueError):
            await lock.acquire(timeout=float("nan"))
        with pytest.raises(TypeError):
            await lock.acquire(blocking=1)
        os.symlink("nothing", path + "2")
        with pytest.raises(OSError):
            await AsyncFileLock(path + "2").acquire()

    asyncio.run(main())
