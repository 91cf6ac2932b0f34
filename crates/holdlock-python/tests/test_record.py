"""Locks that remember: tokens that rise, and holders that died."""

import asyncio
import os
import pickle
import signal
import sys
import threading
import time

import pytest

import holdlock
from conftest import run_forked, until
from holdlock import AsyncFileLock, FileLock, Run, StaleToken, Timeout, TokenGate

HOLDER = """
import os, sys
from holdlock import FileLock
lock = FileLock(sys.argv[1], record=True)
lock.acquire(note="migrating accounts")
print(lock.token)
sys.stdin.readline()
lock.release()
print("released")
sys.stdin.readline()
"""


@pytest.fixture
def recorded_holder(child):
    """Another process that holds the lock; the second result is its token."""

    def start(path):
        one = child(HOLDER, path)
        return one, int(one.process.stdout.readline())

    return start


def test_the_token_rises_over_processes_also_after_a_kill(path, recorded_holder):
    lock = FileLock(path, record=True)
    tokens = []
    for _ in range(3):
        with lock:
            tokens.append(lock.token)
        holder, token = recorded_holder(path)
        tokens.append(token)
        os.kill(holder.pid, signal.SIGKILL)
        holder.ended()
    assert tokens == sorted(set(tokens)) and len(tokens) == 6
    assert lock.token is None


def test_the_next_holder_is_told_that_the_last_one_died(path, recorded_holder):
    lock = FileLock(path, record=True)
    before = time.time()
    holder, token = recorded_holder(path)
    os.kill(holder.pid, signal.SIGKILL)
    holder.ended()
    with lock:
        last = lock.abandoned
        assert (last.pid, last.token, last.state) == (holder.pid, token, "held")
        assert last.note == "migrating accounts"
        assert before - 2 < last.since < time.time() + 2
        assert os.path.basename(sys.executable).partition("3")[0] in last.command
        assert f"pid {holder.pid}" in str(last) and "migrating accounts" in repr(last)
        assert pickle.loads(pickle.dumps(last)) == last
        assert FileLock(path + "2", record=True).abandoned is None
    assert lock.abandoned is None
    with lock:
        assert lock.abandoned is None  # it is said once


def test_a_release_leaves_nothing_abandoned(path, recorded_holder):
    holder, token = recorded_holder(path)
    lock = FileLock(path, record=True)
    assert lock.record().state == "held"
    assert holdlock.record(path).token == token
    holder.tell()
    holder.expect("released")
    record = lock.record()
    assert (record.state, record.pid, record.token) == ("released", holder.pid, token)
    with lock:
        assert lock.abandoned is None


def test_a_note_is_of_the_lock_or_of_the_request_and_also_of_one_that_waited(path):
    lock = FileLock(path, record=True, note="the nightly run")
    with lock:
        assert lock.record().note == "the nightly run"
    with lock.acquire(note="by hand"):
        assert lock.record().note == "by hand"

    with lock:
        noted = []

        def wait():
            with FileLock(path, record=True).acquire(note="after a wait"):
                noted.append(holdlock.record(path).note)

        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: lock.waiters())
    thread.join()
    assert noted == ["after a wait"]


def test_a_note_without_a_record_is_refused(path):
    with pytest.raises(ValueError, match="record=True"):
        FileLock(path, note="why")
    with pytest.raises(ValueError, match="record=True"):
        FileLock(path).acquire(note="why")
    with pytest.raises(ValueError, match="record"):
        FileLock(path, record=True, fallback="soft")


def test_without_a_record_nothing_is_written_and_there_is_no_token(path):
    with FileLock(path) as lock:
        assert lock.token is None and lock.abandoned is None
    assert os.path.getsize(path) == 0
    assert lock.record() is None and holdlock.record(path + " is missing") is None


def test_runs_are_recorded(path, child):
    lock = FileLock(path, record=True)
    began = time.time()
    with lock:
        assert lock.record().last_run is None and lock.record().last_success is None
        lock.record_run()
        run = lock.record().last_run
        assert began - 2 < run.began < time.time() + 2
        assert (run.ended, run.exit) == (None, None) and "not ended" in repr(run)
        lock.record_run(exit=0)
    record = holdlock.record(path)
    assert record.last_run == Run(run.began, record.last_run.ended, 0)
    assert record.last_run.ended >= run.began == record.last_success
    assert pickle.loads(pickle.dumps(record)) == record

    # The next one fails, and the next but one dies.
    with lock:
        lock.record_run()
        lock.record_run(exit=3)
        assert lock.record().last_run.exit == 3
        assert lock.record().last_success == run.began
    script = "import os, sys; from holdlock import FileLock; lock = FileLock(sys.argv[1], record=True)"
    script += "; lock.acquire(); lock.record_run(); os._exit(0)"
    child(script, path).ended()
    with lock:
        assert lock.abandoned.last_run.exit is None
        assert lock.abandoned.last_success == run.began
        assert lock.record().last_run == lock.abandoned.last_run


