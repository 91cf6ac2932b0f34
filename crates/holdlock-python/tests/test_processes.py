"""Children, and processes that end."""

import asyncio
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys

import pytest
from conftest import run_forked, until, waits

from holdlock import AsyncFileLock, FileLock, Timeout


def test_a_child_owns_nothing_and_cannot_release(path):
    lock = FileLock(path)
    with lock:

        def in_child():
            assert not lock.is_locked
            assert lock.lock_counter == 0
            lock.release()
            lock.release(force=True)
            lock.unlock()

        assert run_forked(in_child) == ""
        assert lock.is_locked
        said = run_forked(lambda: FileLock(path).acquire(timeout=0))
        assert said.startswith("Timeout")


def test_a_lock_that_was_held_at_the_fork_is_not_acquired_in_the_child(path):
    lock = FileLock(path)
    with lock:
        assert run_forked(lock.acquire).startswith("RuntimeError: lock")
        assert run_forked(lock.__enter__).startswith("RuntimeError: lock")


def test_a_free_lock_works_in_the_child(path):
    lock = FileLock(path)
    with lock:
        pass

    def in_child():
        with lock:
            assert lock.is_locked

    assert run_forked(in_child) == ""


def test_a_child_does_not_keep_the_parents_lock(path, child):
    parent = child(
        """
import os, sys, time
from holdlock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
if os.fork() == 0:
    print("child")
    sys.stdin.readline()
    os._exit(0)
time.sleep(1000)
""",
        path,
    )
    parent.expect("child")
    os.kill(parent.pid, signal.SIGKILL)
    parent.ended()
    FileLock(path).acquire(timeout=10)


def test_the_lock_of_a_killed_process_is_free(path, holder):
    other = holder(path)
    os.kill(other.pid, signal.SIGKILL)
    other.ended()
    FileLock(path).acquire(timeout=10)


def test_the_lock_of_a_process_that_ends_is_free(path, child):
    other = child(
        "import sys; from holdlock import FileLock; FileLock(sys.argv[1]).acquire()\n"
        "keep = FileLock(sys.argv[1] + '2', thread_local=False); keep.acquire()",
        path,
    )
    assert other.ended() == 0
    FileLock(path).acquire(timeout=0)
    FileLock(path + "2").acquire(timeout=0)


def _enter(lock, entered):
    with lock:
        entered.put((os.getpid(), lock.lock_file, lock.timeout, lock.mode))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_lock_can_be_passed_to_a_process(path, method):
    context = multiprocessing.get_context(method)
    lock = FileLock(path, timeout=120, mode=0o600)
    entered = context.Queue()
    workers = [context.Process(target=_enter, args=(lock, entered)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [entered.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert {pid for pid, *_ in found} == {worker.pid for worker in workers}
    assert {tuple(rest) for _, *rest in found} == {(path, 120, 0o600)}


def test_a_held_lock_arrives_unheld(path):
    for options in ({"thread_local": "mutex"}, {"shared": True}):
        lock = FileLock(path, poll_interval=1, **options)
        with lock:
            copy = pickle.loads(pickle.dumps(lock))
            assert not copy.is_locked and lock.is_locked
        assert type(copy) is FileLock and copy.poll_interval == 1
        assert copy.shared == lock.shared
        assert copy._thread_local_setting == lock._thread_local_setting


class Named(FileLock):
    """A lock with an attribute of its own."""

    name = "none"


def test_a_pickled_subclass_keeps_its_attributes(path):
    lock = Named(path)
    lock.name = "Anna"
    copy = pickle.loads(pickle.dumps(lock))
    assert (type(copy), copy.name) == (Named, "Anna")


def test_processes_are_served_in_turn(path, child):
    script = (
        "import sys; from holdlock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire()\n"
        "print('in'); sys.stdin.readline(); lock.release(); sys.stdin.readline()"
    )
    with FileLock(path):
        queue = []
        for _ in range(3):
            other = child(script, path)
            until(lambda: waits(path, other.pid))
            queue.append(other)
        assert [waiter.pid for waiter in FileLock(path).waiters()] == [one.pid for one in queue]
    for other in queue:
        other.expect("in")
        with pytest.raises(Timeout):
            FileLock(path).acquire(timeout=0)
        other.tell()


def test_a_lock_that_was_handed_over_is_kept_by_the_child(path):
    lock = FileLock(path)
    with lock:
        descriptor = lock.hand_over()
        assert not lock.is_locked
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    os.close(descriptor)
    with pytest.raises(Timeout):
        lock.acquire(timeout=0)
    child.communicate()
    with lock:
        pass


def test_a_lock_that_is_not_held_is_not_handed_over(path):
    lock = FileLock(path)
    with pytest.raises(RuntimeError, match="not held"):
        lock.hand_over()
    with lock:
        assert "not held" not in run_forked(lock.hand_over)
        assert lock.is_locked


def test_a_task_hands_its_lock_over(path):
    async def main():
        lock = AsyncFileLock(path, thread_local=False)
        async with lock:
            descriptor = lock.hand_over()
            assert not lock.is_locked
        with pytest.raises(Timeout):
            await lock.acquire(timeout=0)
        os.close(descriptor)
        async with lock:
            pass

    asyncio.run(main())


CLOSES_ALL = """
import fcntl, os, sys
from holdlock import FileLock

path, log = sys.argv[1:]
lock = FileLock(path)
with lock:
    pass
os.closerange(3, 256)
files = [open(log, "w") for _ in range(20)]
with lock:
    for name, is_locked in ((path, True), (log, False)):
        with open(name) as other:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                assert is_locked, name
            else:
                assert not is_locked, name
for file in files:
    file.close()
"""


def test_a_descriptor_that_was_closed_with_others_is_not_locked(path, tmp_path):
    """python-daemon and other programs close the descriptors that they have inherited."""
    arguments = [sys.executable, "-c", CLOSES_ALL, path, tmp_path / "log"]
    subprocess.run(arguments, check=True, timeout=60)
