"""Several locks at once: all of them or none."""

import asyncio
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest

from conftest import run_forked, until
from holdlock import (
    AsyncFileLock,
    AsyncLockSet,
    CancelToken,
    Cancelled,
    Deadlock,
    FileLock,
    LockSet,
    SoftFileLock,
    Timeout,
)


@pytest.fixture
def paths(tmp_path):
    return [str(tmp_path / name) for name in ("a", "b", "c")]


def is_free(path):
    try:
        FileLock(path).acquire(timeout=0).lock.release()
    except Timeout:
        return False
    return True


def test_after_a_timeout_no_lock_of_the_set_is_held_and_the_one_in_the_way_is_named(paths, holder):
    other = holder(paths[1])
    locks = LockSet([FileLock(path) for path in paths])
    began = time.monotonic()
    with pytest.raises(Timeout) as caught:
        locks.acquire(timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 60
    assert caught.value.lock_file == paths[1]
    assert [one.pid for one in caught.value.holders] == [other.pid]
    assert not locks.locked and not any(lock.locked for lock in locks.locks)
    assert is_free(paths[0]) and is_free(paths[2])
    with pytest.raises(Timeout):
        locks.acquire(blocking=False)


def test_a_waiting_set_holds_nothing_and_gets_all_when_the_last_is_released(paths, holder):
    other = holder(paths[2])
    locks = LockSet(paths)
    acquired = []
    thread = threading.Thread(target=lambda: acquired.append(locks.acquire()))
    thread.start()
    until(lambda: FileLock(paths[2]).waiters())
    assert is_free(paths[0]) and is_free(paths[1])
    other.tell()
    thread.join()
    assert acquired and not any(is_free(path) for path in paths)


def test_the_members_are_held_by_their_objects_within_the_block(paths):
    first, second = FileLock(paths[0]), FileLock(paths[1])
    locks = LockSet([first, (second, "shared"), paths[2]])
    with locks as entered:
        assert entered is locks and locks.locked
        assert first.locked and second.locked
        with first, locks:  # the holder may acquire them again
            assert first.lock_counter == 3
        with FileLock(paths[1], shared=True, timeout=0):
            pass
        assert not is_free(paths[1]) and not is_free(paths[2])
    assert first.lock_counter == 0 and not locks.locked
    assert all(map(is_free, paths))
    locks.release()  # does nothing


def test_a_member_that_is_held_already_stays_held(paths, holder):
    first = FileLock(paths[0])
    with first:
        with LockSet([first, paths[1]]):
            assert first.lock_counter == 2
        holder(paths[1])
        with pytest.raises(Timeout):
            LockSet([first, paths[1]]).acquire(timeout=0.01)
        assert first.lock_counter == 1


def test_members_that_are_one_file_are_acquired_once(tmp_path, paths):
    first = FileLock(paths[0])
    first.acquire().lock.release()
    link = str(tmp_path / "link")
    os.link(paths[0], link)
    locks = LockSet([first, (first, "shared"), paths[0], (link, "shared")], timeout=0)
    assert len(locks.locks) == 3
    with locks:
        assert all(lock.locked for lock in locks.locks)
        assert not is_free(paths[0])
    assert is_free(paths[0])


CROWD = """
import os, random, sys
from holdlock import LockSet
place, seed = sys.argv[1:]
random.seed(int(seed))
for _ in range(40):
    names = random.sample("abcdefgh", random.randint(2, 4))
    with LockSet([f"{place}/{name}" for name in names], timeout=100):
        marks = [f"{place}/{name}.mark" for name in names]
        for mark in marks:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # fails if another one is inside
        for mark in marks:
            os.unlink(mark)
"""


def test_overlapping_sets_exclude_each_other_and_make_progress(tmp_path):
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", CROWD, str(tmp_path), str(seed)], stderr=subprocess.PIPE
        )
        for seed in range(5)
    ]
    for one in crowd:
        assert one.communicate(timeout=250)[1] == b""
        assert one.returncode == 0


