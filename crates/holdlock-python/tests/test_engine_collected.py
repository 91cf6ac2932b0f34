"""A lock between hosts that nothing refers to any more is released, and so is one at the end."""

import asyncio
import gc
import queue
import subprocess
import sys
import time
import warnings
import weakref

import pytest

import holdlock
from conftest import until
from etcd import server  # noqa: F401  # fixture
from postgres import name  # noqa: F401  # fixture


class Worker:
    """Refers to its lock, which calls the worker if it is lost."""

    def __init__(self, url):
        self.lock = holdlock.open(url)
        self.heard = queue.Queue()

    def on_lost(self, error):
        self.heard.put(error)


def test_a_lock_that_calls_its_owner_is_collected_and_released(server, name):
    worker = Worker(server.url(name))
    worker.lock.acquire()
    worker.lock.lost.add_callback(worker.on_lost)
    gone = weakref.ref(worker)
    del worker
    gc.collect()
    assert gone() is None
    server.nothing_left(name)


def test_the_signal_of_a_released_lock_is_collected_with_what_it_would_call(server, name):
    worker = Worker(server.url(name))
    with worker.lock:
        worker.lost = worker.lock.lost
        worker.lost.add_callback(worker.on_lost)
    gone = weakref.ref(worker)
    del worker
    gc.collect()
    assert gone() is None


def test_a_lock_that_was_lost_calls_its_owner_also_if_nothing_else_refers_to_it(server, name):
    worker = Worker(server.url(name))
    worker.lock.acquire()
    lost, heard = worker.lock.lost, worker.heard
    lost.add_callback(worker.on_lost)
    server.terminate(name)
    assert lost.wait(60)
    del worker, lost
    gc.collect()
    assert isinstance(heard.get(timeout=60), holdlock.LockLost)


@pytest.mark.parametrize("closes", [True, False])
def test_a_lock_is_collected_with_the_task_that_waited_for_it_and_its_loop(server, name, closes):
    url = server.url(name)
    with holdlock.open(url) as held:
        lock = holdlock.open_async(url)

        async def wait():
            lock.task = asyncio.ensure_future(lock.acquire())
            while not held.waiters():
                await asyncio.sleep(0.01)

        loop = asyncio.new_event_loop()
        # Nobody asks for what a task of a loop that is gone would say.
        loop.set_exception_handler(lambda loop, context: None)
        loop.run_until_complete(wait())
        if closes:
            loop.close()
        gone = weakref.ref(lock)
        del lock, loop, wait
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
        assert gone() is None
        until(lambda: not held.waiters())


CYCLE = """
class Worker:
    def __init__(self):
        self.lock = holdlock.open(sys.argv[1])
        self.lock.acquire()
        self.lock.lost.add_callback(self.on_lost)
    def on_lost(self, error):
        pass
worker = Worker()
"""

DAEMON = """
import threading
held = threading.Event()
def work():
    with holdlock.open(sys.argv[1]):
        held.set()
        threading.Event().wait()
threading.Thread(target=work, daemon=True).start()
held.wait()
"""

KEPT = """
import ctypes
lock = holdlock.open(sys.argv[1])
lock.acquire()
ctypes.pythonapi.Py_IncRef(ctypes.py_object(lock))
"""

ENDS = {
    "a cycle": CYCLE,
    "sys.exit": CYCLE + "sys.exit(0)",
    "a daemon thread": DAEMON,
    "kept for ever": KEPT,
}


def in_one_of_five_runs(leaves_nothing, name):
    """A program that ends waits no longer than a second for a slow server."""
    return any(leaves_nothing(f"{name}-{number}") for number in range(5))


@pytest.mark.parametrize("end", sorted(ENDS))
def test_a_program_that_ends_without_a_release_leaves_nothing(server, name, end):
    script = "import sys\nimport holdlock\n" + ENDS[end]

    def leaves_nothing(name):
        ended = subprocess.run([sys.executable, "-c", script, server.url(name)], timeout=100)
        assert ended.returncode == 0
        return server.sessions(name) == 0

    assert in_one_of_five_runs(leaves_nothing, name)


OUTLIVES = """
import ctypes, sys, threading, time
import holdlock
lock = holdlock.open(sys.argv[1])
threading.Thread(target=lock.acquire, daemon=True).start()
while not lock.waiters():
    time.sleep(0.01)
# The process goes on after Python has ended, until its standard input ends.
libc = ctypes.CDLL(None)
libc["__cxa_atexit"](libc.getchar, None, None)
"""


def test_a_daemon_thread_may_wait_longer_than_python_lives(server, name):
    script = [sys.executable, "-c", OUTLIVES, server.brief(name)]
    with holdlock.open(server.url(name)):
        with subprocess.Popen(script, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            time.sleep(4)  # longer than the program's lease
            errors = program.communicate(timeout=100)[1]
    assert (program.returncode, errors) == (0, b"")
    server.nothing_left(name)


HOOK = """
import atexit, sys
def check():
    lock.check()
    print("held", flush=True)
atexit.register(check)
import holdlock
lock = holdlock.open(sys.argv[1])
lock.acquire()
"""


def test_the_lock_is_held_until_the_hooks_of_the_end_have_run(server, name):
    script = [sys.executable, "-c", HOOK, server.url(name)]
    ended = subprocess.run(script, stdout=subprocess.PIPE, text=True, timeout=100)
    assert (ended.returncode, ended.stdout) == (0, "held\n")
    server.nothing_left(name)


RESTORED = """
import sys
from unittest import mock
import holdlock
lock, other = holdlock.open(sys.argv[1]), holdlock.open(sys.argv[2])
with mock.patch.dict(sys.__dict__):
    lock.acquire()
lock.check()
other.acquire()
print("held", flush=True)
""" + KEPT.replace("sys.argv[1]", "sys.argv[1] + '-kept'")


def test_a_program_that_restores_the_dictionary_of_sys_holds_its_locks_to_its_end(server, name):
    def leaves_nothing(name):
        urls = [server.url(name + end) for end in ("", "-other")]
        script = [sys.executable, "-c", RESTORED, *urls]
        ended = subprocess.run(script, stdout=subprocess.PIPE, text=True, timeout=100)
        assert (ended.returncode, ended.stdout) == (0, "held\n")
        # Also the one that nothing but the end releases.
        return server.sessions(name + "-kept") == 0

    assert in_one_of_five_runs(leaves_nothing, name)


CHILD = """
import os, sys
import holdlock
lock = holdlock.open(sys.argv[1])
lock.acquire()
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
    lock.check()
    lock.release()
    print("still held", flush=True)
"""


def test_the_end_of_a_child_of_fork_releases_nothing(server, name):
    script = [sys.executable, "-c", CHILD, server.url(name)]
    ended = subprocess.run(script, stdout=subprocess.PIPE, text=True, timeout=100)
    assert (ended.returncode, ended.stdout) == (0, "still held\n")
