"""What locks can do for threads, for tasks: notes, what was abandoned, upgrades, gates."""

import asyncio
import gc
import threading

import pytest

from conftest import until
from loops import loop  # noqa: F401
from holdlock import (
    AsyncFileLock,
    AsyncTokenGate,
    Deadlock,
    FileLock,
    NotAtomic,
    StaleToken,
    Timeout,
    TokenGate,
    record,
)
from test_record import HOLDER as RECORDED
from test_upgrade import READER


def test_a_task_gives_a_note_also_if_it_waits(path, loop):
    lock = AsyncFileLock(path, record=True, note="usual")

    async def main():
        async with await lock.acquire(note="at once"):
            assert record(path).note == "at once"
        async with lock:
            assert record(path).note == "usual"
        other = FileLock(path)
        other.acquire()

        async def work():
            async with await AsyncFileLock(path, record=True).acquire(note="after a wait"):
                assert record(path).note == "after a wait"

        async def let_in():
            while not other.waiters():
                await loop.sleep(0.001)
            other.release()

        await loop.all_of(work, let_in)
        with pytest.raises(ValueError, match="a note needs a record"):
            await AsyncFileLock(path).acquire(note="lost")
        with pytest.raises(TypeError, match="note must be a str, not int"):
            await lock.acquire(note=5)

    loop.run(main)


def test_a_note_may_have_bytes_that_are_no_text(path):
    with FileLock(path, record=True).acquire(note="copying \udcff"):
        assert record(path).note.startswith("copying ")


@pytest.mark.parametrize("of_task", [False, True])
def test_what_a_holder_leaves_abandoned_is_abandoned_for_the_next(path, child, of_task):
    holder = child(RECORDED, path)
    assert int(holder.process.stdout.readline()) > 0
    holder.process.kill()
    holder.ended()
    if of_task:

        async def main():
            lock = AsyncFileLock(path, record=True)
            await lock.acquire()
            await lock.acquire()
            assert lock.abandoned.pid == holder.pid
            await lock.release_abandoned()
            assert not lock.locked
            with pytest.raises(RuntimeError, match="as abandoned: it is not held"):
                await lock.release_abandoned()

        asyncio.run(main())
    else:
        lock = FileLock(path, record=True)
        lock.acquire()
        assert lock.abandoned.pid == holder.pid
        lock.release_abandoned()
        assert not lock.locked
        with pytest.raises(RuntimeError, match="as abandoned: it is not held"):
            lock.release_abandoned()
    with FileLock(path, record=True) as next_one:
        assert next_one.abandoned.pid == holder.pid
    with FileLock(path, record=True) as next_one:
        assert next_one.abandoned is None


def test_an_upgrade_of_a_task_waits_for_the_readers_while_others_run(path, child, loop):
    reader = child(READER, path, "knows")
    reader.expect("held")

    async def main():
        lock = AsyncFileLock(path, upgradeable=True)
        async with await lock.acquire_upgradeable() as guard:
            assert guard.exclusive is False and "shared" in repr(guard)
            with pytest.raises(Timeout):
                await guard.upgrade(timeout=0.01)
            assert await loop.cancelled_after(0.05, guard.upgrade)
            assert guard.exclusive is False

            async def let_in():
                while "being upgraded" not in repr(guard):
                    await loop.sleep(0.001)
                reader.tell()

            await loop.all_of(guard.upgrade, let_in)
            assert guard.exclusive is True and guard.lock_file == path
            with pytest.raises(Timeout):
                FileLock(path, shared=True).acquire(timeout=0)
            guard.downgrade()
            assert guard.exclusive is False
        assert guard.exclusive is None
        with pytest.raises(RuntimeError, match="was released"):
            await guard.upgrade()
        with FileLock(path, timeout=0):
            pass

    loop.run(main)


