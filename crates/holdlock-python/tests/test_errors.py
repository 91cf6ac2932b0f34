"""The errors, and their messages."""

import errno
import os
import pickle
import stat
import subprocess
import sys
import tempfile
import threading

import pytest
from conftest import run_forked, until, waits

from holdlock import Cancelled, Deadlock, FileLock, Process, Timeout


def test_a_timeout_is_an_os_error_with_all_that_belongs_to_it(path, holder):
    other = holder(path)
    with pytest.raises(Timeout) as caught:
        FileLock(path, timeout=0).acquire()
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert (error.errno, error.filename, error.lock_file) == (errno.ETIMEDOUT, path, path)
    assert [holder.pid for holder in error.holders] == [other.pid]
    assert f"The file lock '{path}' could not be acquired." in str(error)
    assert f"pid {other.pid} (" in str(error) and "python" in str(error)


def test_a_timeout_can_be_pickled_with_its_holders(path, holder):
    other = holder(path)
    with pytest.raises(Timeout) as caught:
        FileLock(path).acquire(timeout=0.01)
    copy = pickle.loads(pickle.dumps(caught.value))
    other.stop()
    assert type(copy) is Timeout and copy.lock_file == path
    assert f"pid {other.pid} (" in str(copy)
    assert [holder.pid for holder in copy.holders] == [other.pid]
    assert repr(copy) == f"Timeout('{path}')"
    assert str(pickle.loads(pickle.dumps(Cancelled("x")))) == str(Cancelled("x"))


def test_a_timeout_can_be_made_by_others():
    error = Timeout("x.lock")
    assert str(error) == "The file lock 'x.lock' could not be acquired."
    assert "held by nobody" in str(Timeout("x.lock", "nobody"))
    assert error.holders == []


def test_messages_are_text_whatever_the_file_is_called(tmp_path, holder):
    odd = "x\x1b[2J\nheld by nobody\u202e\udcff\x9b\u200b"
    path = str(tmp_path / odd)
    shown = str(tmp_path / "x") + r"\u{1b}[2J\nheld by nobody\u{202e}\xff\u{9b}\u{200b}"
    holder(path)
    with pytest.raises(Timeout) as caught:
        FileLock(path, timeout=0).acquire()
    assert caught.value.lock_file == path
    timeout = str(caught.value)
    assert timeout.startswith(f"The file lock '{shown}' could not be acquired. It is held by pid ")
    with pytest.raises(OSError) as missing:
        FileLock(path + "/x").acquire()
    with FileLock(str(tmp_path / odd) + "2"), pytest.raises(Deadlock) as deadlock:
        FileLock(str(tmp_path / odd) + "2").acquire()
    process = str(Process(1, command="\x1b\u202e", user="\n"))
    marker = str(Timeout(path, f"process 1 on {odd}"))
    for text in [timeout, str(missing.value), str(deadlock.value), process, marker]:
        assert text.isprintable(), text


def test_holders_and_waiters_are_listed(path, holder, child):
    lock = FileLock(path)
    assert (lock.holders(), lock.waiters()) == ([], [])
    other = holder(path)
    waiter = child("import sys, holdlock; holdlock.FileLock(sys.argv[1]).lock()", path)
    until(lambda: waits(path, waiter.pid))
    (found,) = lock.holders()
    assert isinstance(found, Process)
    assert (found.pid, found.uid, found.parent) == (other.pid, os.getuid(), os.getpid())
    assert "python" in found.command and found.started > 1e9
    assert str(found).startswith(f"pid {other.pid} (")
    assert found == pickle.loads(pickle.dumps(found))


def test_a_symbolic_link_is_refused(tmp_path):
    target = tmp_path / "target"
    target.write_text("keep")
    link = tmp_path / "link.lock"
    link.symlink_to(target)
    with pytest.raises(OSError) as caught:
        FileLock(link).acquire()
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, str(link))
    assert "symbolic link" in str(caught.value) and "LockOptions" not in str(caught.value)
    link.unlink()
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError) as caught:
        FileLock(link).acquire()
    assert caught.value.errno == errno.ELOOP
    assert not (tmp_path / "nowhere").exists()


def test_a_fifo_does_not_hang(path):
    os.mkfifo(path)
    with FileLock(path):
        pass


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError) as caught:
        FileLock(tmp_path).acquire()
    assert caught.value.filename == str(tmp_path)


