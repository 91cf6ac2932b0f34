"""Exceptions of signal handlers strike an acquisition between hosts anywhere; nothing stays."""

import asyncio

import pytest

import holdlock
from postgres import name, server  # noqa: F401  # fixtures
from strikes import at_each_line, at_each_return

STRIKES = pytest.mark.parametrize("at_each", [at_each_line, at_each_return])


@STRIKES
def test_an_acquire_that_is_struck_anywhere_acquires_nothing(server, name, at_each):
    lock = holdlock.open(server.url(name))
    for struck in at_each(lambda: lock.acquire(timeout=60)):
        assert lock.is_locked is not struck
    lock.check()
    lock.release()
    server.nothing_left(name)


@STRIKES
def test_an_acquire_that_is_struck_keeps_what_was_acquired_before(server, name, at_each):
    lock = holdlock.open(server.url(name))
    lock.acquire()
    for struck in at_each(lambda: lock.acquire(timeout=60)):
        assert lock.lock_counter == (1 if struck else 2)
    lock.release(force=True)


@STRIKES
def test_an_asynchronous_acquire_that_is_struck_anywhere_acquires_nothing(server, name, at_each):
    lock = holdlock.open_async(server.url(name))
    other = holdlock.open(server.url(name))

    # The other files have callbacks of the loop.
    files = ["_async_engine_lock.py", "_pending.py", "_engine_native.py"]
    for struck in at_each(lambda: asyncio.run(acquire(lock)), files):
        if not struck:
            asyncio.run(lock.release())  # what an ended task holds
        with other.acquire(timeout=60):
            pass
    server.nothing_left(name)


@STRIKES
def test_a_release_for_an_ended_task_that_is_struck_anywhere_can_be_repeated(
    server, name, at_each
):
    lock = holdlock.open_async(server.url(name))
    other = holdlock.open(server.url(name))
    files = ["_async_engine_lock.py", "_pending.py"]
    asyncio.run(acquire(lock))
    for struck in at_each(lambda: asyncio.run(lock.release()), files):
        if struck:
            asyncio.run(lock.release())
        with other.acquire(timeout=60):
            pass
        asyncio.run(acquire(lock))
    asyncio.run(lock.release())
    server.nothing_left(name)


async def acquire(lock):
    await lock.acquire(timeout=60)