def test_a_token_ends_the_wait_of_a_set(paths, holder):
    holder(paths[0])
    token = CancelToken()

    def cancel():
        until(lambda: FileLock(paths[0]).waiters())
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled) as caught:
        LockSet(paths).acquire(cancel=token)
    thread.join()
    assert caught.value.lock_file == paths[0] and is_free(paths[1])


def test_a_lock_that_the_thread_holds_by_another_object_is_a_deadlock(paths):
    with FileLock(paths[1]), pytest.raises(Deadlock):
        LockSet(paths).acquire()
    assert all(map(is_free, paths))


def test_a_thread_joins_another_one_that_shares_the_objects(paths):
    first = FileLock(paths[0], thread_local=False)
    locks = LockSet([first, paths[1]])
    first.acquire()
    entered = threading.Event()

    def work():
        with locks:
            entered.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(100)
    thread.join()
    assert first.lock_counter == 1
    first.release()
    assert is_free(paths[0])


def test_a_waiting_set_joins_a_thread_that_shares_an_object_and_was_quicker(paths, holder):
    other = holder(paths[1])
    first = FileLock(paths[0], thread_local=False)
    locks = LockSet([first, paths[1]], timeout=100)
    thread = threading.Thread(target=lambda: locks.acquire().lock.release())
    thread.start()
    until(FileLock(paths[1]).waiters)
    with first:  # the waiting set does not hold it
        other.tell()
        thread.join()  # the set has joined this thread
        assert first.lock_counter == 1
    assert is_free(paths[0]) and is_free(paths[1])


def test_a_set_that_has_joined_a_thread_acquires_what_was_released_meanwhile(paths, holder):
    other = holder(paths[1])
    first = FileLock(paths[0], thread_local=False)
    first.acquire()
    held = []

    def work():
        with LockSet([first, paths[1]], timeout=100):
            held.append((first.lock_counter, is_free(paths[0])))

    thread = threading.Thread(target=work)
    thread.start()
    until(FileLock(paths[1]).waiters)
    first.release()
    assert is_free(paths[0])  # the set holds nothing while it waits
    other.tell()
    thread.join()
    assert held == [(1, False)]


def test_a_waiting_set_joins_a_task_that_waited_before_it(paths, holder):
    other = holder(paths[0])

    async def main():
        first, leave = AsyncFileLock(paths[0]), asyncio.Event()

        async def hold():
            async with first:
                await asyncio.wait_for(leave.wait(), 100)

        async def join():
            async with AsyncLockSet([first, paths[1]]):
                leave.set()

        tasks = [asyncio.ensure_future(hold())]
        while not first.waiters():
            await asyncio.sleep(0.001)
        tasks.append(asyncio.ensure_future(join()))
        for _ in range(10):
            await asyncio.sleep(0)
        other.tell()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert is_free(paths[0]) and is_free(paths[1])


def test_a_set_waits_for_a_thread_that_excludes_the_others(paths):
    first = FileLock(paths[0], thread_local="mutex")
    locks = LockSet([first, paths[1]])
    held, release = threading.Event(), threading.Event()

    def work():
        with first:
            held.set()
            release.wait(100)

    thread = threading.Thread(target=work)
    thread.start()
    assert held.wait(100)
    with pytest.raises(Timeout):
        locks.acquire(timeout=0.05)
    assert is_free(paths[1])
    release.set()
    with locks:
        assert first.locked
    thread.join()


def test_a_child_of_fork_does_not_hold_the_set(paths):
    locks = LockSet(paths)
    with locks:

        def in_child():
            assert not locks.locked
            locks.release()
            with pytest.raises(RuntimeError, match="forked"):
                locks.acquire(timeout=0)

        assert run_forked(in_child) == ""
        assert locks.locked and not is_free(paths[0])


