"""Exceptions of signal handlers, such as KeyboardInterrupt, strike anywhere; no lock is lost."""

import os
import select
import signal
import subprocess
import sys
import threading

import pytest

import holdlock
from conftest import until, waits
from strikes import at_each_line, at_each_return

STORM = """
import random, signal, sys
import holdlock

class Struck(BaseException):
    pass

def strike(number, frame):
    raise Struck

def use(kind, path):
    if kind == "soft":
        with holdlock.SoftFileLock(path, timeout=5):
            pass
    elif kind == "soft, shared by threads":
        with holdlock.SoftFileLock(path, timeout=5, thread_local=False):
            pass
    elif kind == "soft, one object":
        with lasting:
            pass
    elif kind == "read":
        with holdlock.ReadWriteLock(path, timeout=5).read_lock():
            pass
    elif kind == "write":
        with holdlock.ReadWriteLock(path, timeout=5).write_lock():
            pass
    elif kind == "semaphore":
        with slots:
            pass
    elif kind == "set":
        with both:
            pass
    elif kind == "native":
        with holdlock.FileLock(path, timeout=5):
            pass

kind, path, strikes = sys.argv[1], sys.argv[2], int(sys.argv[3])
lasting = holdlock.SoftFileLock(path, timeout=5)
slots = holdlock.Semaphore(path, 1, timeout=5)
both = holdlock.LockSet([path, path + ".other"], timeout=5)
keeper = holdlock.ReadWriteLock(path, timeout=5) if kind in ("read", "write") else None
signal.signal(signal.SIGALRM, strike)
struck = stuck = 0
while struck < strikes:  # on a slow machine the work is often done before
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.000001, 0.0004))
        try:
            for _ in range(30):  # a finalizer may swallow the exception
                use(kind, path)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Struck:
        struck += 1
    if kind == "soft, one object" and lasting.is_locked:
        lasting.release()  # it is held, and known to be held
    try:
        if "soft" not in kind:
            holdlock.FileLock(path).acquire(timeout=0).lock.release()
        else:
            holdlock.SoftFileLock(path).acquire(timeout=0).lock.release()
    except (holdlock.Timeout, RuntimeError) as error:
        stuck += 1
        if stuck == 1:
            print(repr(error), str(error), file=sys.stderr)
        if "soft" in kind:
            holdlock.SoftFileLock(path).break_lock()
        elif kind == "semaphore":
            slots.release()
        elif kind == "set":
            both.release()
        else:
            keeper.release(force=True)
    except Struck:
        struck += 1  # it came late: the timer was not switched off in time
print(stuck)
"""


