"""Objects that refer to one another are collected, and then hold nothing."""

import asyncio
import gc
import os
import subprocess
import sys
import warnings
import weakref

import pytest

from conftest import waits
from holdlock import (
    AsyncFileLock,
    AsyncLockSet,
    AsyncSemaphore,
    CancelToken,
    FileLock,
    LockSet,
    ReadWriteLock,
    Semaphore,
    TokenGate,
)

CYCLES = {
    "proxy": lambda lock: setattr(lock, "kept", lock.acquire()),
    "set": lambda lock: setattr(lock, "kept", LockSet([lock])) or lock.kept.acquire(),
}


@pytest.mark.parametrize("cycle", sorted(CYCLES))
def test_a_lock_that_keeps_what_refers_to_it_is_collected_and_released(path, cycle):
    lock = FileLock(path)
    CYCLES[cycle](lock)
    gone = weakref.ref(lock)
    del lock
    gc.collect()
    assert gone() is None
    with FileLock(path, timeout=0):
        pass


def test_a_read_write_lock_that_keeps_its_context_is_collected(path):
    lock = ReadWriteLock(path, is_singleton=False)
    lock.kept = lock.write_lock()
    lock.kept.__enter__()
    gone = weakref.ref(lock)
    del lock
    gc.collect()
    assert gone() is None
    with FileLock(path, timeout=0):
        pass


def test_a_lock_is_collected_with_the_task_that_waited_for_it_and_its_closed_loop(path):
    lock = AsyncFileLock(path)

    async def wait():
        lock.task = asyncio.ensure_future(lock.acquire())
        while not waits(path, os.getpid()):
            await asyncio.sleep(0.001)

    loop = asyncio.new_event_loop()
    # Nobody asks for what a task of a closed loop would say.
    loop.set_exception_handler(lambda loop, context: None)
    with FileLock(path):
        loop.run_until_complete(wait())
        loop.close()
        gone = weakref.ref(lock)
        del lock, loop, wait
        gc.collect()
        assert gone() is None


WAITS = {
    "file": (FileLock, AsyncFileLock),
    "member": (FileLock, AsyncFileLock),
    "semaphore": (lambda path: Semaphore(path, 1), lambda path: AsyncSemaphore(path, 1)),
    "set": (FileLock, lambda path: AsyncLockSet([path])),
}


@pytest.mark.parametrize("kind", sorted(WAITS))
def test_a_wait_is_collected_with_a_loop_that_nobody_has_closed(path, kind):
    hold, make = WAITS[kind]
    held, lock = hold(path), make(path)
    with held:

        async def wait():
            waits = AsyncLockSet([lock]) if kind == "member" else lock
            lock.task = asyncio.ensure_future(waits.acquire())
            while not held.waiters():
                await asyncio.sleep(0.001)

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)
        loop.run_until_complete(wait())
        gone = weakref.ref(lock)
        del lock, loop, wait
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        assert gone() is None


@pytest.mark.parametrize("make", [CancelToken, lambda: TokenGate("gate")])
def test_small_objects_can_be_referred_to_weakly(make):
    one = make()
    gone = weakref.ref(one)
    assert gone() is one
    del one
    assert gone() is None


AT_THE_END = """
import sys
from holdlock import FileLock, LockSet, ReadWriteLock, Semaphore
class Owner:
    def __init__(self, path):
        self.uses = [Semaphore(path + "1", 1), LockSet([path + "2"]), FileLock(path + "3")]
        self.uses += [ReadWriteLock(path + "4").write_lock()]
    def __del__(self):
        # The modules are gone by now.
        for use in self.uses:
            with use:
                pass
        print("used")
sys.modules["kept until the end"] = Owner(sys.argv[1])
"""


def test_the_first_use_may_be_while_the_interpreter_ends(path):
    ran = subprocess.run(
        [sys.executable, "-c", AT_THE_END, path], capture_output=True, text=True, timeout=100
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "used\n", "")


NOT_LOADED = """
import sys, holdlock
class Owner:
    def __del__(self, holdlock=holdlock):
        holdlock.Semaphore
sys.modules["kept until the end"] = Owner()
"""


def test_a_name_that_is_first_used_while_the_interpreter_ends_says_why_it_fails():
    ran = subprocess.run(
        [sys.executable, "-c", NOT_LOADED], capture_output=True, text=True, timeout=100
    )
    assert "cannot load holdlock.Semaphore, because Python is ending" in ran.stderr
