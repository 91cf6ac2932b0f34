"""Native locks in asynchronous code: waits, cancellations, and the ends of loops."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import pickle
import random
import subprocess
import sys
import threading
import time

import pytest
from conftest import run_forked, until
from loops import loop  # noqa: F401

import holdlock
from holdlock import AsyncFileLock, CancelToken, Cancelled, Deadlock, FileLock, Timeout


def threads() -> int:
    """The number of threads of the process, not only of Python's."""
    return len(os.listdir("/proc/self/task"))


def waiting_threads() -> int:
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as comm:
                names.append(comm.read())
        except OSError:
            pass
    return sum(name.startswith("holdlock-async") for name in names)


def is_unused(path) -> bool:
    """Whether the kernel knows neither a holder nor a waiter."""
    inode = f":{os.stat(path).st_ino} "
    with open("/proc/locks") as locks:
        return not [line for line in locks if inode in line]


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


def test_the_loop_runs_while_a_task_waits_and_is_woken_by_the_release(path, holder, loop):
    other = holder(path)
    lock = AsyncFileLock(path, poll_interval=50)
    before = threading.active_count()
    ticks = []

    async def main():
        async def tick():
            for _ in range(20):
                await loop.sleep(0.002)
                ticks.append(time.monotonic())
            while not lock.waiters():
                await loop.sleep(0.001)
            assert [one.pid for one in lock.waiters()] == [os.getpid()]
            assert threading.active_count() == before
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
    assert time.process_time() - before < 0.2


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
        await is_released_by_a_thread(lambda: asyncio.run(_release(one)))
        # Taken by this task, and forgotten.
        await AsyncFileLock(path).acquire()
        other = FileLock(path, thread_local=False)
        other.acquire()
        await is_released_by_a_thread(other.release)

    loop.run(main)


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
    asyncio.run(_acquire(lock))
    assert lock.is_locked
    asyncio.run(_release(lock))
    assert is_unused(path)


async def _acquire(lock):
    await lock.acquire()


async def _release(lock):
    await lock.release()


def test_a_loop_that_is_closed_while_a_task_waits_gives_up_the_place(path, holder):
    other = holder(path)
    lock = AsyncFileLock(path)
    loop = asyncio.new_event_loop()
    wait = loop.create_task(lock.acquire())
    loop.run_until_complete(asyncio.sleep(0.02))
    assert waiting_threads() == 1
    wait._log_destroy_pending = False  # which is what is done here
    loop.close()
    del wait, loop
    gc.collect()
    until(lambda: waiting_threads() == 0)
    other.tell()
    other.expect("released")
    assert is_unused(path)


def test_a_collected_lock_is_released(path):
    async def main():
        await AsyncFileLock(path).acquire()

    asyncio.run(main())
    FileLock(path).acquire(timeout=0)


EXITS = {
    "a loop's own end": "asyncio.run(main())",
    "a daemon thread": "threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start(); time.sleep(0.3)",
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
    asyncio.run(_acquire(lock))

    def in_child():
        assert not lock.is_locked
        asyncio.run(_release(lock))
        asyncio.run(_acquire(AsyncFileLock(path + "2")))
        asyncio.run(_acquire(lock))

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
    asyncio.run(_acquire(lock))
    copy = pickle.loads(pickle.dumps(lock))
    assert type(copy) is AsyncFileLock and not copy.is_locked
    assert (copy.timeout, copy.shared, copy.mode) == (3, True, 0o600)
    assert copy.is_thread_local() and not copy.run_in_executor
    plain = pickle.loads(pickle.dumps(AsyncFileLock(path)))
    assert not plain.is_thread_local() and plain.run_in_executor


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
