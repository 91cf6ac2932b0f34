"""Native locks in programs with several loops and threads, with forks, and at the end of a loop."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time

import pytest
from conftest import run_forked, until
from loops import loop  # noqa: F401
from waits import acquire, is_unused, release, waiting_threads

from holdlock import (
    AsyncFileLock,
    AsyncLockSet,
    AsyncReadWriteLock,
    AsyncSemaphore,
    FileLock,
    Timeout,
)


def test_several_loops_in_several_threads(path):
    count = 0

    async def work():
        nonlocal count
        lock = AsyncFileLock(path)
        for _ in range(50):
            async with lock:
                before = count
                await asyncio.sleep(0)
                count = before + 1

    async def main():
        await asyncio.gather(*(work() for _ in range(3)))

    loops = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for one in loops:
        one.start()
    for one in loops:
        one.join()
    assert count == 600


def test_each_thread_holds_the_lock_by_itself(path):
    lock = AsyncFileLock(path, thread_local=True, run_in_executor=False)
    assert lock.is_thread_local()

    async def main():
        async with lock:
            seen = []

            async def other():
                seen.append(lock.is_locked)
                with pytest.raises(Timeout):
                    await lock.acquire(timeout=0.01)

            thread = threading.Thread(target=lambda: asyncio.run(other()))
            thread.start()
            thread.join()
            assert seen == [False] and lock.is_locked

    asyncio.run(main())


def test_another_loop_may_release(path):
    lock = AsyncFileLock(path)
    asyncio.run(acquire(lock))
    assert lock.is_locked
    asyncio.run(release(lock))
    assert is_unused(path)


def test_a_loop_that_is_closed_while_a_task_waits_gives_up_the_place(path, holder):
    other = holder(path)
    lock = AsyncFileLock(path)
    loop = asyncio.new_event_loop()
    wait = loop.create_task(lock.acquire())

    def one_waits():
        loop.run_until_complete(asyncio.sleep(0.001))
        return waiting_threads() == 1

    until(one_waits)
    wait._log_destroy_pending = False  # which is what is done here
    loop.close()
    del wait, loop
    gc.collect()
    until(lambda: waiting_threads() == 0)
    other.tell()
    other.expect("released")
    assert is_unused(path)


REQUESTS = {
    "a lock": lambda path: AsyncFileLock(path).acquire(),
    "a reader": lambda path: AsyncReadWriteLock(path).acquire_read(),
    "a slot": lambda path: AsyncSemaphore(path, 2).acquire(),
    "a set": lambda path: AsyncLockSet([path, path + "2"]).acquire(),
    "an upgrade": lambda path: AsyncFileLock(path, upgradeable=True).acquire_upgradeable(),
}


@pytest.mark.parametrize("request_of", REQUESTS.values(), ids=list(REQUESTS))
@pytest.mark.parametrize("library", ["asyncio", "uvloop"])
def test_a_task_of_a_closed_loop_that_is_kept_never_gets_the_lock(
    path, holder, library, request_of
):
    other = holder(path)
    loop = pytest.importorskip(library).new_event_loop()

    async def main():
        wait = asyncio.ensure_future(request_of(path))
        await asyncio.sleep(0)
        until(lambda: FileLock(path).waiters())
        return wait

    wait = loop.run_until_complete(main())
    wait._log_destroy_pending = False
    loop.close()
    other.tell()
    other.expect("released")
    with FileLock(path, timeout=30):
        pass
    assert not wait.done()


EXITS = {
    "a loop's own end": "asyncio.run(main())",
    "a daemon thread": """
threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
while not lock.waiters():
    time.sleep(0.01)
""",
    "sys.exit in a callback": "asyncio.get_event_loop_policy(); asyncio.run(leave())",
}


@pytest.mark.parametrize("how", sorted(EXITS))
def test_the_interpreter_ends_while_a_task_waits(path, holder, how):
    holder(path)
    program = f"""
import asyncio, sys, threading, time
from holdlock import AsyncFileLock
lock = AsyncFileLock(sys.argv[1])
async def main():
    wait = asyncio.ensure_future(lock.acquire())
    await asyncio.sleep(0.05 if threading.current_thread() is threading.main_thread() else 60)
async def leave():
    wait = asyncio.ensure_future(lock.acquire())
    await asyncio.sleep(0.05)
    sys.exit(3)
{EXITS[how]}
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, timeout=120
    )
    assert ended.stderr == ""
    assert ended.returncode == (3 if "leave" in EXITS[how] else 0)
    assert FileLock(path).waiters() == []


def test_ctrl_c_ends_a_wait(path, holder, child):
    holder(path)
    program = """
import asyncio, sys
from holdlock import AsyncFileLock
async def main():
    asyncio.get_running_loop().call_later(0.05, print, "waits")
    await AsyncFileLock(sys.argv[1]).acquire()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    other = child(program, path)
    other.expect("waits")
    began = time.monotonic()
    os.kill(other.pid, 2)
    other.expect("interrupted")
    assert other.ended() == 0
    assert time.monotonic() - began < 20
    assert FileLock(path).waiters() == []


def test_a_child_owns_nothing_and_cannot_release(path):
    lock = AsyncFileLock(path)
    asyncio.run(acquire(lock))

    def in_child():
        assert not lock.is_locked
        asyncio.run(release(lock))
        asyncio.run(acquire(AsyncFileLock(path + "2")))
        asyncio.run(acquire(lock))

    assert run_forked(in_child).startswith("RuntimeError: lock")
    assert lock.is_locked
    with pytest.raises(Timeout):
        FileLock(path).acquire(timeout=0)


def test_a_fork_while_a_task_waits(path, holder):
    other = holder(path)

    async def main():
        lock = AsyncFileLock(path)
        wait = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(0.02)

        def in_child():
            wait.get_coro().close()
            assert not lock.is_locked and waiting_threads() == 0

        for _ in range(5):
            assert run_forked(in_child) == ""
        other.tell()
        await wait
        assert lock.is_locked

    asyncio.run(main())
