"""lock(), unlock(), locked: the plain interface."""

import os

from conftest import until, waits

from holdlock import FileLock


def test_lock_and_unlock(path):
    lock = FileLock(path)
    assert not lock.locked
    assert lock.lock() is lock
    assert lock.locked
    lock.unlock()
    assert not lock.locked


def test_a_second_lock_while_holding_returns(path):
    lock = FileLock(path)
    lock.lock()
    lock.lock()
    lock.unlock()
    assert not lock.locked


def test_unlocking_a_free_lock_does_nothing(path):
    FileLock(path).unlock()


def test_the_file_is_created_and_stays_as_it_is(path):
    with FileLock(path):
        assert os.path.getsize(path) == 0
    with open(path, "w") as file:
        file.write("not ours")
    with FileLock(path):
        pass
    with open(path) as file:
        assert file.read() == "not ours"


def test_lock_waits_for_another_process(path, child):
    with FileLock(path):
        other = child(
            "import sys; from holdlock import FileLock\n"
            "lock = FileLock(sys.argv[1]).lock(); print('mine'); lock.unlock()",
            path,
        )
        until(lambda: waits(path, other.pid))
    other.expect("mine")
