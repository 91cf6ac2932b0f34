"""Fair locks: first come, first served."""

import asyncio
import pickle

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


def test_who_has_just_released_does_not_pass_who_waits(path, child):
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


def test_a_task_does_not_pass_who_waits(path, child):
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


def test_it_is_an_option_like_the_others(path):
    lock = FileLock(path, fair=True, is_singleton=True)
    assert lock.fair and not FileLock(path).fair
    assert FileLock(path, fair=True, is_singleton=True) is lock
    with pytest.raises(ValueError, match="fair"):
        FileLock(path, is_singleton=True)
    assert pickle.loads(pickle.dumps(FileLock(path, fair=True))).fair
