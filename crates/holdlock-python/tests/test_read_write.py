"""Many readers or one writer, among processes and threads; and the order of requests."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import threading
import time

import pytest
from conftest import run_forked, until

import holdlock
from holdlock import FileLock, ReadWriteLock, Timeout

HOLDER = """
import sys
from holdlock import ReadWriteLock
lock = ReadWriteLock(sys.argv[1])
lock.acquire_read() if sys.argv[2] == "read" else lock.acquire_write()
print("held")
sys.stdin.readline()
lock.release()
print("released")
sys.stdin.readline()
"""


def alone(path, **options):
    return ReadWriteLock(path, is_singleton=False, **options)


def in_thread(function):
    """The result of the function in another thread, or its error."""
    outcome = []

    def run():
        try:
            outcome.append(function())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


def is_free(path):
    FileLock(path).acquire(timeout=0).lock.release()
    return True


def test_readers_share_and_a_writer_is_alone_between_processes(path, child):
    reader = child(HOLDER, path, "read")
    reader.expect("held")
    lock = ReadWriteLock(path)
    with lock.read_lock(timeout=0), lock.read_lock(blocking=False):
        pass
    for terms in ({"timeout": 0.02}, {"timeout": 0}, {"blocking": False}):
        with pytest.raises(Timeout, match=str(reader.pid)):
            lock.acquire_write(**terms)
    reader.tell()
    reader.expect("released")
    writer = child(HOLDER, path, "write")
    writer.expect("held")
    for acquire in (lock.acquire_read, lock.acquire_write):
        with pytest.raises(Timeout, match=str(writer.pid)):
            acquire(timeout=0.02)
        with pytest.raises(Timeout):
            acquire(blocking=False)
    assert [one.pid for one in lock.holders()] == [writer.pid]
    writer.tell()
    with lock.write_lock(timeout=60):
        with pytest.raises(Timeout):
            FileLock(path).acquire(timeout=0)
    assert is_free(path)


def test_threads_exclude_one_another_on_one_object(path):
    lock = ReadWriteLock(path)
    readers, writers, most = [], [], []

    def work(number):
        for turn in range(60):
            if (turn + number) % 4:
                with lock.read_lock():
                    readers.append(number)
                    assert not writers
                    most.append(len(readers))
                    time.sleep(0.0002)
                    readers.remove(number)
            else:
                with lock.write_lock():
                    writers.append(number)
                    assert len(writers) == 1 and not readers
                    writers.remove(number)

    outcomes = []
    threads = [
        threading.Thread(target=lambda n=n: outcomes.append(work(n)), daemon=True) for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [None] * 5 and max(most) > 1
    assert is_free(path)


def test_a_held_lock_can_be_acquired_again_in_the_same_mode(path):
    lock = ReadWriteLock(path)
    with lock.read_lock(), lock.acquire_read():
        with pytest.raises(RuntimeError, match="upgrade not allowed"):
            lock.acquire_write()
    with lock.write_lock(), lock.acquire_write():
        with pytest.raises(RuntimeError, match="downgrade not allowed"):
            lock.acquire_read()
        lock.release()
        with pytest.raises(Timeout):
            alone(path).acquire_read(timeout=0)
        lock.acquire_write()
    assert is_free(path)
    with pytest.raises(RuntimeError, match="not held by this thread"):
        lock.release()
    lock.release(force=True)
    lock.acquire_read()
    lock.acquire_read()
    lock.release(force=True)
    assert is_free(path)


def test_a_thread_does_not_release_what_another_holds(path):
    lock = ReadWriteLock(path)
    with lock.write_lock():
        assert isinstance(in_thread(lock.release), RuntimeError)
        in_thread(lambda: lock.release(force=True))
        assert isinstance(in_thread(lambda: lock.acquire_write(timeout=0.01)), Timeout)
        assert isinstance(in_thread(lambda: lock.acquire_read(timeout=0.01)), Timeout)


def test_close_gives_back_what_all_threads_hold(path):
    lock = ReadWriteLock(path)
    in_thread(lock.acquire_read)
    lock.acquire_read()
    lock.close()
    assert is_free(path)
    for acquire in (lock.acquire_read, lock.acquire_write):
        with pytest.raises(RuntimeError, match="closed"):
            acquire()
    lock.close()


def test_close_ends_the_waits_of_other_threads(path, holder):
    other = holder(path)
    lock = ReadWriteLock(path)
    outcomes = []

    def wait(acquire):
        try:
            acquire()
        except RuntimeError as error:
            outcomes.append(str(error))

    threads = [
        threading.Thread(target=wait, args=[acquire])
        for acquire in (lock.acquire_read, lock.acquire_write, lock.read_lock().__enter__)
    ]
    for thread in threads:
        thread.start()
    until(lambda: sum(one.pid == os.getpid() for one in FileLock(path).waiters()) > 0)
    lock.close()
    for thread in threads:
        thread.join(60)
    assert len(outcomes) == 3 and all("was closed" in outcome for outcome in outcomes)
    other.tell()
    other.expect("released")
    assert is_free(path)


def test_a_deadlock_is_noticed_although_close_could_end_it(tmp_path):
    one, two = alone(tmp_path / "1"), alone(tmp_path / "2")
    both, errors = threading.Barrier(2), []

    def want(own, other):
        with own.write_lock():
            both.wait()
            try:
                with other.write_lock():
                    pass
            except RuntimeError as error:
                errors.append(str(error))

    threads = [threading.Thread(target=want, args=pair) for pair in ((one, two), (two, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 1 and errors[0].startswith("Deadlock")


def test_a_context_can_be_used_again_and_decorates(path):
    lock = ReadWriteLock(path)
    writing = lock.write_lock()

    @writing
    def work():
        return repr(lock)

    for _ in range(2):
        with writing:
            assert "held for writing" in repr(lock)
    assert "held for writing" in work()
    assert "not held" in repr(lock) and is_free(path)


def test_a_thread_that_would_wait_for_itself_gets_an_error(path):
    with ReadWriteLock(path).read_lock():
        with pytest.raises(RuntimeError):
            alone(path).acquire_write()
        with pytest.raises(Timeout):
            alone(path).acquire_write(timeout=0.01)
        alone(path).acquire_read(timeout=0).lock.release()


def test_a_writer_that_waits_goes_before_readers_that_come_later(path, child):
    first = child(HOLDER, path, "read")
    first.expect("held")
    writer = child(HOLDER, path, "write")
    until(lambda: [one.pid for one in FileLock(path).waiters()] == [writer.pid])
    late = child(HOLDER, path, "read")
    lock = ReadWriteLock(path)
    with pytest.raises(Timeout):
        lock.acquire_read(timeout=0.1)
    with pytest.raises(Timeout, match=str(first.pid)):
        lock.acquire_read(blocking=False)
    first.tell()
    writer.expect("held")
    with pytest.raises(Timeout):
        lock.acquire_read(timeout=0)
    writer.tell()
    late.expect("held")


@pytest.mark.parametrize("together", [False, True])
def test_a_stream_of_readers_does_not_starve_a_writer(path, together):
    """At every moment a thread reads, by an object of its own or by a shared one."""
    done = threading.Event()
    reading = []
    one = alone(path)

    def read():
        lock = one if together else alone(path)
        while not done.is_set():
            with lock.read_lock():
                reading.append(1)
                time.sleep(0.005)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
        time.sleep(0.001)
    until(lambda: len(reading) > 20)
    try:
        for _ in range(5):
            with ReadWriteLock(path).write_lock(timeout=60):
                pass
    finally:
        done.set()
        for reader in readers:
            reader.join()


TRIER = """
import sys
from holdlock import ReadWriteLock, Timeout
lock = ReadWriteLock(sys.argv[1])
print("ready")
sys.stdin.readline()
failed = 0
for _ in range(20000):
    try:
        lock.acquire_read(blocking=False)
    except Timeout:
        failed += 1
    else:
        lock.release()
