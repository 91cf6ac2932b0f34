"""The system refuses something: a soft lock raises an error and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import run_forked
from soft_process import SoftProcess

from holdlock import SoftFileLock, Timeout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.lock"


def run(program: str, *arguments: object) -> None:
    """Runs a program, in which something may be refused, in a process of its own."""
    words = [sys.executable, "-c", program, *map(str, arguments)]
    result = subprocess.run(words, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 0, result.stderr


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


FULL = """
import errno, os, sys
from holdlock import SoftFileLock
lock = SoftFileLock(sys.argv[1])
for _ in range(3):
    try:
        lock.acquire()
    except OSError as error:
        assert error.errno == errno.ENOSPC and error.filename == sys.argv[1], repr(error)
        assert not lock.is_locked
    else:
        raise AssertionError("where is the file?")
assert os.listdir(os.path.dirname(sys.argv[1])) == ["everything"]
os.unlink(os.path.join(os.path.dirname(sys.argv[1]), "everything"))
with lock:
    pass
assert os.listdir(os.path.dirname(sys.argv[1])) == []
"""


def test_a_full_disk(tmp_path: Path) -> None:
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("a small file system is made by root, with mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "none", disk], capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"mount: {made.stderr.decode()}")
    try:
        with open(disk / "everything", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC
        run(FULL, disk / "job.lock")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_marker_that_cannot_be_written_does_not_appear(path: Path) -> None:
    run(
        """
import errno, os, resource, sys
from holdlock import SoftFileLock
lock = SoftFileLock(sys.argv[1])
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (5, limit[1]))
try:
    lock.acquire()
except OSError as error:
    assert error.errno in (errno.EFBIG, errno.ENOSPC) and error.filename == sys.argv[1], repr(error)
else:
    raise AssertionError("a marker of five bytes?")
assert os.listdir(os.path.dirname(sys.argv[1])) == []
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
with lock:
    pass
""",
        path,
    )


def test_no_descriptor_left(path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    held, wanted = SoftFileLock(f"{path}.held"), SoftFileLock(path)
    held.acquire()
    before = open_files()
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))  # what is open stays open
    try:
        with pytest.raises(OSError) as raised:
            wanted.acquire()
        with pytest.raises(Timeout):
            SoftFileLock(held.lock_file, timeout=0.1, thread_local=False).acquire()
        held.release()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert raised.value.errno == errno.EMFILE
    assert raised.value.filename == str(path)
    assert open_files() == before - 1
    assert list(path.parent.iterdir()) == []
    with wanted:
        pass


def test_waiting_costs_no_descriptors_in_the_end(path: Path) -> None:
    with SoftProcess(path) as owner:
        assert owner.acquire() == "ok"
        waiter = SoftFileLock(path, timeout=0.01)
        with pytest.raises(Timeout):
            waiter.acquire()
        before = open_files()
        for _ in range(20):
            with pytest.raises(Timeout):
                waiter.acquire()
        assert open_files() == before


def test_a_stopped_owner_is_alive(path: Path) -> None:
    with SoftProcess(path) as owner, SoftProcess(path) as other:
        assert owner.acquire() == "ok"
        owner.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, owner.process.pid, os.WSTOPPED)
        assert other.acquire(1.5) == "timeout"
        other.tell("acquire", 60, 50)
        owner.tell("release")
        owner.process.send_signal(signal.SIGCONT)
        assert owner.answer() == "ok"
        assert other.answer() == "ok"


def test_a_marker_that_somebody_removed(path: Path) -> None:
    lock = SoftFileLock(path)
    with lock:
        path.unlink()
        assert lock.is_locked
        assert not lock.is_lock_held_by_us
    assert list(path.parent.iterdir()) == []


def test_a_directory_that_somebody_removed(tmp_path: Path) -> None:
    directory = tmp_path / "deep"
    lock = SoftFileLock(directory / "job.lock")
    with lock:
        shutil.rmtree(directory)
    assert not lock.is_locked
    with lock:
        assert (directory / "job.lock").exists()


def test_a_directory_that_may_not_be_written() -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o555)
        path = f"{directory}/job.lock"

        def as_nobody() -> None:
            if os.geteuid() == 0:  # root may write everywhere
                os.setuid(65534)
            with pytest.raises(PermissionError) as raised:
                SoftFileLock(path).acquire()
            assert raised.value.filename == path

        assert run_forked(as_nobody) == ""
        os.chmod(directory, 0o755)
