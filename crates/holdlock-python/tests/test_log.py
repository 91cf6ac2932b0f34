"""The debug log has filelock's messages, and costs nothing if no program listens."""

import asyncio
import logging
import subprocess
import sys

import pytest

import holdlock
from holdlock import (
    AsyncFileLock,
    AsyncSoftFileLock,
    BaseAsyncFileLock,
    CancelToken,
    FileLock,
    ReadWriteLock,
    Semaphore,
    SoftFileLock,
    Timeout,
)

from strikes import at_each_line

KINDS = pytest.mark.parametrize("kind", [FileLock, SoftFileLock])


@pytest.fixture
def said(caplog):
    """What was logged for a lock, without its name and path."""
    caplog.set_level(logging.DEBUG, logger="holdlock")

    def messages(lock, path):
        return [
            record.getMessage().replace(f" {id(lock)}", "").replace(f" on {path}", "")
            for record in caplog.records
            if record.name == "holdlock" and str(id(lock)) in record.getMessage()
        ]

    return messages


@KINDS
def test_a_section_is_logged(kind, path, said):
    lock = kind(path)
    with lock, lock:
        pass
    assert said(lock, path) == [
        "Attempting to acquire lock",
        "Lock acquired",
        "Attempting to release lock",
        "Lock released",
    ]


# The shorter one is over before there is a pause.
@pytest.mark.parametrize("timeout", [1e-9, 0.1])
@pytest.mark.parametrize("kind", [FileLock, SoftFileLock, AsyncFileLock, AsyncSoftFileLock])
def test_a_wait_is_logged(kind, path, said, child, timeout):
    holder = child(
        f"import sys, holdlock; lock = holdlock.{kind.__name__.removeprefix('Async')}({path!r});"
        "lock.acquire(); print('held'); sys.stdin.readline()"
    )
    holder.expect("held")
    lock = kind(path)

    async def in_task():
        await lock.acquire(timeout=timeout)

    with pytest.raises(Timeout):
        if isinstance(lock, BaseAsyncFileLock):
            asyncio.run(in_task())
        else:
            lock.acquire(timeout=timeout)
    heard = said(lock, path)
    assert heard[0] == "Attempting to acquire lock"
    assert "Lock not acquired, waiting for it ..." in heard
    assert heard[-1] == "Timeout on acquiring lock"


def test_a_cancelled_wait_is_not_logged_as_a_timeout(path, said, holder):
    holder(path)
    token = CancelToken()
    token.cancel()
    lock = FileLock(path)
    with pytest.raises(Timeout):
        lock.acquire(cancel=token)
    assert said(lock, path)[-1] == "Cancellation requested for lock"
    with SoftFileLock(path + "2"):
        soft = SoftFileLock(path + "2")
        with pytest.raises(Timeout):
            soft.acquire(timeout=60, cancel_check=lambda: True)
        assert said(soft, path + "2")[-1] == "Cancellation requested for lock"


def test_a_task_that_gives_up_says_why(path, said, holder):
    holder(path)

    async def give_up(**how):
        lock = AsyncFileLock(path)
        with pytest.raises(Timeout):
            await lock.acquire(**how)
        return said(lock, path)[-1]

    assert asyncio.run(give_up(timeout=0.01)) == "Timeout on acquiring lock"
    assert asyncio.run(give_up(cancel_check=lambda: True)) == "Cancellation requested for lock"


@KINDS
def test_in_place_of_filelock_it_logs_as_filelock(kind, path, caplog):
    caplog.set_level(logging.DEBUG)
    holdlock.install_as_filelock()
    try:
        with kind(path):
            pass
        names = {record.name for record in caplog.records}
    finally:
        holdlock.uninstall_as_filelock()
    assert names == {"filelock"}


HANDLERS = {
    "another lock": lambda path: FileLock(path + ".log"),
    "a soft lock": lambda path: SoftFileLock(path + ".log"),
    "a writer": lambda path: ReadWriteLock(path + ".log").write_lock(),
    "a slot": lambda path: Semaphore(path + ".log", 1),
}


@pytest.mark.parametrize("other", HANDLERS.values(), ids=list(HANDLERS))
@KINDS
def test_a_handler_may_use_a_lock(kind, path, other, said):
    seen = []

    class Handler(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())
            if len(seen) < 50:
                with other(path):
                    pass

    handler, lock = Handler(), kind(path)
    logging.getLogger("holdlock").addHandler(handler)
    try:
        with lock:
            pass
    finally:
        logging.getLogger("holdlock").removeHandler(handler)
    assert len(seen) == 4 and all(f" {id(lock)} " in message for message in seen)
    with lock:
        pass
    assert len(said(lock, path)) == 8


def test_a_level_that_changes_is_noticed(path, said):
    lock = FileLock(path)
    logging.getLogger("holdlock").setLevel(logging.INFO)
    with lock:
        pass
    assert said(lock, path) == []
    logging.getLogger("holdlock").setLevel(logging.DEBUG)
    with lock:
        pass
    assert len(said(lock, path)) == 4


def test_the_package_does_not_import_logging(path):
    program = """
import sys
from holdlock import FileLock
with FileLock(sys.argv[1]):
    pass
assert "logging" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program, path], check=True)


class Broken(logging.Handler):
    """Raises while one message is written, as a broken handler or a signal's handler does."""

    def __init__(self, message, error):
        super().__init__()
        self.message = message
        self.error = error

    def emit(self, record):
        if record.getMessage().startswith(self.message):
            raise self.error


@pytest.fixture
def break_log(said):
    handlers = []

    def add(message, error):
        handlers.append(Broken(message, error))
        logging.getLogger("holdlock").addHandler(handlers[-1])

    yield add
    for handler in handlers:
        logging.getLogger("holdlock").removeHandler(handler)


MESSAGES = ["Attempting to acquire", "Lock ", "Attempting to release"]


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("kind", [FileLock, SoftFileLock, AsyncFileLock, AsyncSoftFileLock])
def test_an_error_of_the_log_is_not_one_of_the_lock(kind, path, break_log, message):
    break_log(message, KeyError("of the log"))
    lock, entered = kind(path), []

    async def in_task():
        async with lock:
            entered.append(lock.is_locked)

    if isinstance(lock, BaseAsyncFileLock):
        asyncio.run(in_task())
    else:
        with lock:
            entered.append(lock.is_locked)
    assert (entered, lock.is_locked) == ([True], False)


@pytest.mark.parametrize("message", MESSAGES)
def test_an_interrupt_while_the_log_is_written_is_not_lost(path, break_log, message):
    break_log(message, KeyboardInterrupt())
    lock = FileLock(path)
    with pytest.raises(KeyboardInterrupt):
        with lock:
            pass
    assert not lock.is_locked


def test_a_soft_lock_is_released_although_its_message_is_interrupted(path, break_log):
    break_log("Attempting to release", KeyboardInterrupt())
    lock = SoftFileLock(path)
    with pytest.raises(KeyboardInterrupt):
        with lock:
            pass
    assert not lock.is_locked


def test_an_exception_at_any_line_of_the_log_does_not_silence_it(path, said):
    def section():
        with FileLock(path):
            pass

    assert list(at_each_line(section, {"_log.py"}))[0]
    lock = FileLock(path)
    with lock:
        pass
    assert "Lock released" in said(lock, path)
