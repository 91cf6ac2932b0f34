"""Soft locks: one holder, named by its marker, and no marker left behind or taken away."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from soft_process import SoftProcess

import holdlock
from holdlock import SoftFileLock, Timeout, _soft


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.lock"


def asleep(process: SoftProcess) -> None:
    """Waits until the process sleeps in poll(2), on its inotify descriptor."""
    fds = Path(f"/proc/{process.process.pid}/fd")
    until = time.monotonic() + 120
    while time.monotonic() < until:
        links = []
        for fd in fds.iterdir():
            try:
                links.append(os.readlink(fd))
            except FileNotFoundError:
                pass
        state = Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        if "anon_inode:inotify" in links and state == "S":
            return
        time.sleep(0.001)
    raise AssertionError("the process does not wait")


def test_a_marker_is_there_while_the_lock_is_held_and_names_its_owner(path: Path) -> None:
    lock = SoftFileLock(path)
    with lock:
        pid, host, start = path.read_text().splitlines()
        assert int(pid) == os.getpid()
        assert host.startswith(os.uname().nodename)
        assert start.isdigit()
        assert lock.pid == os.getpid()
        assert lock.is_lock_held_by_us
    assert not path.exists()
    assert lock.pid is None
    assert not lock.is_lock_held_by_us


def test_processes_exclude_one_another(path: Path) -> None:
    processes = [SoftProcess(path) for _ in range(4)]
    for process in processes:
        process.tell("hammer", 150)
    assert [process.answer() for process in processes] == ["ok"] * 4
    for process in processes:
        process.die()
    assert list(path.parent.iterdir()) == []


def test_threads_exclude_one_another(path: Path) -> None:
    inside: list[int] = []

    def work() -> None:
        lock = SoftFileLock(path)
        for _ in range(40):
            with lock:
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not path.exists()


def test_a_waiter_wakes_at_the_release_and_not_at_the_next_poll(path: Path) -> None:
    with SoftProcess(path) as waiter:
        with SoftFileLock(path):
            waiter.tell("acquire", 60, 50)
            asleep(waiter)
            released = time.monotonic()
        assert waiter.answer() == "ok"
        # Its next look without an event would be after fifty seconds.
        assert time.monotonic() - released < 30


def test_a_waiter_takes_over_when_the_owner_dies_and_not_at_the_next_poll(path: Path) -> None:
    with SoftProcess(path) as owner, SoftProcess(path) as waiter:
        assert owner.acquire() == "ok"
        waiter.tell("acquire", 60, 50)
        asleep(waiter)
        died = time.monotonic()
        owner.die()
        assert waiter.answer() == "ok"
        assert time.monotonic() - died < 30
        assert SoftFileLock(path).pid == waiter.process.pid


def test_a_zombie_holds_nothing(path: Path) -> None:
    with SoftProcess(path) as owner:
        assert owner.acquire() == "ok"
        owner.process.kill()
        os.waitid(os.P_PID, owner.process.pid, os.WEXITED | os.WNOWAIT)
        os.kill(owner.process.pid, 0)  # still there, for kill(2)
        SoftFileLock(path).acquire(timeout=0).lock.release()


def test_a_timeout_names_the_owner(path: Path) -> None:
    with SoftProcess(path) as owner:
        assert owner.acquire() == "ok"
        with pytest.raises(Timeout, match=rf"held by process {owner.process.pid} on "):
            SoftFileLock(path, timeout=0.01).acquire()


def test_a_marker_is_seen_whole_or_not_at_all(path: Path) -> None:
    with SoftProcess(path) as owner:
        seen: set[bytes] = set()
        for _ in range(100):  # on a busy machine, the owner may be done before the first look
            owner.tell("hammer", 1000)
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                try:
                    seen.add(path.read_bytes())
                except FileNotFoundError:
                    pass
            assert owner.answer() == "ok"
            if seen:
                break
        assert {text.count(b"\n") for text in seen} == {3}


WITHOUT_PROC = """
import os, sys
from holdlock import SoftFileLock, Timeout
path, directory = sys.argv[1], os.path.dirname(sys.argv[1])
assert os.listdir("/proc") == []
with SoftFileLock(path) as lock:
    assert lock.is_lock_held_by_us
    assert os.listdir(directory) == ["job.lock"]
    try:
        SoftFileLock(path, timeout=0).acquire()
    except Timeout:
        assert os.listdir(directory) == ["job.lock"]
    else:
        raise AssertionError("two holders")
