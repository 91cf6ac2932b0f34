"""is_singleton: the same path gives the same object."""

import gc
import os

import pytest
from conftest import run_forked

from holdlock import FileLock, Timeout


class Other(FileLock):
    pass


def test_the_same_path_is_the_same_object(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = FileLock(tmp_path / "a.lock", is_singleton=True)
    assert lock.is_singleton
    assert FileLock("a.lock", is_singleton=True) is lock
    assert FileLock("a.lock") is not lock
    assert Other("a.lock", is_singleton=True) is not lock
    assert FileLock("b.lock", is_singleton=True) is not lock
    with lock, FileLock("a.lock", is_singleton=True):
        assert lock.lock_counter == 2


def test_a_link_is_not_its_target(path):
    lock = FileLock(path, is_singleton=True)
    with lock:
        os.symlink(path, path + "2")
    with pytest.raises(OSError):
        FileLock(path + "2", is_singleton=True).acquire(timeout=0)


def test_a_child_of_fork_has_singletons_of_its_own(path):
    lock = FileLock(path, is_singleton=True)
    with lock:

        def in_child():
            with pytest.raises(Timeout):
                FileLock(path, is_singleton=True).acquire(timeout=0)

        assert run_forked(in_child) == ""


def test_a_singleton_does_not_live_for_ever(path):
    lock = FileLock(path, is_singleton=True)
    lock.timeout = 7
    del lock
    gc.collect()
    assert FileLock(path, is_singleton=True).timeout == -1


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 2},
        {"mode": 0o600},
        {"thread_local": False},
        {"blocking": False},
        {"poll_interval": 1},
        {"context_error_policy": "group"},
        {"shared": True},
        {"on_acquired": print},
    ],
)
def test_other_options_are_refused_by_name(path, options):
    lock = FileLock(path, is_singleton=True)
    with pytest.raises(ValueError, match=next(iter(options))):
        FileLock(path, is_singleton=True, **options)
    assert FileLock(path, is_singleton=True, timeout=-1.0) is lock


def test_all_unlimited_timeouts_are_the_same_option(path):
    lock = FileLock(path, timeout=float("inf"), is_singleton=True)
    assert FileLock(path, timeout=-3, is_singleton=True) is lock


class Patient(FileLock):
    def __init__(self, lock_file, timeout=30, mode=0o644, **options):
        super().__init__(lock_file, timeout, mode, **options)


def test_a_subclass_has_its_own_defaults(path):
    lock = Patient(path, is_singleton=True)
    assert Patient(path, is_singleton=True) is lock
    assert Patient(path, timeout=30, is_singleton=True) is lock
    with pytest.raises(ValueError, match="timeout .existing lock has 30.* but -1"):
        Patient(path, timeout=-1, is_singleton=True)
