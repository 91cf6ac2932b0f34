"""A shared lock with the right to become exclusive."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import run_forked, until
from holdlock import CancelToken, Cancelled, Deadlock, FileLock, LockSet, NotAtomic, Timeout

READER = """
import sys
from holdlock import FileLock
with FileLock(sys.argv[1], shared=True, upgradeable=sys.argv[2] == "knows"):
    print("held")
    sys.stdin.readline()
print("released")
sys.stdin.readline()
"""


@pytest.fixture
def lock(path):
    return FileLock(path, upgradeable=True)


def test_an_upgrade_waits_for_the_readers_and_for_nobody_else(path, lock, child):
    reader = child(READER, path, "knows")
    reader.expect("held")
    writer = FileLock(path, upgradeable=True)
    with lock.acquire_upgradeable() as guard:
        assert guard.exclusive is False
        # A writer that waits does not get in between.
        threads = [
            threading.Thread(target=lambda: writer.acquire().lock.release()),
            threading.Thread(target=guard.upgrade),
        ]
        threads[0].start()
        until(lambda: writer.waiters())
        threads[1].start()
        until(lambda: guard.exclusive is None)  # a thread upgrades it
        reader.tell()
        reader.expect("released")
        threads[1].join()
        assert guard.exclusive is True
        with pytest.raises(Timeout):
            FileLock(path, shared=True).acquire(timeout=0)
        guard.downgrade()
        assert guard.exclusive is False
    threads[0].join()
    assert guard.exclusive is None and "released" in repr(guard)
    guard.release()
    with pytest.raises(RuntimeError, match="was released"):
        guard.upgrade()


def test_one_holder_at_a_time_has_the_right_and_others_may_read(path, lock):
    with lock.acquire_upgradeable():
        with ThreadPoolExecutor() as others, pytest.raises(Timeout):
            others.submit(FileLock(path, upgradeable=True).acquire_upgradeable, 0.01).result()
        with FileLock(path, upgradeable=True, shared=True, timeout=0):
            pass


def test_after_a_timeout_the_lock_is_still_shared_and_has_the_right(path, lock, child):
    reader = child(READER, path, "knows")
    reader.expect("held")
    with lock.acquire_upgradeable() as guard:
        with pytest.raises(Timeout) as caught:
            guard.upgrade(timeout=0.01)
        assert caught.value.lock_file == path
        token = CancelToken()
        threading.Timer(0.01, token.cancel).start()
        with pytest.raises(Cancelled):
            guard.upgrade(cancel=token)
        assert guard.exclusive is False
        reader.tell()
        reader.expect("released")
        guard.upgrade(timeout=60)


def test_a_reader_that_knows_nothing_of_upgrades_makes_the_upgrade_fail(path, lock, child):
    reader = child(READER, path, "does not know")
    reader.expect("held")
    guard = lock.acquire_upgradeable()
    with pytest.raises(NotAtomic) as caught:
        guard.upgrade(timeout=0.2)
    assert caught.value.filename == path and guard.exclusive is None
    reader.tell()
    reader.expect("released")
    FileLock(path).acquire(timeout=0).lock.release()


def test_a_release_during_an_upgrade_is_refused_and_not_forgotten(path, lock, child):
    reader = child(READER, path, "knows")
    reader.expect("held")
    guard = lock.acquire_upgradeable()
    thread = threading.Thread(target=guard.upgrade)
    thread.start()
    until(lambda: "being upgraded" in repr(guard))
    with pytest.raises(RuntimeError, match="is being upgraded by another thread"):
        guard.release()
    reader.tell()
    reader.expect("released")
    thread.join()
    guard.release()
    with FileLock(path, timeout=0):
        pass


def test_a_child_of_fork_has_no_upgradeable_lock(path, lock):
    def in_child():
        assert guard.exclusive is None and "held by the parent" in repr(guard)
        for use in (guard.upgrade, guard.downgrade):
            with pytest.raises(RuntimeError, match="held by the parent of this process"):
                use()
        guard.release()

    with lock.acquire_upgradeable() as guard:
        assert run_forked(in_child) == ""
        assert guard.exclusive is False
        with pytest.raises(Timeout):
            FileLock(path).acquire(timeout=0)


def test_a_thread_that_has_the_right_does_not_wait_for_itself(path, lock):
    other = FileLock(path, upgradeable=True)
    requests = [
        lock.acquire,
        other.acquire,
        FileLock(path).acquire,
        LockSet([other]).acquire,
        lock.acquire_upgradeable,
        other.acquire_upgradeable,
    ]
    with lock.acquire_upgradeable() as guard:
        for request in requests:
            with pytest.raises(Deadlock, match="held|holds"):
                request()
        with pytest.raises(Timeout, match="upgradeable guard"):
            other.acquire(timeout=0.01)
        with other.acquire(shared=True):  # this does not wait
            with pytest.raises(Deadlock):
                guard.upgrade()
        guard.upgrade()
        with pytest.raises(Deadlock):
            other.acquire(shared=True)
        # Another thread waits.
        with ThreadPoolExecutor() as others:
            waiting = others.submit(other.acquire)
            until(lambda: lock.waiters())
            guard.release()
            waiting.result()
            others.submit(other.release, True).result()
    with other.acquire(timeout=60):
        pass


def test_with_shared_objects_another_thread_may_end_the_wait(path):
    lock = FileLock(path, upgradeable=True, thread_local=False)
    guard = lock.acquire_upgradeable()

    def end():
        until(lambda: lock.waiters())
        guard.release()

    with ThreadPoolExecutor() as others:
        ended = others.submit(end)
        with lock:
            ended.result()


def test_it_needs_the_option(path):
    with pytest.raises(ValueError, match="upgradeable=True"):
        FileLock(path).acquire_upgradeable()
