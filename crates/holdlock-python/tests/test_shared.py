"""Shared locks."""

import pytest

from holdlock import FileLock, Timeout


def test_shared_holders_exclude_an_exclusive_one(path, holder):
    holder(path, "shared")
    lock = FileLock(path, shared=True, timeout=0)
    with lock:
        assert lock.shared
    with pytest.raises(Timeout):
        FileLock(path).acquire(timeout=0)
    with FileLock(path).acquire(timeout=0, shared=True):
        pass


def test_an_exclusive_holder_excludes_shared_ones(path, holder):
    holder(path)
    with pytest.raises(Timeout):
        FileLock(path, shared=True).acquire(timeout=0)


def test_an_argument_of_acquire_overrides_the_setting(path, holder):
    holder(path, "shared")
    with pytest.raises(Timeout):
        FileLock(path, shared=True).acquire(timeout=0, shared=False)


def test_what_is_held_shared_does_not_turn_exclusive(path):
    lock = FileLock(path, shared=True)
    with lock, lock:
        with pytest.raises(RuntimeError, match="shared and asks for it exclusively"):
            lock.acquire(shared=False)
        assert lock.lock_counter == 2


def test_what_is_held_exclusively_can_be_acquired_shared(path):
    lock = FileLock(path)
    with lock, lock.acquire(shared=True):
        assert lock.lock_counter == 2


def test_two_shared_locks_of_one_thread(path):
    with FileLock(path, shared=True), FileLock(path, shared=True):
        pass
