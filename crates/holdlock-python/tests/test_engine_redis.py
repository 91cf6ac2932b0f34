"""Locks over Redis: the same classes, with another engine behind them."""

import asyncio
import os

import pytest

import holdlock
from holdlock import CancelToken, Cancelled, LockLost, Timeout
from postgres import name  # noqa: F401  # fixture
from redis_server import server  # noqa: F401  # fixture
from test_engine import engine_holder  # noqa: F401  # fixture


def test_a_timeout_names_the_holder_of_another_process(server, name, engine_holder):
    holder = engine_holder(server.url(name))
    lock = holdlock.open(server.url(name))
    assert type(lock) is holdlock.EngineLock and lock.name.startswith("redis://")
    # The limit includes the connection.
    with pytest.raises(Timeout) as raised:
        lock.acquire(timeout=10)
    (member,) = raised.value.holders
    assert (member.pid, member.command) == (holder.pid, "report.py")
    assert member.note == "the nightly report"
    holder.tell()
    with lock.acquire(timeout=60):
        assert lock.token > holder.token and lock.is_valid()
        lock.check()
    assert not lock.holders()


def test_a_block_that_ends_without_the_lock_raises(server, name):
    lock, other = (holdlock.open(server.brief(name)) for _ in range(2))
    with pytest.raises(LockLost):
        with lock:
            assert other.break_holder(lock.token).pid == os.getpid()
            assert lock.lost.wait(60)
            with pytest.raises(LockLost):
                lock.ensure_held()
    with lock.acquire(timeout=60):
        lock.ensure_held()


def test_cancelled_requests_leave_nothing(server, name):
    async def main():
        async with holdlock.open_async(server.url(name)) as lock:
            token, other = CancelToken(), holdlock.open_async(server.url(name))
            tasks = [
                asyncio.ensure_future(other.acquire(cancel=token)),
                asyncio.ensure_future(other.acquire()),
            ]
            while len(await lock.waiters()) != 2:
                await asyncio.sleep(0.005)
            token.cancel()
            tasks[1].cancel()
            with pytest.raises(Cancelled):
                await tasks[0]
            with pytest.raises(asyncio.CancelledError):
                await tasks[1]
            assert not other.is_locked
            while await lock.waiters():
                await asyncio.sleep(0.005)

    asyncio.run(main())
    assert not holdlock.open(server.url(name)).holders()
