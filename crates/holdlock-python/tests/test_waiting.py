"""The cost of a wait, and its ends."""

import asyncio
import os
import resource
import signal
import threading
import time

import pytest
from conftest import until, waits

from holdlock import AsyncFileLock, CancelToken, Cancelled, FileLock, Timeout

WAITER = """
import sys, time
from holdlock import FileLock
lock = FileLock(sys.argv[1])
print("go")
try:
    with lock.acquire(timeout=float(sys.argv[2])):
        print("got it")
except KeyboardInterrupt:
    print("interrupted", lock.is_locked)
"""


def test_a_deadline_is_kept(path, holder):
    holder(path)
    for _ in range(100):  # on a busy machine, most of them may be late
        began = time.monotonic()
        with pytest.raises(Timeout):
            FileLock(path).acquire(timeout=0.1)
        took = time.monotonic() - began
        assert took >= 0.1
        if took < 0.15:
            break
    assert took < 0.15


def test_a_wait_costs_no_time_of_the_processor(path, holder):
    holder(path)
    before = time.thread_time()
    switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    with pytest.raises(Timeout):
        FileLock(path).acquire(timeout=1)
    # Most of it goes into the search for the holder.
    assert time.thread_time() - before < 0.1
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - switches < 10


def test_other_threads_run_during_a_wait(path, holder):
    other = holder(path)
    lock = FileLock(path)
    waiter = threading.Thread(target=lock.acquire)
    waiter.start()
    until(lambda: waits(path, os.getpid()))
    assert sum(range(1000)) == 499500
    other.tell()
    waiter.join()


@pytest.mark.parametrize("limit", ["-1", "1000"])
def test_ctrl_c_ends_a_wait_at_once(path, child, limit):
    with FileLock(path):
        other = child(WAITER, path, limit)
        other.expect("go")
        until(lambda: waits(path, other.pid))
        began = time.monotonic()
        os.kill(other.pid, signal.SIGINT)
        other.expect("interrupted False")
        assert time.monotonic() - began < 10


def test_a_handled_signal_does_not_end_a_wait(path, holder):
    other = holder(path)
    heard = []

    def handler(number, frame):
        heard.append(number)
        other.tell()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with FileLock(path):
            assert heard == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_handler_that_asks_for_the_same_lock_gets_an_error(path, holder):
    other = holder(path)
    lock = FileLock(path)
    said = []

    def handler(number, frame):
        try:
            lock.acquire()
        except RuntimeError as error:
            said.append(str(error))
        other.tell()

    def strike():
        until(lambda: waits(path, os.getpid()))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        threading.Thread(target=strike, daemon=True).start()
        with lock:
            assert len(said) == 1 and "Deadlock" in said[0]
            assert lock.lock_counter == 1
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("timeout", [-1, 1000])
def test_another_thread_cancels_a_wait(path, holder, timeout):
    other = holder(path)
    token = CancelToken()
    lock = FileLock(path)
    raised = []

    def wait():
        try:
            lock.acquire(timeout=timeout, cancel=token)
        except Timeout as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    until(lambda: waits(path, os.getpid()))
    token.cancel()
    waiter.join()
    assert isinstance(raised[0], Cancelled) and token.cancelled
    with pytest.raises(Cancelled):
        lock.acquire(cancel=token)
    other.tell()
    other.expect("released")
    lock.acquire(timeout=0, cancel=token)  # a free lock is acquired
    assert lock.is_locked


def test_cancel_check_ends_a_wait(path, holder):
    holder(path)
    answers = iter([False, False, True])
    began = time.monotonic()
    with pytest.raises(Timeout):
        FileLock(path).acquire(cancel_check=lambda: next(answers), poll_interval=0.01)
    assert time.monotonic() - began < 60
    assert list(answers) == []


def test_cancel_check_can_raise(path, holder):
    holder(path)
    with pytest.raises(ZeroDivisionError):
        FileLock(path).acquire(cancel_check=lambda: 1 // 0)


def test_cancel_check_does_not_delay_the_lock(path, holder):
    other = holder(path)
    release = threading.Thread(target=lambda: (time.sleep(0.05), other.tell()))
    release.start()
    began = time.monotonic()
    with FileLock(path).acquire(cancel_check=lambda: False, poll_interval=30):
        assert time.monotonic() - began < 20
    release.join()


def test_a_wait_that_timed_out_does_not_take_the_lock_later(path, holder):
    other = holder(path)
    lock = FileLock(path)
    with pytest.raises(Timeout):
        lock.acquire(timeout=0.01)
    other.tell()
    other.expect("released")
    FileLock(path).acquire(timeout=0)


@pytest.mark.parametrize("thread_local", [True, False, "mutex"])
def test_another_object_of_another_thread_is_no_deadlock(path, thread_local):
    held, released = threading.Event(), []

    def work():
        with FileLock(path, thread_local=thread_local):
            held.set()
            time.sleep(1.5)
            released.append(True)

    worker = threading.Thread(target=work)
    worker.start()
    held.wait()
    with FileLock(path, thread_local=thread_local):
        assert released
    worker.join()


def test_tasks_with_objects_of_their_own_are_no_deadlock(path):
    released = []

    async def hold(held):
        async with AsyncFileLock(path):
            held.set()
            await asyncio.sleep(1.5)
            released.append(True)

    async def both():
        held = asyncio.Event()
        task = asyncio.create_task(hold(held))
        await held.wait()
        async with AsyncFileLock(path):
            assert released
        await task

    asyncio.run(both())


def test_a_lock_that_any_thread_may_release_is_no_deadlock(tmp_path):
    """Each of two threads has a lock and wants the other's; a third one releases."""
    locks = [FileLock(tmp_path / name, thread_local=False) for name in "ab"]
    both, errors = threading.Barrier(3), []

    def want(own, other):
        own.acquire()
        both.wait()
        try:
            with FileLock(other.lock_file, thread_local=False):
                pass
        except RuntimeError as error:
            errors.append(error)

    threads = [threading.Thread(target=want, args=pair) for pair in (locks, locks[::-1])]
    for thread in threads:
        thread.start()
    both.wait()
    time.sleep(1.5)
    for lock in locks:
        lock.release()
    for thread in threads:
        thread.join()
    assert not errors


def test_objects_of_their_own_in_a_cycle_are_a_deadlock(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    both, errors = threading.Barrier(2), []

    def want(own, other):
        with FileLock(own):
            both.wait()
            try:
                with FileLock(other):
                    pass
            except RuntimeError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=want, args=pair) for pair in (paths, paths[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 1 and errors[0].startswith("Deadlock")
