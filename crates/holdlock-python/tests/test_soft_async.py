"""Soft locks in asynchronous code: a wait costs no thread, and a cancelled one leaves no lock."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from loops import loop  # noqa: F401
from soft_process import SoftProcess

import holdlock
from holdlock import AsyncSoftFileLock, BaseAsyncFileLock, Deadlock, SoftFileLock, Timeout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.lock"


def test_the_marker_is_there_while_it_is_held(path: Path) -> None:
    async def main() -> None:
        lock = AsyncSoftFileLock(path)
        async with lock as entered:
            assert entered is lock and lock.is_locked
            assert SoftFileLock(path).is_lock_held_by_us
        assert not path.exists()
        async with await lock.acquire() as entered:
            assert entered is lock and lock.lock_counter == 1
            async with lock:
                assert lock.lock_counter == 2
            assert lock.is_locked
        assert not path.exists()

    asyncio.run(main())


def test_tasks_with_an_object_each_exclude_one_another(path: Path) -> None:
    inside = 0

    async def work() -> None:
        nonlocal inside
        lock = AsyncSoftFileLock(path)
        for _ in range(20):
            async with lock:
                inside += 1
                assert inside == 1
                await asyncio.sleep(0)
                inside -= 1

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(10)))

    asyncio.run(main())
    assert not path.exists()


def test_a_wait_costs_no_thread_and_ends_with_the_release(path: Path) -> None:
    async def main() -> None:
        lock = AsyncSoftFileLock(path, poll_interval=50)
        before = set(threading.enumerate())
        wait = asyncio.create_task(lock.acquire(timeout=60))
        for _ in range(20):
            await asyncio.sleep(0.005)  # which is also: other tasks run meanwhile
        assert not wait.done()
        assert before.issuperset(threading.enumerate())
        released = time.monotonic()
        await asyncio.to_thread(holder.release)
        await wait
        assert time.monotonic() - released < 30
        await lock.release()

    with SoftProcess(path) as holder:
        assert holder.acquire() == "ok"
        asyncio.run(main())


def test_a_dead_owner_is_noticed(path: Path) -> None:
    async def main() -> None:
        lock = AsyncSoftFileLock(path, poll_interval=50)
        wait = asyncio.create_task(lock.acquire(timeout=60))
        await asyncio.sleep(0.05)
        holder.die()
        await wait
        assert lock.is_lock_held_by_us
        await lock.release()

    with SoftProcess(path) as holder:
        assert holder.acquire() == "ok"
        asyncio.run(main())


def test_a_timeout_names_the_owner(path: Path) -> None:
    async def main() -> None:
        with pytest.raises(Timeout, match=str(holder.process.pid)):
            await AsyncSoftFileLock(path, timeout=0.05).acquire()
        with pytest.raises(Timeout):
            await AsyncSoftFileLock(path, blocking=False).acquire()

    with SoftProcess(path) as holder:
        assert holder.acquire() == "ok"
        asyncio.run(main())


def test_a_cancelled_wait_leaves_no_lock(path: Path) -> None:
    async def main() -> None:
        lock = AsyncSoftFileLock(path)
        wait = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0.05)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        holder.release()
        await asyncio.sleep(0.05)
        assert not path.exists() and not lock.is_locked

    with SoftProcess(path) as holder:
        assert holder.acquire() == "ok"
        asyncio.run(main())


class _Slow(AsyncSoftFileLock):
    """A file system that is slow, as a network file system can be."""

    started = threading.Event()
    proceed = threading.Event()

    def _may_block(self) -> bool:
        return True

    def _acquire(self) -> None:
        self.started.set()
        assert self.proceed.wait(120)
        super()._acquire()


def test_a_task_cancelled_while_a_thread_takes_the_lock_leaves_no_lock(path: Path) -> None:
    async def main() -> None:
        lock = _Slow(path)
        wait = asyncio.create_task(lock.acquire())
        await asyncio.to_thread(_Slow.started.wait, 20)
        wait.cancel()
        await asyncio.sleep(0)
        _Slow.proceed.set()
        with pytest.raises(asyncio.CancelledError):
            await wait
        assert not lock.is_locked and not path.exists()
        async with lock:
            assert path.exists()

    asyncio.run(main())


def test_a_hook_may_be_a_coroutine_function(path: Path) -> None:
    class Counted(BaseAsyncFileLock):
        taken = given = 0

        async def _acquire(self) -> None:  # type: ignore[override]
            await asyncio.sleep(0)
            self.taken += 1
            self._context.lock_file_fd = 1

        async def _release(self) -> None:  # type: ignore[override]
            await asyncio.sleep(0)
            self.given += 1
            self._context.lock_file_fd = None

    async def main() -> None:
        lock = Counted(path)
        async with lock, lock:
            assert (lock.taken, lock.given, lock.lock_counter) == (1, 0, 2)
        assert (lock.taken, lock.given, lock.lock_counter) == (1, 1, 0)

    asyncio.run(main())


def test_it_is_released_when_it_is_collected_and_when_the_process_ends(path: Path) -> None:
    async def main() -> None:
        lock = AsyncSoftFileLock(path)
        await lock.acquire()
        assert path.exists()

    asyncio.run(main())
    assert not path.exists()
    program = """
import asyncio, sys
from holdlock import AsyncSoftFileLock
lock = AsyncSoftFileLock(sys.argv[1])
asyncio.run(lock.acquire())
lock.myself = lock
"""
    command = [sys.executable, "-W", "error", "-c", program, str(path)]
    assert subprocess.run(command, capture_output=True, check=True).stderr == b""
    assert not path.exists()


def test_the_lock_works_under_trio(path: Path) -> None:
    trio: Any = pytest.importorskip("trio")

    async def main() -> None:
        lock = AsyncSoftFileLock(path, poll_interval=50)
        with trio.move_on_after(0.05) as scope:
            await lock.acquire()
        assert scope.cancelled_caught and not lock.is_locked
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lock.acquire, 60)
            await trio.sleep(0.05)
            await trio.to_thread.run_sync(holder.release)
        assert lock.is_lock_held_by_us
        await lock.release()
        slow = _Slow(path)
        _Slow.proceed.set()
        async with slow:
            assert path.exists()

    with SoftProcess(path) as holder:
        assert holder.acquire() == "ok"
        trio.run(main)


def test_wrong_uses_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="run_in_executor is not supported when thread_local"):
        AsyncSoftFileLock(path, thread_local=True, run_in_executor=True)
    lock: holdlock.BaseFileLock = AsyncSoftFileLock(path)
    with pytest.raises(NotImplementedError), lock:
        pass


def test_a_task_that_would_wait_for_itself_gets_an_error(path: Path, loop: Any) -> None:
    async def main():
        one, two = AsyncSoftFileLock(path), AsyncSoftFileLock(path)
        async with one:
            with pytest.raises(Deadlock):
                await two.acquire()
            with pytest.raises(Timeout):
                await two.acquire(timeout=0.01)

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
