"""Exceptions of signal handlers strike asynchronous code anywhere; no lock is lost."""

import asyncio
import os
import subprocess
import sys

import pytest

import holdlock
from conftest import waits
from strikes import at_each_line, at_each_return

STRIKES = pytest.mark.parametrize("at_each", [at_each_line, at_each_return])


def hooked(path):
    return holdlock.AsyncFileLock(path, on_acquired=lambda _: None, run_in_executor=False)


ASYNC = {
    "semaphore": lambda path: holdlock.AsyncSemaphore(path, 1).acquire,
    "set": lambda path: holdlock.AsyncLockSet([path, path + ".other"]).acquire,
    "lock": lambda path: holdlock.AsyncFileLock(path).acquire,
    "mutex": lambda path: holdlock.AsyncFileLock(path, thread_local="mutex").acquire,
    "hook": lambda path: hooked(path).acquire,
    "read": lambda path: holdlock.AsyncReadWriteLock(path).acquire_read,
    "write": lambda path: holdlock.AsyncReadWriteLock(path).acquire_write,
    "soft": lambda path: holdlock.AsyncSoftFileLock(path).acquire,
}


def another(kind, path):
    """A lock that shows whether the lock of this kind is held."""
    return (holdlock.SoftFileLock if kind == "soft" else holdlock.FileLock)(path, timeout=0)


def step(coroutine):
    """Runs a coroutine that does not have to wait."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


@STRIKES
@pytest.mark.parametrize("kind", sorted(ASYNC))
def test_an_asynchronous_acquire_that_is_struck_anywhere_acquires_nothing(path, kind, at_each):
    async def strike():
        acquire, other = ASYNC[kind](path), another(kind, path)
        for struck in at_each(lambda: step(acquire(timeout=10))):
            if struck:
                other.acquire().lock.release()
        await acquire.__self__.release()
        other.acquire().lock.release()

    asyncio.run(strike())


@STRIKES
@pytest.mark.parametrize("kind", sorted(ASYNC))
def test_an_asynchronous_release_that_is_struck_anywhere_can_be_repeated(path, kind, at_each):
    async def strike():
        acquire, other = ASYNC[kind](path), another(kind, path)
        release = acquire.__self__.release
        await acquire()
        for struck in at_each(lambda: step(release())):
            if struck:
                try:
                    await release()
                except RuntimeError:
                    pass  # it was released, and then struck
                other.acquire().lock.release()
                await acquire()
        other.acquire().lock.release()

    asyncio.run(strike())


@STRIKES
def test_a_release_that_is_struck_anywhere_leaves_what_the_task_holds_by_another_object(
    path, at_each
):
    async def strike():
        one, another = (holdlock.AsyncReadWriteLock(path, timeout=0) for _ in range(2))
        other = holdlock.FileLock(path, timeout=0)
        await one.acquire_write()
        for _ in at_each(lambda: step(one.release())):
            await another.acquire_write()
            await one.release(force=True)
            with pytest.raises(holdlock.Timeout):
                other.acquire()
            await another.release()
            other.acquire().lock.release()
            await one.acquire_write()
        await one.release()

    asyncio.run(strike())


@STRIKES
@pytest.mark.parametrize("kind", sorted(ASYNC.keys() - {"soft"}))
def test_an_asynchronous_wait_that_is_struck_anywhere_acquires_nothing(path, kind, at_each):
    acquire = ASYNC[kind](path)

    async def wait():
        with holdlock.FileLock(path):
            waiting = asyncio.ensure_future(acquire(timeout=60))
            while not waits(path, os.getpid()) and not waiting.done():
                await asyncio.sleep(0.001)
        await waiting

    # The other files have callbacks of the loop.
    files = ["_async_wait.py", "_line.py"]
    for struck in at_each(lambda: asyncio.run(wait()), files):
        if not struck:
            asyncio.run(acquire.__self__.release())  # what an ended task holds
        holdlock.FileLock(path).acquire(timeout=60).lock.release()


@STRIKES
def test_an_acquire_for_an_upgrade_that_is_struck_anywhere_acquires_nothing(path, at_each):
    async def strike():
        lock, other = holdlock.AsyncFileLock(path, upgradeable=True), holdlock.FileLock(path)
        for _ in at_each(lambda: step(lock.acquire_upgradeable())):
            other.acquire(timeout=0).lock.release()

    asyncio.run(strike())


@STRIKES
def test_an_asynchronous_entry_at_a_gate_that_is_struck_anywhere_does_not_stay_inside(
    path, at_each
):
    async def strike():
        gate, other = holdlock.AsyncTokenGate(path), holdlock.TokenGate(path)
        for _ in at_each(lambda: step(gate.enter(1))):
            other.enter(1, timeout=0).leave()

    asyncio.run(strike())


STORM = """
import asyncio, dis, random, signal, sys
import holdlock

class Struck(BaseException):
    pass

def strike(number, frame):
    # Nowhere else: what an acquire has returned, its caller has to release.
    if frame.f_code is code and code.co_code[frame.f_lasti] == dis.opmap.get("POP_BLOCK"):
        return  # before Python 3.11 there is a step between the try block and the return
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    if frame is not None:
        raise Struck

kind, path, strikes = sys.argv[1], sys.argv[2], int(sys.argv[3])
makes = {
    "lock": lambda: holdlock.AsyncFileLock(path),
    "mutex": lambda: holdlock.AsyncFileLock(path, thread_local="mutex"),
    "semaphore": lambda: holdlock.AsyncSemaphore(path, 1),
    "set": lambda: holdlock.AsyncLockSet([path, path + ".other"]),
    "write": lambda: holdlock.AsyncReadWriteLock(path, is_singleton=False),
    "soft": lambda: holdlock.AsyncSoftFileLock(path),
}
method = "acquire_write" if kind == "write" else "acquire"

async def storm():
    global code
    struck = stuck = 0
    other = (holdlock.SoftFileLock if kind == "soft" else holdlock.FileLock)(path, timeout=0)
    while struck < strikes:
        lock = makes[kind]()
        acquire = getattr(lock, method)
        code = acquire.__func__.__code__
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.000005, 0.0003))
        try:
            for _ in range(30):
                await acquire()
                await lock.release()
        except Struck as error:
            struck += 1
            try:
                other.acquire().lock.release()
            except holdlock.Timeout:
                stuck += 1
                await lock.release()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    print(stuck)

signal.signal(signal.SIGALRM, strike)
asyncio.run(storm())
"""


@pytest.mark.parametrize("kind", ["lock", "mutex", "semaphore", "set", "write", "soft"])
def test_an_asynchronous_acquire_that_a_signal_ends_acquires_nothing(path, kind):
    storm = [sys.executable, "-c", STORM, kind, path, "300"]
    ended = subprocess.run(storm, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout) == (0, "0\n"), ended.stderr