def test_a_set_can_be_pickled_and_shows_its_state(paths):
    locks = LockSet([paths[0], (paths[1], "shared")], timeout=7, blocking=False)
    with locks:
        copied = pickle.loads(pickle.dumps(locks))
        assert (copied.timeout, copied.blocking, copied.locked) == (7, False, False)
        assert repr(locks) == f"<LockSet of {paths[0]!r}, {paths[1]!r} (shared), held>"
    assert repr(copied) == f"<LockSet of {paths[0]!r}, {paths[1]!r} (shared), not held>"
    with copied:
        assert not is_free(paths[1])
    with LockSet([]):
        pass


def test_wrong_members_are_refused(paths):
    for wrong in (SoftFileLock(paths[0]), AsyncFileLock(paths[0]), 3):
        with pytest.raises(TypeError, match="FileLock or a path"):
            LockSet([wrong])
    with pytest.raises(TypeError):
        AsyncLockSet([FileLock(paths[0])])
    with pytest.raises(ValueError, match="'exclusive' or 'shared'"):
        LockSet([(paths[0], "read")])
    with pytest.raises(ValueError, match="on_acquired"):
        LockSet([FileLock(paths[0], on_acquired=print)])
    with pytest.raises(TypeError):
        LockSet(paths, timeout="5")


def test_tokens_rise_for_the_members_of_a_set(paths):
    lock = FileLock(paths[0], record=True)
    with LockSet([lock, paths[1]]):
        first = lock.token
    with lock:
        assert lock.token > first


def test_tasks_wait_for_sets_while_others_run(paths, holder):
    other = holder(paths[1])
    inside = []

    async def work(mine):
        async with AsyncLockSet(mine):
            inside.append(mine)
            assert len(inside) == 1
            await asyncio.sleep(0.001)
            inside.remove(mine)

    async def main():
        tasks = [asyncio.ensure_future(work(mine)) for mine in (paths, paths[::-1], paths[1:]) * 3]
        while not FileLock(paths[1]).waiters():
            await asyncio.sleep(0.001)
        other.tell()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert inside == [] and all(map(is_free, paths))


def test_a_cancelled_task_holds_no_lock_of_its_set(paths, holder):
    holder(paths[2])

    async def main():
        locks = AsyncLockSet(paths)
        with pytest.raises(Timeout) as caught:
            await locks.acquire(timeout=0.05)
        assert caught.value.lock_file == paths[2]
        task = asyncio.ensure_future(locks.acquire())
        while not FileLock(paths[2]).waiters():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert FileLock(paths[2]).waiters() == []
        token = CancelToken()
        task = asyncio.ensure_future(locks.acquire(cancel=token))
        while not FileLock(paths[2]).waiters():
            await asyncio.sleep(0.001)
        token.cancel()
        with pytest.raises(Cancelled):
            await task
        assert not locks.locked and is_free(paths[0]) and is_free(paths[1])
        async with await AsyncLockSet(paths[:2]).acquire(timeout=0) as held:
            assert held.locked
        with pytest.raises(NotImplementedError):
            with locks:
                pass

    asyncio.run(main())


GREEN = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent, sys
from holdlock import LockSet
inside = []
def work(paths):
    with LockSet(paths) as locks:
        assert locks.locked and not inside
        inside.append(1)
        gevent.sleep(0.001)
        inside.pop()
place = sys.argv[1]
sets = [[place + "/a", place + "/b"], [place + "/b", place + "/c", place + "/a"]] * 8
gevent.joinall([gevent.spawn(work, paths) for paths in sets], raise_error=True)
print("done")
"""


def test_a_greenlet_holds_a_set_and_its_wait_lets_others_run(tmp_path):
    pytest.importorskip("gevent")
    ran = subprocess.run(
        [sys.executable, "-c", GREEN, str(tmp_path)], capture_output=True, text=True, timeout=100
    )
    assert ran.stdout == "done\n", ran.stderr
