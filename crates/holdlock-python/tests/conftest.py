"""Shared by the tests: lock files, other processes, and a watchdog."""

import faulthandler
import os
import signal
import subprocess
import sys
import time

import pytest

from holdlock import FileLock


# A shell makes its background jobs ignore it, and what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Far more than anything here takes on a busy machine.
PATIENCE = 120


def pytest_configure(config):
    # Before a test begins: from then on, pytest keeps what is written to the descriptor 2.
    global stderr
    stderr = os.dup(2)


@pytest.fixture(autouse=True)
def watchdog():
    """Ends a run that hangs, and shows where."""
    faulthandler.dump_traceback_later(3 * PATIENCE, exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "test.lock")


class Child:
    """Another process, which runs a script and reports its progress by lines."""

    def __init__(self, script, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid

    def expect(self, line):
        heard = self.process.stdout.readline().rstrip("\n")
        assert heard == line, f"the other process said {heard!r} instead of {line!r}"

    def tell(self, line=""):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ended(self):
        return self.process.wait(timeout=PATIENCE)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def child():
    """Starts other processes; they end with the test."""
    children = []

    def start(script, *arguments):
        children.append(Child(script, *arguments))
        return children[-1]

    yield start
    for one in children:
        one.stop()


HOLDER = """
import sys
from holdlock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire(shared=len(sys.argv) > 2)
print("held")
sys.stdin.readline()
lock.release()
print("released")
sys.stdin.readline()
"""


@pytest.fixture
def holder(child):
    """Another process that holds the lock until the test tells it to release it."""

    def start(path, *arguments):
        started = child(HOLDER, path, *arguments)
        started.expect("held")
        return started

    return start


def until(what, seconds=PATIENCE):
    """Waits for an event."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def waits(path, pid):
    """Whether that process is in the kernel's queue."""
    return any(waiter.pid == pid for waiter in FileLock(path).waiters())


def run_forked(function):
    """Runs the function in a child of fork; returns what it raised, in words, or ''."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os.write(writer, b"+")
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        heard = said.read()
    os.waitpid(pid, 0)
    return "" if heard == "+" else heard or "it died"