def test_a_task_that_has_the_right_does_not_wait_for_itself(path, loop):
    async def main():
        lock, other = (AsyncFileLock(path, upgradeable=True) for _ in range(2))
        async with await lock.acquire_upgradeable() as guard:
            for request in (
                lock.acquire,
                other.acquire,
                lock.acquire_upgradeable,
                other.acquire_upgradeable,
            ):
                with pytest.raises(Deadlock, match="by this task"):
                    await request()
            with pytest.raises(Timeout):
                await other.acquire(timeout=0.01)
            async with await other.acquire(shared=True):  # this does not wait
                with pytest.raises(Deadlock, match="by this task"):
                    await guard.upgrade()
            await guard.upgrade()

            # Another task waits.
            async def wait():
                async with other:
                    pass

            async def release():
                while not lock.waiters():
                    await loop.sleep(0.001)
                await guard.release()

            await loop.all_of(wait, release)
        async with other:
            pass

    loop.run(main)


def test_one_task_at_a_time_has_the_right_to_upgrade(path):
    async def main():
        lock = AsyncFileLock(path, upgradeable=True)
        async with await lock.acquire_upgradeable():
            with pytest.raises(Timeout):
                await lock.acquire_upgradeable(timeout=0)
            with pytest.raises(Timeout):
                await lock.acquire_upgradeable(timeout=0.01)
            waiting = asyncio.ensure_future(lock.acquire_upgradeable())
            await asyncio.sleep(0.01)
            assert not waiting.done()
        async with await waiting as guard:
            await guard.upgrade()
        with pytest.raises(ValueError, match="make it with upgradeable=True"):
            await AsyncFileLock(path).acquire_upgradeable()

    asyncio.run(main())


def test_an_upgrade_of_a_task_that_would_not_be_atomic_fails(path, child):
    reader = child(READER, path, "knows nothing")
    reader.expect("held")

    async def main():
        lock = AsyncFileLock(path, upgradeable=True)
        async with await lock.acquire_upgradeable() as guard:
            with pytest.raises(NotAtomic):
                await guard.upgrade()
            assert guard.exclusive is None

    asyncio.run(main())


def test_an_upgrade_that_nobody_awaits_any_more_ends(path, child):
    reader = child(READER, path, "knows")
    reader.expect("held")

    async def main():
        lock = AsyncFileLock(path, upgradeable=True)
        guard = await lock.acquire_upgradeable()
        upgrade = asyncio.ensure_future(guard.upgrade())
        while "being upgraded" not in repr(guard):
            await asyncio.sleep(0.001)
        upgrade._log_destroy_pending = False
        return guard

    of_its_own = asyncio.new_event_loop()
    guard = of_its_own.run_until_complete(main())
    of_its_own.close()
    del of_its_own
    gc.collect()
    until(lambda: guard.exclusive is False)
    asyncio.run(guard.release())
    reader.tell()
    reader.expect("released")
    FileLock(path).acquire(timeout=60).lock.release()


def test_a_gate_refuses_the_token_of_a_task_that_was_overtaken(path, loop):
    gate = AsyncTokenGate(path)

    async def main():
        async with await gate.enter(5) as inside:
            assert "token 5, inside" in repr(inside)
            with pytest.raises(Timeout):
                await AsyncTokenGate(path).enter(6, timeout=0)
            with pytest.raises(Timeout):
                await gate.enter(6, timeout=0.01)
            with pytest.raises(Timeout):
                await gate.enter(6, blocking=False)
        with pytest.raises(StaleToken):
            await gate.enter(4)
        with pytest.raises(StaleToken):
            TokenGate(path).enter(4)
        with pytest.raises(TypeError, match="token must be an int, not None"):
            await gate.enter(None)

    loop.run(main)
    assert repr(gate) == f"<AsyncTokenGate '{path}'>" and gate.path == path


def test_a_task_waits_at_a_gate_while_others_run(path, loop):
    threads_gate = TokenGate(path)

    async def main():
        inside = threads_gate.enter(1)
        entered = []

        async def work():
            async with await AsyncTokenGate(path).enter(2):
                entered.append(2)

        async def leave():
            await loop.sleep(0.02)
            assert entered == []
            inside.leave()

        assert await loop.cancelled_after(0.02, work)
        await loop.all_of(work, leave)
        assert entered == [2]

    loop.run(main)
    thread = threading.Thread(target=lambda: threads_gate.enter(3, timeout=60).leave())
    thread.start()
    thread.join()
    until(lambda: not thread.is_alive())
