"""Locks between hosts that are lost: the program learns it in every way."""

import pickle
import queue
import select
import signal
import socket
import sys
import threading

import pytest

import holdlock
from conftest import until
from holdlock import LockLost
from postgres import name, server  # noqa: F401  # fixtures


def test_a_block_that_ends_without_the_lock_raises(server, name):
    lock = holdlock.open(server.url(name))
    with pytest.raises(LockLost) as raised:
        with lock:
            lock.check()
            assert lock.is_valid() and not lock.lost.is_set() and lock.lost.reason is None
            lost = lock.lost
            server.terminate(name)
            assert lost.wait(60)
            assert lock.is_locked and not lock.is_valid()
            assert repr(lock) == f"<EngineLock '{lock.name}', lost>"
            for use in (lock.ensure_held, lock.check, lock.acquire):
                with pytest.raises(LockLost, match="the lock was lost"):
                    use()
    error = raised.value
    assert error.lock == lock.name and error.definite and "administrator" in str(error)
    assert isinstance(error, holdlock.EngineError) and not isinstance(error, TimeoutError)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.definite
    assert str(lost.reason) == str(error) and lost.is_set() and lost.wait(0)
    # The object can acquire the lock again.
    assert not lock.is_locked
    with lock.acquire(timeout=60):
        lock.ensure_held()


def test_another_exception_passes_with_a_note(server, name):
    with pytest.raises(KeyError) as raised:
        with holdlock.open(server.url(name)) as lock:
            server.terminate(name)
            assert lock.lost.wait(60)
            raise KeyError("of the block")
    if sys.version_info >= (3, 11):
        (note,) = raised.value.__notes__
        assert note.startswith("LockLost: postgres://") and "the lock was lost" in note
    else:
        assert isinstance(raised.value.__context__, LockLost)
    assert not lock.is_locked


def test_a_proxy_and_a_nested_block_raise_as_well(server, name):
    lock = holdlock.open(server.url(name))
    with pytest.raises(LockLost):
        with lock.acquire(timeout=60):
            with pytest.raises(LockLost):
                with lock:
                    server.terminate(name)
                    assert lock.lost.wait(60)
            assert lock.lock_counter == 1
    lock.acquire(timeout=60)
    server.terminate(name)
    assert lock.lost.wait(60)
    with pytest.raises(LockLost):
        lock.release()
    assert not lock.is_locked


def test_the_signal_has_a_descriptor_and_callbacks(server, name):
    lock, heard, threads = holdlock.open(server.url(name)), queue.Queue(), set()

    def note(error):
        threads.add(threading.get_ident())
        heard.put(error)

    with pytest.raises(LockLost):
        with lock:
            lost = lock.lost
            lost.add_callback(note)
            assert not lost.wait(0) and not lost.wait(0.001)
            assert select.select([lost], [], [], 0)[0] == []
            server.terminate(name)
            assert select.select([lost], [], [], 60)[0] == [lost]
            error = heard.get(timeout=60)
            assert isinstance(error, LockLost) and error.definite and error.lock == lock.name
            lost.add_callback(note)
            assert str(heard.get(timeout=60)) == str(error)
    assert threading.get_ident() not in threads
    with pytest.raises(TypeError, match="callable"):
        lost.add_callback(None)


def test_a_callback_starts_programs_that_obey_signals(server, name):
    heard = queue.Queue()
    with pytest.raises(LockLost):
        with holdlock.open(server.url(name)) as lock:
            lock.lost.add_callback(lambda _: heard.put(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
            server.terminate(name)
            assert heard.get(timeout=60) == signal.pthread_sigmask(signal.SIG_BLOCK, ())
            assert lock.lost.wait(60)


def test_a_lock_that_is_released_calls_nobody(server, name):
    heard = []
    with holdlock.open(server.url(name)) as lock:
        lost = lock.lost
        lost.add_callback(heard.append)
    server.nothing_left(name)
    assert not lost.is_set() and not lost.wait(0) and heard == []


def test_a_callback_that_raises_is_reported(server, name, monkeypatch):
    reported = queue.Queue()
    monkeypatch.setattr(sys, "unraisablehook", lambda it: reported.put(it.exc_value))

    def fail(error):
        raise KeyError("of the callback")

    with pytest.raises(LockLost):
        with holdlock.open(server.url(name)) as lock:
            lock.lost.add_callback(fail)
            server.terminate(name)
            assert isinstance(reported.get(timeout=60), KeyError)
            assert lock.lost.wait(60)


def test_an_exception_of_a_signal_handler_ends_the_wait_for_a_loss(server, name):
    class Struck(BaseException):
        pass

    def strike(number, frame):
        raise Struck

    before = signal.signal(signal.SIGALRM, strike)
    try:
        with holdlock.open(server.url(name)) as lock:
            with pytest.raises(Struck):
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                lock.lost.wait()
            lock.check()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_deadline_moves_on_and_is_before_the_end_of_the_lease(server, name):
    import time

    with holdlock.open(server.url(name)) as lock:
        first = lock.deadline
        assert first - time.clock_gettime(time.CLOCK_BOOTTIME) < 10
        lock.check()
        until(lambda: lock.deadline > first)


def test_the_next_holder_is_not_hit_by_a_late_release(server, name):
    lock, other = holdlock.open(server.url(name)), holdlock.open(server.url(name))
    lock.acquire()
    lost = lock.lost
    server.terminate(name)
    assert lost.wait(60)
    with other.acquire(timeout=60):
        with pytest.raises(LockLost):
            lock.release()
        other.check()


CLOSED = """
import os, sys, tempfile, threading
import holdlock

held, asked = map(holdlock.open, sys.argv[1:3])
held.acquire()
lost, ends = held.lost, {}

def ask():
    try:
        asked.members()
    except holdlock.EngineError as error:
        ends["asks"] = str(error)

def wait():
    ends["waits"] = lost.wait()

threads = [threading.Thread(target=call, daemon=True) for call in (ask, wait)]
for thread in threads:
    thread.start()
print("asks", flush=True)
sys.stdin.readline()
os.closerange(3, 1024)
files = [tempfile.TemporaryFile() for _ in range(int(sys.argv[3]))]
for thread in threads:
    thread.join(60)
assert "has closed descriptors" in ends["asks"] and ends["waits"] is True, ends
assert lost.reason is not None
for file in files:
    assert os.fstat(file.fileno()).st_size == 0
"""


# The numbers stay closed, or become those of files.
@pytest.mark.parametrize("files", [0, 60])
def test_calls_end_although_the_program_has_closed_all_descriptors(server, name, child, files):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = f"redis://127.0.0.1:{silent.getsockname()[1]}/?connect_timeout=60#n"
        program = child(CLOSED, server.url(name), asked, str(files))
        program.expect("asks")
        with silent.accept()[0]:
            program.tell()
            assert program.ended() == 0