@pytest.mark.parametrize(
    "kind",
    [
        "soft",
        "soft, shared by threads",
        "soft, one object",
        "read",
        "write",
        "native",
        "semaphore",
        "set",
    ],
)
def test_an_interrupt_at_any_step_loses_no_lock(path, kind):
    storm = [sys.executable, "-c", STORM, kind, path, "500"]
    ended = subprocess.run(storm, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == 0, ended.stderr


EACH_STEP = """
import sys
import holdlock

class Struck(BaseException):
    pass

def strike_at(step):
    def trace(frame, event, argument):
        nonlocal step
        step -= 1
        if step == 0:
            raise Struck
        return trace

    return trace

path = sys.argv[1]
holder = holdlock.SoftFileLock(path)
holder.acquire()
waiter = holdlock.SoftFileLock(path, timeout=0.002)
step, struck = 0, True
while struck:
    step, struck = step + 1, False
    sys.settrace(strike_at(step))
    try:
        waiter.acquire()
    except Struck:
        struck = True
    except holdlock.Timeout:
        pass
    finally:
        sys.settrace(None)
    try:
        waiter.acquire()
    except holdlock.Timeout:
        pass
print(step > 100)
"""


def test_a_soft_wait_that_is_interrupted_at_any_step_does_not_block_the_next(path):
    steps = [sys.executable, "-c", EACH_STEP, path]
    ended = subprocess.run(steps, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


WAITS = """
import os, random, signal, sys
import holdlock

class Struck(BaseException):
    pass

def strike(number, frame):
    raise Struck

def wait():
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.0006))
        try:
            waiter.acquire(timeout=100)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Struck:
        return
    raise AssertionError("the lock is held")

path, strikes = sys.argv[1], int(sys.argv[2])
holder, waiter = holdlock.SoftFileLock(path), holdlock.SoftFileLock(path, thread_local=False)
holder.acquire()
try:
    waiter.acquire(timeout=0.002)  # loads all modules
except holdlock.Timeout:
    pass
before = os.listdir("/proc/self/fd")
signal.signal(signal.SIGALRM, strike)
for _ in range(strikes):
    wait()
signal.signal(signal.SIGALRM, signal.SIG_IGN)
assert os.listdir("/proc/self/fd") == before, (os.listdir("/proc/self/fd"), before)
"""


def test_soft_waits_that_are_interrupted_leave_no_descriptor_and_print_nothing(path):
    waits = [sys.executable, "-c", WAITS, path, "3000"]
    ended = subprocess.run(waits, capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stderr) == (0, "")


class Struck(BaseException):
    pass


@pytest.mark.parametrize("kind", ["semaphore", "set", "upgradeable", "gate"])
def test_an_exception_of_a_signal_handler_ends_a_wait_at_once(path, holder, kind):
    if kind == "gate":
        path += ".gate"
    holder(path)
    kinds = {
        "semaphore": holdlock.Semaphore(path, 2).acquire,
        "set": holdlock.LockSet([path, path + ".other"]).acquire,
        "upgradeable": holdlock.FileLock(path, upgradeable=True).acquire_upgradeable,
        "gate": lambda: holdlock.TokenGate(path).enter(1),
    }

    def strike(number, frame):
        raise Struck

    def send():
        until(lambda: waits(path, os.getpid()))
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, strike)
    thread = threading.Thread(target=send)
    try:
        thread.start()
        with pytest.raises(Struck):
            kinds[kind]()
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    assert not waits(path, os.getpid())


STRIKES = pytest.mark.parametrize("at_each", [at_each_line, at_each_return])


@STRIKES
def test_a_soft_wait_that_is_struck_anywhere_leaves_no_descriptor(path, monkeypatch, at_each):
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", lambda seen: unraisable.append(seen.exc_value))
    holder, waiter = holdlock.SoftFileLock(path), holdlock.SoftFileLock(path)

    def wait():
        with pytest.raises(holdlock.Timeout):
            waiter.acquire(timeout=0.002)

    with holder:
        wait()
        before = os.listdir("/proc/self/fd")
        for _ in at_each(wait):
            pass
        # A lock of an earlier test may close its own meanwhile.
        assert set(os.listdir("/proc/self/fd")) <= set(before)
    assert unraisable == []


def test_a_soft_wait_without_epoll_leaves_no_descriptor(path, monkeypatch):
    monkeypatch.delattr(select, "epoll")  # as libraries for greenlets do
    waiter = holdlock.SoftFileLock(path)
    with holdlock.SoftFileLock(path):
        before = os.listdir("/proc/self/fd")
        with pytest.raises(holdlock.Timeout):
            waiter.acquire(timeout=0.002)
        assert set(os.listdir("/proc/self/fd")) <= set(before)


ACQUIRE = {
    "semaphore": lambda path: holdlock.Semaphore(path, 1),
    "set": lambda path: holdlock.LockSet([path, path + ".other"]),
    "lock": holdlock.FileLock,
    "soft": holdlock.SoftFileLock,
    "soft, together": lambda path: holdlock.SoftFileLock(path, thread_local=False),
    "soft, mutex": lambda path: holdlock.SoftFileLock(path, thread_local="mutex"),
}


def another(kind, path):
    """A lock that shows whether the lock of this kind is held."""
    soft = kind.startswith("soft")
    return (holdlock.SoftFileLock if soft else holdlock.FileLock)(path, timeout=0)


@STRIKES
@pytest.mark.parametrize("kind", sorted(ACQUIRE))
def test_an_acquire_that_is_struck_anywhere_acquires_nothing(path, kind, at_each):
    lock, other = ACQUIRE[kind](path), another(kind, path)
    for struck in at_each(lambda: lock.acquire(timeout=10)):
        assert lock.locked is not struck
        if struck:
            other.acquire().lock.release()
    lock.release()


@STRIKES
@pytest.mark.parametrize("mode", ["read", "write"])
def test_an_acquire_of_a_read_write_lock_that_is_struck_anywhere_acquires_nothing(
    path, mode, at_each
):
    lock, other = holdlock.ReadWriteLock(path), holdlock.FileLock(path, timeout=0)
    acquire = {"read": lock.acquire_read, "write": lock.acquire_write}[mode]
    for struck in at_each(lambda: acquire(timeout=10)):
        if struck:
            other.acquire().lock.release()
    lock.release()


@STRIKES
@pytest.mark.parametrize("kind", sorted(ACQUIRE))
def test_an_acquire_that_is_struck_keeps_what_was_acquired_before(path, kind, at_each):
    lock = holdlock.Semaphore(path, 2) if kind == "semaphore" else ACQUIRE[kind](path)
    lock.acquire()
    for struck in at_each(lambda: lock.acquire(timeout=10)):
        assert lock.locked
    lock.release()
    assert lock.locked
    lock.release()
    assert not lock.locked
    with another(kind, path):
        pass
