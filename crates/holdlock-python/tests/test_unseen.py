"""Locks that are acquired at the moment at which the wait ends: nobody has seen them."""

import asyncio
import os
import signal

import pytest

import holdlock
from conftest import until
from holdlock import AsyncFileLock, AsyncLockSet, FileLock
from test_record import recorded_holder  # noqa: F401  # fixture

READER = """
import sys
from holdlock import FileLock
with FileLock(sys.argv[1], shared=True, upgradeable=True):
    print("held")
    sys.stdin.readline()
print("released")
sys.stdin.readline()
"""


def kill(holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.ended()


async def cancel_when_acquired(path, wait, let_go):
    """Lets the lock go while the loop stands still, and cancels the task before it knows that."""
    task = asyncio.ensure_future(wait())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    let_go()
    until(lambda: holdlock.record(path).pid == os.getpid())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_set_of_a_cancelled_task_leaves_the_news_of_a_dead_holder(path, recorded_holder):
    holder, _ = recorded_holder(path)

    async def main():
        locks = AsyncLockSet([AsyncFileLock(path, record=True), path + "2"])
        await cancel_when_acquired(path, locks.acquire, lambda: kill(holder))
        assert not locks.locked

    asyncio.run(main())
    with FileLock(path, record=True, timeout=60) as lock:
        assert lock.abandoned.pid == holder.pid
    with lock:
        assert lock.abandoned is None


def test_an_upgrade_of_a_cancelled_task_is_undone(path, recorded_holder, child):
    holder, _ = recorded_holder(path)
    kill(holder)
    reader = child(READER, path)
    reader.expect("held")

    async def main():
        lock = AsyncFileLock(path, record=True, upgradeable=True)
        async with await lock.acquire_upgradeable() as guard:
            await cancel_when_acquired(path, guard.upgrade, reader.tell)
            assert guard.exclusive is False and guard.token is None
            with FileLock(path, shared=True, upgradeable=True, timeout=60):
                pass
            await guard.upgrade(timeout=60)
            assert guard.token and guard.abandoned.pid == holder.pid
            await guard.release_abandoned()
            assert guard.exclusive is None

    asyncio.run(main())
    with FileLock(path, record=True, upgradeable=True).acquire_upgradeable() as guard:
        assert guard.abandoned is None  # a shared holder neither learns of it nor takes the news
        guard.upgrade()
        assert guard.abandoned.pid == holder.pid
    with FileLock(path, record=True) as lock:
        assert lock.abandoned is None