assert os.listdir(directory) == []
"""


def test_a_file_that_cannot_be_named_later_has_another_name_first(path: Path) -> None:
    """Without /proc a nameless file cannot get a name."""
    hidden = 'mount -t tmpfs none /proc && exec "$@"'
    words = ["unshare", "-m", "sh", "-c", hidden, "sh"]
    try:
        possible = subprocess.run([*words, "true"], stderr=subprocess.PIPE).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("needs root and unshare, to hide /proc")
    subprocess.run([*words, sys.executable, "-c", WITHOUT_PROC, path], check=True)


def test_nobody_else_may_write_a_marker(path: Path) -> None:
    before = os.umask(0)
    try:
        with SoftFileLock(path, mode=0o666):
            assert path.stat().st_mode & 0o777 == 0o644
        with SoftFileLock(path):
            assert path.stat().st_mode & 0o777 == 0o644
        os.umask(0o077)
        with SoftFileLock(path, mode=0o640):
            assert path.stat().st_mode & 0o777 == 0o640
        # The owner's bits show others that it is a marker.
        os.umask(0o222)
        with SoftFileLock(path), pytest.raises(Timeout):
            SoftFileLock(path, timeout=0.01).acquire()
    finally:
        os.umask(before)


def test_missing_directories_are_made(tmp_path: Path) -> None:
    with SoftFileLock(tmp_path / "a" / "b" / "job.lock"):
        assert (tmp_path / "a" / "b" / "job.lock").exists()


def test_a_change_of_directory_does_not_lose_the_marker(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    lock = SoftFileLock("job.lock")
    lock.acquire()
    monkeypatch.chdir("/")
    lock.release()
    assert not path.exists()


def test_a_release_leaves_a_successors_marker_alone(path: Path) -> None:
    lock = SoftFileLock(path)
    lock.acquire()
    with SoftProcess(path) as successor:
        SoftFileLock(path).break_lock()
        assert successor.acquire() == "ok"
        lock.release()
        assert SoftFileLock(path).pid == successor.process.pid


def test_a_descriptor_that_was_closed_by_others_costs_no_other_file(path: Path) -> None:
    lock = SoftFileLock(path)
    lock.acquire()
    descriptor = lock._context.lock_file_fd
    assert descriptor is not None
    os.close(descriptor)
    theirs = path.with_name("theirs")
    theirs.write_text("precious")
    opened = os.open(theirs, os.O_RDWR)
    assert opened == descriptor
    lock.release()
    assert not lock.is_locked
    os.close(opened)  # still theirs to close
    assert theirs.read_text() == "precious"
    assert not path.exists()


def test_a_marker_that_came_after_the_descriptor_was_closed_stays(path: Path) -> None:
    lock = SoftFileLock(path)
    lock.acquire()
    descriptor = lock._context.lock_file_fd
    assert descriptor is not None
    os.close(descriptor)
    there = path.stat()
    lock.break_lock()
    path.write_text("of another holder")  # often with the same inode number
    os.utime(path, ns=(there.st_mtime_ns, there.st_mtime_ns + 1))
    lock.release()
    assert path.read_text() == "of another holder"


def test_a_child_of_fork_owns_nothing(path: Path) -> None:
    program = """
import os, sys
from holdlock import SoftFileLock
lock = SoftFileLock(sys.argv[1])
lock.acquire()
child = os.fork()
if child == 0:
    assert not lock.is_locked
    lock.release(force=True)
    del lock
    sys.exit(0 if os.path.exists(sys.argv[1]) else 1)
assert os.waitpid(child, 0)[1] == 0
assert lock.is_lock_held_by_us and os.path.exists(sys.argv[1])
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)
    assert not path.exists()  # the parent's end released it


def test_what_can_never_be_a_marker_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="symbolic link") as raised:
        SoftFileLock(tmp_path / "link").acquire()
    assert raised.value.filename == str(tmp_path / "link")
    with pytest.raises(FileExistsError):
        SoftFileLock(tmp_path / "fifo").acquire()
    with pytest.raises(IsADirectoryError):
        SoftFileLock(tmp_path).acquire()
    assert not (tmp_path / "nowhere").exists()


def test_the_lock_is_reentrant(path: Path) -> None:
    lock = SoftFileLock(path)
    with lock, lock:
        assert lock.lock_counter == 2
    assert not path.exists()


def test_options_of_native_locks_are_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="preserve_lock_file"):
        SoftFileLock(path, preserve_lock_file=True)
    with pytest.raises(ValueError, match="on_acquired"):
        SoftFileLock(path, on_acquired=lambda descriptor: None)


def test_it_is_a_lock_like_the_others(path: Path) -> None:
    lock: holdlock.BaseFileLock = SoftFileLock(path, is_singleton=True)
    assert SoftFileLock(path, is_singleton=True) is lock


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(_soft.__path__)])
def test_examples(name: str) -> None:
    module = importlib.import_module(f"holdlock._soft.{name}")
    assert doctest.testmod(module).failed == 0
