"""The threads of a process, and one object."""

import threading

import pytest
from conftest import until

from holdlock import FileLock, Timeout


def in_thread(function):
    """The result of the function in another thread, or its error."""
    outcome = []

    def run():
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


def test_apart_each_thread_holds_by_itself(path):
    lock = FileLock(path)
    with lock:
        assert in_thread(lambda: (lock.is_locked, lock.lock_counter)) == (False, 0)
        assert isinstance(in_thread(lambda: lock.acquire(timeout=0.01)), Timeout)
        in_thread(lambda: lock.release(force=True))
        assert lock.is_locked


def test_apart_each_thread_has_its_settings(path):
    lock = FileLock(path, timeout=1)
    lock.timeout = 2
    assert in_thread(lambda: lock.timeout) == 1
    together = FileLock(path, timeout=1, thread_local=False)
    together.timeout = 2
    assert in_thread(lambda: together.timeout) == 2


@pytest.mark.parametrize("thread_local", [True, "mutex"])
def test_threads_exclude_each_other(path, thread_local):
    lock = FileLock(path, thread_local=thread_local)
    count = 0

    def work():
        nonlocal count
        for _ in range(500):
            with lock:
                before = count
                count = before + 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 2000


def test_together_they_hold_one_lock(path):
    lock = FileLock(path, thread_local=False)
    assert not lock.is_thread_local()
    lock.acquire()
    in_thread(lock.acquire)
    assert lock.lock_counter == 2
    in_thread(lock.release)
    in_thread(lock.release)
    assert not lock.is_locked
    FileLock(path).acquire(timeout=0)


def test_together_a_waiter_joins_the_thread_that_acquires(path, holder):
    other = holder(path)
    lock = FileLock(path, thread_local=False)
    threads = [threading.Thread(target=lock.acquire, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: lock.waiters())
    other.tell()
    for thread in threads:
        thread.join()
    assert lock.lock_counter == 3


def test_as_a_mutex_one_thread_holds_and_all_see_it(path):
    lock = FileLock(path, thread_local="mutex")
    with lock, lock:
        assert in_thread(lambda: lock.locked) is True
        assert isinstance(in_thread(lambda: lock.acquire(timeout=0)), Timeout)
        assert isinstance(in_thread(lambda: lock.acquire(timeout=0.02)), Timeout)
        assert isinstance(in_thread(lock.release), RuntimeError)
        assert lock.lock_counter == 2
    assert in_thread(lambda: lock.acquire(timeout=0).lock.release()) is None


def test_a_mutex_is_not_shared(path):
    with pytest.raises(ValueError, match="mutex"):
        FileLock(path, thread_local="mutex", shared=True)
    lock = FileLock(path, thread_local="mutex")
    with pytest.raises(ValueError, match="mutex"):
        lock.acquire(shared=True)
    assert not lock.locked


def test_together_two_that_wait_for_a_shared_lock_hold_it_twice(path, holder):
    other = holder(path)
    lock = FileLock(path, thread_local=False, shared=True)
    threads = [threading.Thread(target=lock.acquire, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: lock.waiters())
    other.tell()
    for thread in threads:
        thread.join()
    assert lock.lock_counter == 3
    lock.release()
    lock.release()
    with pytest.raises(Timeout):
        FileLock(path).acquire(timeout=0)
    lock.release()
    FileLock(path).acquire(timeout=0)


def test_what_a_thread_leaves_held_can_be_released_by_force(path):
    lock = FileLock(path)
    in_thread(lock.acquire)
    assert not lock.is_locked
    with pytest.raises(Timeout):
        lock.acquire(timeout=0)
    lock.release(force=True)
    lock.acquire(timeout=0)


def test_what_a_thread_leaves_held_goes_with_the_object(path):
    lock = FileLock(path)
    in_thread(lock.acquire)
    del lock
    FileLock(path).acquire(timeout=0)
