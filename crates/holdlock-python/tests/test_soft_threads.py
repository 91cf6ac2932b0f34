"""Soft locks of threads that have ended, and of a process that ends."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from holdlock import AsyncSoftFileLock, SoftFileLock, Timeout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.lock"


def acquire_in_a_thread(lock: SoftFileLock) -> None:
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join()


def test_what_an_ended_thread_holds_is_released_by_force(path: Path) -> None:
    lock = SoftFileLock(path)
    acquire_in_a_thread(lock)
    assert path.exists() and not lock.is_locked
    lock.release()
    assert path.exists()
    lock.release(force=True)
    assert not path.exists()
    with lock:
        acquire_in_a_thread(SoftFileLock(f"{path}.other"))
        assert lock.is_locked


def test_what_an_ended_thread_holds_is_released_with_the_object(path: Path) -> None:
    lock = SoftFileLock(path)
    acquire_in_a_thread(lock)
    with pytest.raises(Timeout):
        SoftFileLock(path).acquire(timeout=0)
    del lock
    gc.collect()
    SoftFileLock(path).acquire(timeout=0).lock.release()


AT_EXIT = """
import atexit, os, sys, threading, time
path = sys.argv[1]
atexit.register(lambda: print(os.path.exists(path)))  # runs last
from holdlock import SoftFileLock
lock = SoftFileLock(path, thread_local=False)
inside = threading.Event()

def work():
    with lock:
        inside.set()
        time.sleep(1000)

if sys.argv[2] == "thread":
    threading.Thread(target=work, daemon=True).start()
    inside.wait()
else:
    lock.acquire()
"""


@pytest.mark.parametrize("holder, stays", [("thread", "True"), ("main", "False")])
def test_a_daemon_thread_keeps_its_lock_until_the_process_has_ended(
    path: Path, holder: str, stays: str
) -> None:
    program = [sys.executable, "-c", AT_EXIT, str(path), holder]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout.strip(), ended.stderr) == (0, stays, "")
    SoftFileLock(path).acquire(timeout=0).lock.release()


LATE = """
import builtins, sys, holdlock
for kind in (holdlock.SoftFileLock, holdlock.FileLock):
    lock = kind(sys.argv[1] + kind.__name__)
    lock.acquire()
    lock.itself = lock
    setattr(builtins, kind.__name__, lock)
del lock, kind
"""


def test_an_object_that_outlives_its_module_ends_silently(path: Path) -> None:
    program = [sys.executable, "-c", LATE, str(path)]
    ended = subprocess.run(program, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("kind", [SoftFileLock, AsyncSoftFileLock])
def test_a_pickled_lock_arrives_unheld(path: Path, kind: type[SoftFileLock]) -> None:
    lock = kind(path, timeout=3, mode=0o600, blocking=False)
    if kind is SoftFileLock:
        lock.acquire()
    copy = pickle.loads(pickle.dumps(lock))
    assert type(copy) is kind and not copy.is_locked
    assert (copy.lock_file, copy.timeout, copy.mode) == (str(path), 3, 0o600)
    assert copy.is_thread_local() == lock.is_thread_local() and not copy.blocking
    del lock
    if kind is SoftFileLock:
        copy.acquire(timeout=0)


def test_a_relative_path_means_where_the_lock_was_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path.parent / "other").mkdir()
    monkeypatch.chdir(path.parent)
    lock = SoftFileLock("job.lock")
    monkeypatch.chdir("other")
    with lock:
        assert path.exists() and lock.is_lock_held_by_us


def test_a_change_of_directory_during_a_wait_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path.parent / "other").mkdir()
    monkeypatch.chdir(path.parent)
    holder = SoftFileLock(path, thread_local=False)
    thread = threading.Thread(target=holder.acquire)
    thread.start()
    thread.join()

    def move() -> bool:
        monkeypatch.chdir(path.parent / "other")
        holder.release()
        return False

    with SoftFileLock("job.lock").acquire(cancel_check=move, poll_interval=0.001):
        assert path.exists() and not (path.parent / "other" / "job.lock").exists()
