"""Locks over etcd: the same classes, with another engine behind them."""

import asyncio
import os
import subprocess
import sys
import threading

import pytest

import holdlock
from conftest import until
from etcd import server  # noqa: F401  # fixture
from holdlock import CancelToken, Cancelled, LockLost, Timeout
from postgres import name  # noqa: F401  # fixture
from test_engine import engine_holder  # noqa: F401  # fixture


def test_a_timeout_names_the_holder_of_another_process(server, name, engine_holder):
    holder = engine_holder(server.url(name))
    lock = holdlock.open(server.url(name))
    assert type(lock) is holdlock.EngineLock and lock.name.startswith("etcd://")
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
    server.nothing_left(name)


def test_a_block_that_ends_without_the_lock_raises(server, name):
    lock, heard = holdlock.open(server.url(name)), threading.Event()
    with pytest.raises(LockLost):
        with lock:
            lock.lost.add_callback(lambda error: heard.set())
            server.terminate(name)
            assert lock.lost.wait(60) and heard.wait(60)
            with pytest.raises(LockLost):
                lock.ensure_held()
    with lock.acquire(timeout=60):
        lock.ensure_held()


def test_a_holder_is_ended_by_its_token(server, name):
    holder, other = (holdlock.open(server.url(name)) for _ in range(2))
    holder.acquire()
    token = holder.token
    assert other.break_holder(token - 1) is None and holder.is_valid()
    broken = other.break_holder(token)
    assert (broken.token, broken.pid) == (token, os.getpid())
    assert holder.lost.wait(60)
    with pytest.raises(LockLost):
        holder.release()
    other.acquire(timeout=60)

    async def main():
        lock = holdlock.open_async(server.url(name))
        assert await lock.break_holder(token) is None
        assert (await lock.break_holder(other.token)).pid == os.getpid()

    asyncio.run(main())
    assert other.lost.wait(60)
    with pytest.raises(LockLost):
        other.release()
    server.nothing_left(name)


def test_an_engine_remembers_runs(server, name, engine_holder):
    lock = holdlock.open(server.url(name))
    assert lock.last_run() == holdlock.History(None, None)
    with pytest.raises(RuntimeError, match="not held"):
        lock.record_run(True)
    with lock:
        for wrong in ({"ago": 1.0}, {"keep": 1.0}, {"ago": -1.0, "keep": 1.0}):
            with pytest.raises(ValueError):
                lock.record_run(True, **wrong)
        assert lock.record_run(True) == holdlock.History(None, None)
        last = lock.last_run()
        assert last.last_run is None and last.at_work.pid == os.getpid()
        before = lock.record_run(False, ago=100.0, keep=1000.0)
        assert before.at_work.pid == os.getpid()
        assert lock.last_run().at_work is None and lock.last_run().last_run >= 100

    async def main():
        async with holdlock.open_async(server.url(name)) as lock:
            past = await lock.record_run(True)
            assert 100 <= past.last_run < 1000 and past.at_work is None
            assert (await lock.last_run()).at_work.pid == os.getpid()

    asyncio.run(main())
    # It was released, and its work was not said to have ended.
    assert lock.last_run().at_work.pid == os.getpid()


def test_shared_locks_and_slots(server, name):
    one, other = (holdlock.open(server.url(name), shared=True) for _ in range(2))
    with one, other, pytest.raises(Timeout):
        holdlock.open(server.url(name)).acquire(timeout=0)
    url = server.url(name + "-slots", "&slots=2")
    first, second, third = (holdlock.open(url) for _ in range(3))
    with first, second, pytest.raises(Timeout):
        third.acquire(timeout=0)


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

    asyncio.run(main())
    until(lambda: server.sessions(name) == 0)


ENDING = """
import sys
import holdlock

lock = holdlock.open(sys.argv[1])


def work():
    lock.acquire()
    sys.exit()


work()
"""


def test_a_program_that_ends_gives_its_lock_back(server, name):
    left = 0
    for number in range(20):
        url = server.url(f"{name}-{number}")
        subprocess.run([sys.executable, "-c", ENDING, url], check=True)
        try:
            holdlock.open(url).acquire(timeout=0).lock.release()
        except holdlock.Timeout:
            left += 1
    # A program waits no longer than a second for a slow server.
    assert left < 15
