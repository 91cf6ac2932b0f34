"""Exceptions of signal handlers strike an acquisition between hosts anywhere; nothing stays."""

import asyncio

import holdlock
from postgres import name, server  # noqa: F401  # fixtures
from strikes import at_each_line


def test_an_acquire_that_is_struck_at_any_line_acquires_nothing(server, name):
    lock = holdlock.open(server.url(name))
    for struck in at_each_line(lambda: lock.acquire(timeout=60)):
        assert lock.is_locked is not struck
    lock.check()
    lock.release()
    server.nothing_left(name)


def test_an_acquire_that_is_struck_keeps_what_was_acquired_before(server, name):
    lock = holdlock.open(server.url(name))
    lock.acquire()
    for struck in at_each_line(lambda: lock.acquire(timeout=60)):
        assert lock.lock_counter == (1 if struck else 2)
    lock.release(force=True)


def test_an_asynchronous_acquire_that_is_struck_at_any_line_acquires_nothing(server, name):
    lock = holdlock.open_async(server.url(name))
    other = holdlock.open(server.url(name))

    # The other files have callbacks of the loop.
    files = ["_async_engine_lock.py", "_pending.py", "_engine_native.py"]
    for struck in at_each_line(lambda: asyncio.run(acquire(lock)), files):
        if not struck:
            asyncio.run(lock.release())  # what an ended task holds
        with other.acquire(timeout=60):
            pass
    server.nothing_left(name)


async def acquire(lock):
    await lock.acquire(timeout=60)
