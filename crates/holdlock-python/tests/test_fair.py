"""Fair locks: first come, first served."""

import asyncio
import pickle
import resource
import sys
import threading
import time

import pytest

from conftest import until, waits
from holdlock import AsyncFileLock, FileLock, Timeout

WAITS = """
import sys
from holdlock import FileLock
lock = FileLock(sys.argv[1], fair=True)
for _ in sys.stdin:
    with lock:
        print("in", flush=True)
        sys.stdin.readline()
    print("out", flush=True)
"""


def test_a_holder_that_has_just_released_does_not_pass_a_waiter(path, child):
    lock = FileLock(path, fair=True)
    other = child(WAITS, path)
    for _ in range(20):
        lock.acquire()
        other.tell()
        until(lambda: waits(path, other.pid))
        lock.release()
        with pytest.raises(Timeout):
            lock.acquire(timeout=0)
        other.expect("in")
        other.tell()
        other.expect("out")


def test_a_shared_request_does_not_pass_an_exclusive_one(path, child, holder):
    reader = holder(path, "shared")
    writer = child(WAITS, path)
    writer.tell()
    until(lambda: waits(path, writer.pid))
    late = FileLock(path, fair=True, shared=True, timeout=0)
    with pytest.raises(Timeout):
        late.acquire()
    reader.tell()
    writer.expect("in")
    writer.tell()
    writer.expect("out")
    late.acquire(timeout=10)


def test_a_task_does_not_pass_a_waiter(path, child):
    async def main():
        lock = AsyncFileLock(path, fair=True)
        other = child(WAITS, path)
        for _ in range(20):
            await lock.acquire()
            other.tell()
            until(lambda: waits(path, other.pid))
            await lock.release()
            with pytest.raises(Timeout):
                await lock.acquire(timeout=0)
            other.expect("in")
            other.tell()
            other.expect("out")

    asyncio.run(main())


@pytest.fixture
def queued(path, holder, child):
    """A fair lock that is held, and for which another process waits at the head of the queue."""
    holder(path)
    waiter = child(WAITS, path)
    waiter.tell()
    until(lambda: waits(path, waiter.pid))
    return FileLock(path, fair=True, timeout=0)


def fails(lock):
    try:
        lock.acquire()
    except Timeout:
        return True
    return False


def test_other_threads_run_during_an_attempt(queued):
    turns, done = [], threading.Event()

    def count():
        while not done.is_set():
            turns.append(1)
            time.sleep(0.0001)

    counter = threading.Thread(target=count)
    counter.start()
    before = sys.getswitchinterval()
    # From now on a thread runs only when another one gives up the interpreter's lock.
    sys.setswitchinterval(1000)
    try:
        time.sleep(0.05)
        for _ in range(1000):
            seen = len(turns)
            assert fails(queued)
            moved = len(turns) != seen
            if moved:
                break
    finally:
        sys.setswitchinterval(before)
        done.set()
        counter.join()
    assert moved


def test_a_request_that_does_not_wait_makes_one_attempt(queued, path):
    """An attempt pauses a few times, to tell a waiter from a request that is only passing."""
    of_task = AsyncFileLock(path, fair=True, timeout=0)

    def pauses(attempt):
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        with pytest.raises(Timeout):
            attempt()
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before

    counts = [
        (pauses(queued.acquire), pauses(lambda: of_task.acquire().send(None))) for _ in range(100)
    ]
    thread, task = map(sum, zip(*counts))
    assert task > 0 and thread < 1.5 * task, counts


def test_fair_is_an_option_like_the_others(path):
    lock = FileLock(path, fair=True, is_singleton=True)
    assert lock.fair and not FileLock(path).fair
    assert FileLock(path, fair=True, is_singleton=True) is lock
    with pytest.raises(ValueError, match="fair"):
        FileLock(path, is_singleton=True)
    assert pickle.loads(pickle.dumps(FileLock(path, fair=True))).fair