UNSUPPORTED = """
import errno, sys
from holdlock import FileLock, Timeout
try:
    FileLock(sys.argv[1]).acquire()
except NotImplementedError as error:
    assert isinstance(error, OSError) and not isinstance(error, Timeout)
    assert (error.errno, error.filename) == (errno.ENOLCK, sys.argv[1]), error
    assert "os error" not in str(error)
    print(error)
"""


def test_a_file_system_that_cannot_lock_is_an_error_that_filelocks_users_expect(path):
    inject = ["strace", "-f", "-o", "/dev/null", "-e", "inject=flock:error=ENOLCK"]
    program = [*inject, sys.executable, "-c", UNSUPPORTED, path]
    try:
        ended = subprocess.run(program, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("needs strace")
    assert ended.returncode == 0 and path in ended.stdout, ended.stderr


def test_missing_directories_are_made(tmp_path):
    deep = tmp_path / "a" / "b" / "c.lock"
    with FileLock(deep):
        assert deep.exists()


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as caught:
        FileLock(tmp_path / "file" / "x.lock").acquire()
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)


def test_the_error_names_missing_permission():
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o555)

        def as_nobody():
            if os.getuid() == 0:  # root may do everything
                os.setuid(65534)
            with pytest.raises(PermissionError) as caught:
                FileLock(f"{directory}/x.lock").acquire()
            assert caught.value.filename == f"{directory}/x.lock"

        assert run_forked(as_nobody) == ""
        os.chmod(directory, 0o755)


def test_another_users_file_in_a_sticky_directory_can_be_locked():
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o1777)
        path = f"{directory}/x.lock"
        open(path, "w").close()
        os.chmod(path, 0o644)

        def as_nobody():
            if os.getuid() == 0:
                os.setuid(65534)
            with FileLock(path):
                pass

        assert run_forked(as_nobody) == ""


def test_a_zero_byte_is_a_value_error():
    with pytest.raises(ValueError):
        FileLock("a\0b").acquire()


@pytest.mark.parametrize("wrong", [None, 7, b"bytes"])
def test_a_path_is_a_path(wrong):
    with pytest.raises(TypeError):
        FileLock(wrong)


def test_the_process_that_creates_the_file_sets_its_mode(tmp_path):
    for mode in (0o600, 0o660, 0o777):
        path = tmp_path / f"{mode:o}.lock"
        with FileLock(path, mode=mode):
            assert stat.S_IMODE(path.stat().st_mode) == mode
    before = os.umask(0o027)
    try:
        with FileLock(tmp_path / "unset.lock"):
            pass
        with FileLock(tmp_path / "660.lock", mode=0o600):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "unset.lock").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "660.lock").stat().st_mode) == 0o660


def test_waiting_for_oneself_is_a_deadlock(path):
    ours, again = FileLock(path), FileLock(path)
    with ours:
        with pytest.raises(Deadlock, match="Deadlock"):
            again.acquire()
        assert again.lock_counter == 0
        with pytest.raises(Timeout):
            again.acquire(timeout=0.02)
        with pytest.raises(Timeout):
            again.acquire(blocking=False)
    again.acquire(timeout=0)


def test_a_cycle_of_threads_is_a_deadlock(tmp_path):
    first, second = FileLock(tmp_path / "1"), FileLock(tmp_path / "2")
    both = threading.Barrier(2)
    said = []

    def work(one, other):
        with one:
            both.wait()
            try:
                with other:
                    pass
            except RuntimeError as error:
                said.append(str(error))

    threads = [
        threading.Thread(target=work, args=pair) for pair in ((first, second), (second, first))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1 and said[0].startswith("Deadlock")


@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_a_removed_lock_file_never_has_two_holders(path, timeout):
    lock = FileLock(path)
    with lock:
        os.unlink(path)
        other = FileLock(path)
        with pytest.raises(Timeout) as caught:
            other.acquire(timeout=timeout)
        # For a moment it may be a holder that removes the file on release.
        if timeout == -1:
            assert "the lock file was removed meanwhile" in str(caught.value)
    with other:
        assert os.path.exists(path)


def test_a_working_directory_that_was_removed_is_named_by_the_error(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError, match="create its directory: 'a.lock'"):
        FileLock("a.lock").acquire()
