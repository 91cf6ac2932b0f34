"""Subclasses of this package's classes."""

import os

import pytest

from holdlock import BaseFileLock, FileLock, Timeout


class Mine(FileLock):
    """Records the calls of its methods, and has an argument of its own."""

    def __init__(self, lock_file, timeout=-1, thread_local=True, tag=None, **options):
        super().__init__(lock_file, timeout=timeout, thread_local=thread_local, **options)
        self.tag = tag
        self.done = []

    def acquire(self, *args, **kwargs):
        self.done.append("acquire")
        return super().acquire(*args, **kwargs)

    def release(self, force=False):
        self.done.append("release")
        super().release(force)


def test_overridden_methods_are_called(path):
    lock = Mine(path, 5, tag="x")
    assert (lock.tag, lock.timeout) == ("x", 5)
    with lock:
        assert lock.is_locked
    with lock.acquire():
        pass
    assert lock.done == ["acquire", "release"] * 2


class Narrow(FileLock):
    def __init__(self, lock_file):
        super().__init__(os.fspath(lock_file) + ".lock")


def test_a_narrower_constructor_works(path):
    with Narrow(path) as lock:
        assert lock.lock_file == path + ".lock"


class Marker(BaseFileLock):
    """A lock written in Python: the process that creates the file holds it."""

    def _acquire(self):
        try:
            flags = os.O_CREAT | os.O_EXCL
            self._context.lock_file_fd = os.open(self.lock_file, flags, 0o600)
        except FileExistsError:
            pass

    def _release(self):
        os.unlink(self.lock_file)
        os.close(self._context.lock_file_fd)
        self._context.lock_file_fd = None


@pytest.mark.parametrize("thread_local", [True, False, "mutex"])
def test_a_lock_written_in_python(path, thread_local):
    lock = Marker(path, 0.01, thread_local=thread_local, poll_interval=0.001)
    with lock:
        assert os.path.exists(path)
        with lock.acquire():
            assert lock.lock_counter == 2
        with pytest.raises(Timeout):
            Marker(path).acquire(timeout=0.01)
        with pytest.raises(Timeout):
            Marker(path).acquire(blocking=False)
        with pytest.raises(RuntimeError, match="Deadlock"):
            Marker(path).acquire()
    assert not os.path.exists(path)
    assert lock.lock() is lock and lock.locked
    lock.unlock()
    lock.unlock()
    assert not lock.is_locked


def test_a_lock_written_in_python_is_cancelled(path):
    with Marker(path):
        with pytest.raises(Timeout):
            Marker(path).acquire(cancel_check=lambda: True, timeout=10)


def test_a_lock_written_in_python_rolls_back(path):
    def hook(fd):
        raise ZeroDivisionError

    lock = Marker(path, on_acquired=hook)
    with pytest.raises(ZeroDivisionError):
        lock.acquire()
    assert lock.lock_counter == 0 and not os.path.exists(path)


def test_a_lock_written_in_python_has_the_policies(path):
    class Broken(Marker):
        def _release(self):
            super()._release()
            raise OSError("broken")

    with pytest.raises(OSError, match="broken") as caught, Broken(path):
        raise ZeroDivisionError
    assert isinstance(caught.value.__context__, ZeroDivisionError)
    if hasattr(__builtins__, "BaseExceptionGroup"):
        with pytest.raises(BaseExceptionGroup) as caught:  # noqa: F821
            with Broken(path, context_error_policy="group"):
                raise ZeroDivisionError
        assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError, OSError]