# A reader that is preempted while it acquires the lock looks like a waiter.
print("ok" if failed < 2000 else f"failed {failed} times")
"""


def test_readers_that_only_try_do_not_disturb_one_another(path, child):
    """A reader that is just acquiring the lock does not make another one fail."""
    readers = [child(TRIER, path) for _ in range(3)]
    for reader in readers:
        reader.expect("ready")
    for reader in readers:
        reader.tell()
    for reader in readers:
        reader.expect("ok")


def test_one_object_for_each_path(path):
    lock = ReadWriteLock(path, timeout=1)
    assert ReadWriteLock(path, timeout=1) is lock is ReadWriteLock.get_lock(path, 1)
    assert alone(path) is not lock
    with pytest.raises(ValueError, match="timeout=1"):
        ReadWriteLock(path)
    with pytest.raises(ValueError, match="blocking"):
        ReadWriteLock(path, timeout=1, blocking=False)

    class Mine(ReadWriteLock):
        pass

    assert type(Mine(path)) is Mine
    del lock
    lock = ReadWriteLock(path)
    assert lock.timeout == -1
    assert ReadWriteLock(path, float("inf")) is lock
    assert ReadWriteLock(os.path.join(path, "..", os.path.basename(path))) is lock


def test_a_link_and_a_directory_are_refused(path, tmp_path):
    lock = ReadWriteLock(path)
    with lock.write_lock():
        pass
    os.symlink(path, path + "2")
    with pytest.raises(OSError) as caught:
        ReadWriteLock(path + "2").acquire_read(timeout=0)
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, path + "2")
    with pytest.raises(IsADirectoryError):
        ReadWriteLock(tmp_path).acquire_read()


def test_the_default_settings_of_a_request(path):
    with alone(path).write_lock():
        for lock in (alone(path, timeout=0.01), alone(path, blocking=False)):
            with pytest.raises(Timeout):
                lock.acquire_write()
            with pytest.raises(Timeout), lock.read_lock():
                pass
    lock = alone(path, timeout=3, blocking=False)
    assert (lock.lock_file, lock.timeout, lock.blocking) == (path, 3, False)


@pytest.mark.parametrize(
    "options, error",
    [({"timeout": "1"}, TypeError), ({"timeout": True}, TypeError), ({"blocking": 1}, TypeError)],
)
def test_wrong_options_are_refused(path, options, error):
    with pytest.raises(error):
        ReadWriteLock(path, **options)
    with pytest.raises(error):
        ReadWriteLock(path).acquire_read(**options)


def test_the_lock_of_a_killed_process_is_free(path, child):
    holder = child(HOLDER, path, "write")
    holder.expect("held")
    waiter = child(HOLDER, path, "write")
    until(lambda: FileLock(path).waiters())
    os.kill(waiter.pid, signal.SIGKILL)  # while it waits
    os.kill(holder.pid, signal.SIGKILL)
    with ReadWriteLock(path).read_lock(timeout=60):
        pass


def test_a_child_owns_nothing_and_cannot_release(path):
    lock = ReadWriteLock(path)
    with lock.write_lock():

        def in_child():
            lock.release()
            lock.close()
            assert ReadWriteLock(path) is not lock
            with pytest.raises(Timeout):
                ReadWriteLock(path).acquire_read(timeout=0.01)
            lock2 = ReadWriteLock(path + "2")
            with lock2.write_lock():
                pass
            lock.acquire_write()

        assert run_forked(in_child).startswith("RuntimeError: lock")
        with pytest.raises(Timeout):
            alone(path).acquire_read(timeout=0)
    assert is_free(path)


def _write(lock, entered):
    with lock.write_lock():
        entered.put((os.getpid(), lock.lock_file, lock.timeout))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_lock_can_be_passed_to_a_process(path, method):
    context = multiprocessing.get_context(method)
    lock = ReadWriteLock(path, timeout=120)
    entered = context.Queue()
    workers = [context.Process(target=_write, args=(lock, entered)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = {entered.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join()
    assert found == {(worker.pid, path, 120) for worker in workers}


def test_a_lock_can_be_pickled(path):
    lock = ReadWriteLock(path, timeout=2)
    assert pickle.loads(pickle.dumps(lock)) is lock
    copy = pickle.loads(pickle.dumps(alone(path, blocking=False)))
    assert copy is not lock and not copy.blocking


def test_the_file_is_created_with_its_directories_and_never_written(tmp_path):
    path = tmp_path / "some" / "where" / "a.lock"
    with ReadWriteLock(path).write_lock():
        assert path.stat().st_size == 0
    path.write_text("something")
    with ReadWriteLock(path).read_lock():
        assert path.read_text() == "something"


def test_ctrl_c_ends_a_wait_at_either_place(path, child):
    script = HOLDER.replace('print("held")', "pass").replace(
        "lock = ", "print('here'); lock = "
    )
    with alone(path).write_lock():
        first = child(script, path, "write")
        until(lambda: len(FileLock(path).waiters()) == 1)
        second = child(script, path, "write")
        second.expect("here")
        time.sleep(0.1)
        for one in (second, first):
            os.kill(one.pid, signal.SIGINT)
            assert one.ended() != 0
        assert FileLock(path).waiters() == []
    assert is_free(path)


def test_the_names_are_there():
    assert holdlock.ReadWriteLock is ReadWriteLock
