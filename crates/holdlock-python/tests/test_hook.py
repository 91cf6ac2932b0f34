"""on_acquired: its calls, and its failures."""

import asyncio
import os

import pytest

from holdlock import AsyncFileLock, FileLock, Timeout


def test_the_hook_is_called_once_for_each_acquisition(path):
    seen = []
    lock = FileLock(path, on_acquired=lambda fd: seen.append(os.fstat(fd).st_ino))
    with lock, lock:
        assert seen == [os.stat(path).st_ino]
    with lock:
        assert len(seen) == 2


def test_the_hook_can_write_to_the_file(path):
    with FileLock(path, on_acquired=lambda fd: os.write(fd, b"me")):
        with open(path) as file:
            assert file.read() == "me"


def test_the_hook_runs_while_the_lock_is_held(path, child):
    script = """
import sys, holdlock
try:
    holdlock.FileLock(sys.argv[1]).acquire(timeout=0)
except holdlock.Timeout:
    print("held")
"""
    with FileLock(path, on_acquired=lambda fd: child(script, path).expect("held")):
        pass


def test_a_hook_that_raises_rolls_back(path):
    def hook(fd):
        raise ZeroDivisionError

    lock = FileLock(path, on_acquired=hook)
    with pytest.raises(ZeroDivisionError):
        lock.acquire()
    assert (lock.is_locked, lock.lock_counter) == (False, 0)
    FileLock(path).acquire(timeout=0)


def test_a_hook_can_acquire_again(path):
    lock = FileLock(path, on_acquired=lambda fd: lock.acquire())
    with lock:
        assert lock.lock_counter == 2
    assert lock.is_locked
    lock.release()
    assert not lock.is_locked


def test_the_hook_is_called_after_a_wait(path, holder):
    other = holder(path)
    seen = []
    lock = FileLock(path, on_acquired=seen.append)
    with pytest.raises(Timeout):
        lock.acquire(timeout=0.01)
    assert seen == []
    other.tell()
    with lock:
        assert len(seen) == 1


def test_a_hook_that_releases_is_an_error_and_not_a_lock(path):
    lock = FileLock(path, on_acquired=lambda fd: lock.release())
    with pytest.raises(RuntimeError, match="on_acquired has released"):
        lock.acquire()
    with pytest.raises(RuntimeError, match="on_acquired has released"), lock:
        raise AssertionError("inside, and not held")
    assert not lock.is_locked
    def release(fd):
        with pytest.raises(StopIteration):  # it ends without a wait
            of_task.release().send(None)

    of_task = AsyncFileLock(path, run_in_executor=False, on_acquired=release)
    with pytest.raises(RuntimeError, match="on_acquired has released"):
        asyncio.run(of_task.acquire())
    FileLock(path).acquire(timeout=0)


@pytest.mark.parametrize("of_task", [False, True])
def test_a_file_with_a_second_name_is_not_lent_where_others_can_give_names(tmp_path, of_task):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    precious = shared / "precious"
    precious.write_text("keep me")
    path = shared / "test.lock"
    os.link(precious, path)
    called = []

    async def main():
        async with AsyncFileLock(path, on_acquired=called.append):
            pass

    with pytest.raises(PermissionError, match="another hard link") as caught:
        if of_task:
            asyncio.run(main())
        else:
            FileLock(path, on_acquired=called.append).acquire()
    assert caught.value.filename == str(path) and called == []
    # It is free again, and can be locked without a hook, or where only this user gives names.
    with FileLock(path, timeout=0):
        pass
    shared.chmod(0o700)
    with FileLock(path, timeout=0, on_acquired=called.append):
        assert len(called) == 1