def test_only_an_exclusive_holder_records_a_run(path):
    lock = FileLock(path, record=True)
    with pytest.raises(RuntimeError, match="not held exclusively"):
        lock.record_run()
    with lock.acquire(shared=True), pytest.raises(RuntimeError, match="not held exclusively"):
        lock.record_run()
    with lock:
        for exit in (-1, 256):
            with pytest.raises(OverflowError):
                lock.record_run(exit=exit)
        with pytest.raises(RuntimeError, match="not held exclusively"):
            run_in_thread(lock.record_run)
    with FileLock(path + "2") as other, pytest.raises(ValueError, match="record=True"):
        other.record_run()

    async def main():
        async with AsyncFileLock(path, record=True) as lock:
            lock.record_run()
            lock.record_run(exit=0)
        assert lock.record().last_run.exit == 0

    asyncio.run(main())


def test_the_data_of_a_user_is_refused_and_stays(path):
    with open(path, "w") as file:
        file.write("precious")
    with pytest.raises(OSError) as caught:
        FileLock(path, record=True).acquire()
    assert caught.value.filename == path and caught.value.errno
    with open(path) as file:
        assert file.read() == "precious"


def test_shared_holders_have_no_token(path):
    with FileLock(path, record=True, shared=True) as lock:
        assert lock.token is None


def test_the_options_of_the_record_are_pickled(path):
    lock = pickle.loads(pickle.dumps(FileLock(path, record=True, note="why")))
    assert lock.has_record and lock.note == "why"
    with lock:
        assert lock.record().note == "why"


def test_a_child_of_fork_has_no_token(path):
    with FileLock(path, record=True) as lock:

        def in_child():
            assert lock.token is None and lock.abandoned is None

        assert lock.token
        assert run_forked(in_child) == ""


def test_tasks_have_tokens_and_learn_of_the_dead(path, recorded_holder):
    holder, token = recorded_holder(path)
    os.kill(holder.pid, signal.SIGKILL)
    holder.ended()

    async def main():
        async with AsyncFileLock(path, record=True, note="asynchronous") as lock:
            assert lock.token > token
            assert lock.abandoned.pid == holder.pid
            assert lock.record().note == "asynchronous"
            waiting = AsyncFileLock(path, record=True, note="waited")
            task = asyncio.ensure_future(waiting.acquire())
            for _ in range(10):
                await asyncio.sleep(0)
            assert not task.done()
        await task
        assert waiting.record().note == "waited" and waiting.token
        await waiting.release()

    asyncio.run(main())


def test_a_gate_refuses_the_token_of_an_earlier_holder(path):
    lock, gate = FileLock(path, record=True), TokenGate(path + ".gate")
    with lock:
        old = lock.token
        with gate.enter(old), pytest.raises(Timeout):
            # Another thread would wait.
            run_in_thread(lambda: gate.enter(old, timeout=0))
    with lock, gate.enter(lock.token):
        new = lock.token
    with pytest.raises(StaleToken) as caught:
        gate.enter(old)
    error = caught.value
    assert (error.token, error.newest, error.filename) == (old, new, path + ".gate")
    copied = pickle.loads(pickle.dumps(error))
    assert (copied.token, copied.newest, str(copied)) == (old, new, str(error))
    inside = pickle.loads(pickle.dumps(gate)).enter(new)
    inside.leave()
    inside.leave()
    with gate.enter(new):
        pass


def test_a_gate_leaves_other_files_alone(path):
    with open(path, "w") as file:
        file.write("precious")
    with pytest.raises(OSError) as caught:
        TokenGate(path).enter(1)
    assert caught.value.filename == path
    with open(path) as file:
        assert file.read() == "precious"


def run_in_thread(function):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_a_timeout_says_for_how_long_and_why_the_lock_is_held(path, recorded_holder):
    holder, _ = recorded_holder(path)
    with pytest.raises(Timeout) as caught:
        FileLock(path, record=True).acquire(timeout=0)
    text = str(caught.value)
    assert f"pid {holder.pid}" in text and " s: migrating accounts" in text
    assert str(pickle.loads(pickle.dumps(caught.value))) == text
