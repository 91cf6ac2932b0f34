"""``fallback="soft"``: a soft lock where the file system has no locks."""

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from holdlock import (
    AsyncFileLock,
    AsyncSoftFileLock,
    CancelToken,
    Cancelled,
    FileLock,
    ReadWriteLock,
    SoftFileLock,
)


def on_a_file_system(answer, program, *arguments):
    """Runs the program where every flock fails with this error."""
    inject = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=flock:error={answer}"]
    words = [*inject, sys.executable, "-c", program, *arguments]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("needs strace")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


SOFT = """
import asyncio, os, sys
from holdlock import AsyncFileLock, AsyncSoftFileLock, FileLock, SoftFileLock, Timeout

path = sys.argv[1]
lock = FileLock(path, fallback="soft", timeout=5)
assert type(lock) is SoftFileLock and lock.timeout == 5
assert not os.path.exists(path), os.listdir(os.path.dirname(path))
with lock:
    assert lock.pid == os.getpid()
    try:
        SoftFileLock(path, timeout=0).acquire()
    except Timeout:
        print("excluded")
assert os.listdir(os.path.dirname(path)) == []

async def main():
    lock = AsyncFileLock(path, fallback="soft")
    assert type(lock) is AsyncSoftFileLock
    async with lock:
        print("held", os.listdir(os.path.dirname(path)))

asyncio.run(main())
one = FileLock(path, fallback="soft", is_singleton=True)
assert FileLock(path, fallback="soft", is_singleton=True) is one
"""


@pytest.mark.parametrize("answer", ["ENOSYS", "EOPNOTSUPP"])
def test_without_locks_in_the_file_system_a_soft_lock_takes_over(answer, path):
    assert on_a_file_system(answer, SOFT, path) == "excluded\nheld ['test.lock']\n"


LOUD = """
import sys
from holdlock import FileLock

for options in [{}, {"fallback": "error"}, {"fallback": sys.argv[2]}]:
    lock = FileLock(sys.argv[1], timeout=0, **options)
    assert type(lock) is FileLock
    try:
        lock.acquire()
    except NotImplementedError as error:
        print(error.errno)
"""


def test_without_a_choice_the_lock_stays_loud(path):
    assert len(on_a_file_system("ENOSYS", LOUD, path, "error").split()) == 3


def test_a_lock_service_that_is_down_is_no_reason_for_a_soft_lock(path):
    """Other processes may hold native locks from before."""
    assert len(on_a_file_system("ENOLCK", LOUD, path, "soft").split()) == 3


def test_where_the_file_system_can_lock_the_lock_is_native(path):
    lock = FileLock(path, fallback="soft")
    assert type(lock) is FileLock
    assert type(AsyncFileLock(path, fallback="soft")) is AsyncFileLock
    assert os.listdir(os.path.dirname(path)) == []
    with lock:
        assert os.listdir(os.path.dirname(path)) == ["test.lock"]


def test_a_missing_directory_is_that_of_its_parent(tmp_path):
    FileLock(tmp_path / "a" / "b" / "c.lock", fallback="soft")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "options", [{"shared": True}, {"fair": True}, {"on_acquired": print}], ids=lambda one: [*one][0]
)
def test_what_a_soft_lock_cannot_do_is_refused_on_every_file_system(path, options):
    with pytest.raises(ValueError, match="fallback"):
        FileLock(path, fallback="soft", **options)


def test_only_locks_that_can_fall_back_take_the_option(path):
    class Mine(FileLock):
        pass

    with pytest.raises(TypeError, match="Mine"):
        Mine(path, fallback="soft")
    for kind in (SoftFileLock, ReadWriteLock):
        with pytest.raises(TypeError):
            kind(path, fallback="soft")
    with pytest.raises(ValueError, match="'error', 'soft'"):
        FileLock(path, fallback="hard")


@pytest.mark.parametrize("of_task", [False, True])
def test_a_token_ends_the_wait_of_a_soft_lock_as_of_a_native_one(path, of_task):
    """A program that has asked for the fallback passes a token on both kinds of file systems."""
    token = CancelToken()
    holder = SoftFileLock(path)
    threading.Timer(0.05, token.cancel).start()

    async def main():
        await AsyncSoftFileLock(path).acquire(cancel=token)

    with holder, pytest.raises(Cancelled):
        if of_task:
            asyncio.run(main())
        else:
            in_thread(lambda: SoftFileLock(path).acquire(cancel=token))
    # A free lock is acquired all the same.
    SoftFileLock(path).acquire(cancel=token).lock.release()


def in_thread(function):
    with ThreadPoolExecutor(1) as executor:
        executor.submit(function).result()
