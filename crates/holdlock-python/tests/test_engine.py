"""Locks between hosts: they exclude, wait, name the holders, and leave nothing behind."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading

import pytest

import holdlock
from conftest import run_forked, until
from holdlock import CancelToken, Cancelled, Deadlock, Timeout
from postgres import name, server  # noqa: F401  # fixtures
from test_greenlets import LIBRARIES, run  # noqa: F401  # fixture

HOLDER = """
import sys, holdlock
lock = holdlock.open(sys.argv[1], note="the nightly report", command="report.py")
with lock:
    print(lock.token)
    sys.stdin.readline()
print("released")
sys.stdin.readline()
"""


@pytest.fixture
def engine_holder(child):
    """Another process that holds the lock until the test tells it to release it."""

    def start(url):
        one = child(HOLDER, url)
        one.token = int(one.process.stdout.readline())
        return one

    return start


COUNT = """
import sys, holdlock
lock = holdlock.open(sys.argv[1])
for _ in range(int(sys.argv[3])):
    with lock:
        with open(sys.argv[2]) as file:
            count = int(file.read())
        with open(sys.argv[2], "w") as file:
            file.write(str(count + 1))
"""


def test_processes_exclude_each_other(server, name, tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    count = [sys.executable, "-c", COUNT, server.url(name), str(counter), "25"]
    processes = [subprocess.Popen(count) for _ in range(4)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 4
    assert counter.read_text() == "100"
    server.nothing_left(name)


def test_a_timeout_names_the_holder_and_its_note(server, name, engine_holder):
    holder = engine_holder(server.url(name))
    # The limit includes the connection.
    lock = holdlock.open(server.url(name), timeout=10)
    # Other holders see the note with the first renewal.
    until(lambda: lock.holders()[0].note is not None)
    for wait in (lock.acquire, lambda: lock.acquire(blocking=False), lambda: lock.acquire(0)):
        with pytest.raises(Timeout) as raised:
            wait()
        error = raised.value
        assert isinstance(error, holdlock.EngineTimeout) and isinstance(error, TimeoutError)
        (member,) = error.holders
        assert (member.pid, member.command) == (holder.pid, "report.py")
        assert member.host == os.uname().nodename and member.mode == "exclusive"
        assert f"pid {holder.pid} (report.py)" in str(error) and "nightly report" in str(error)
        assert error.lock == error.lock_file == lock.name and lock.name in str(error)
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error) and again.holders == error.holders
    assert not lock.is_locked
    holder.tell()
    with lock.acquire(timeout=60):
        assert lock.is_locked


def test_a_killed_holder_frees_the_lock(server, name, engine_holder):
    holder = engine_holder(server.url(name))
    os.kill(holder.pid, signal.SIGKILL)
    with holdlock.open(server.url(name)).acquire(timeout=60) as lock:
        assert lock.token > holder.token


def test_members_are_listed_in_their_order(server, name, child, engine_holder):
    engine_holder(server.url(name))
    lock = holdlock.open(server.url(name))
    waiters = []
    for count in range(1, 4):
        waiters.append(child(HOLDER, server.url(name)))
        until(lambda: len(lock.waiters()) == count)
    members = lock.members()
    assert len(members.holders) == 1 and members.holders == lock.holders()
    assert [waiter.pid for waiter in members.waiters] == [waiter.pid for waiter in waiters]


def test_a_thread_acquires_again_what_it_holds_and_excludes_the_others(server, name):
    lock = holdlock.open(server.url(name))
    inside, order = [], []
    with lock:
        with lock.acquire(timeout=0) as same:
            assert same is lock and lock.lock_counter == 2
        assert lock.lock_counter == 1 and lock.locked
        token = lock.token

        def other():
            assert not lock.is_locked and lock.lock_counter == 0
            # These are about the thread that holds the lock.
            assert lock.token == token and lock.is_valid()
            lock.check()
            with pytest.raises(RuntimeError, match="another thread or task"):
                lock.release()
            inside.append("asks")
            with lock:
                order.append(lock.token)

        thread = threading.Thread(target=other)
        thread.start()
        until(lambda: inside and lock.waiters())
        order.append(token)
    thread.join()
    assert order == sorted(order) and len(order) == 2
    lock.release()
    assert not lock.is_locked and lock.token is None and lock.deadline is None
    for use in (lock.check, lock.ensure_held, lambda: lock.lost):
        with pytest.raises(RuntimeError, match="is not held"):
            use()


def test_a_token_rises_from_holder_to_holder(server, name):
    tokens = []
    for _ in range(5):
        with holdlock.open(server.url(name)) as lock:
            tokens.append(lock.token)
    assert tokens == sorted(set(tokens))


def test_shared_holders_share_and_exclude_an_exclusive_one(server, name):
    one = holdlock.open(server.url(name), shared=True)
    other = holdlock.open(server.url(name))
    with one, other.acquire(timeout=60, shared=True):
        with pytest.raises(Timeout):
            holdlock.open(server.url(name)).acquire(timeout=0)
        with pytest.raises(Deadlock, match="shared"):
            one.acquire(shared=False)
        assert [holder.mode for holder in one.holders()] == ["shared", "shared"]
    with other, pytest.raises(Timeout):
        one.acquire(timeout=0)


def test_slots_are_for_several_holders(server, name):
    url = server.url(name, "&slots=2")
    first, second, third = (holdlock.open(url) for _ in range(3))
    with first, second:
        with pytest.raises(Timeout):
            third.acquire(timeout=0)
    with third.acquire(timeout=60):
        pass


def test_a_token_or_a_limit_ends_a_wait_and_leaves_nothing(server, name):
    with holdlock.open(server.url(name)) as holder:
        lock, token, ended = holdlock.open(server.url(name)), CancelToken(), []

        def wait():
            with pytest.raises(Cancelled) as raised:
                lock.acquire(cancel=token)
            ended.append(str(raised.value))

        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: len(holder.waiters()) == 1)
        token.cancel()
        thread.join()
        assert ended == [f"The lock '{lock.name}' could not be acquired: the wait was cancelled."]
        until(lambda: server.sessions(name) == 1)
    # A token that was cancelled before ends the wait as well.
    with holdlock.open(server.url(name)), pytest.raises(Cancelled):
        lock.acquire(cancel=token)


INTERRUPTED = """
import sys, holdlock
lock = holdlock.open(sys.argv[1])
try:
    print("asks")
    lock.acquire() if sys.argv[2] == "acquire" else lock.__enter__()
except KeyboardInterrupt:
    print("interrupted", lock.is_locked)
sys.stdin.readline()
with lock.acquire(timeout=60):
    print("held")
"""


@pytest.mark.parametrize("how", ["acquire", "with"])
def test_ctrl_c_ends_a_wait_at_once_and_leaves_nothing(server, name, child, how):
    with holdlock.open(server.url(name)) as holder:
        waiter = child(INTERRUPTED, server.url(name), how)
        waiter.expect("asks")
        until(lambda: len(holder.waiters()) == 1)
        os.kill(waiter.pid, signal.SIGINT)
        waiter.expect("interrupted False")
        until(lambda: server.sessions(name) == 1)
    waiter.tell()
    waiter.expect("held")


STORM = """
import random, signal, sys
import holdlock

class Struck(BaseException):
    pass

def strike(number, frame):
    raise Struck

signal.signal(signal.SIGALRM, strike)
lock = holdlock.open(sys.argv[1], timeout=60)
other = holdlock.open(sys.argv[1])
struck = 0
for _ in range(int(sys.argv[2])):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.000001, 0.02))
        try:
            while True:
                with lock:
                    pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Struck:
        struck += 1
    assert not lock.is_locked
    other.acquire(timeout=60).lock.release()
print(struck)
"""


def test_an_exception_of_a_signal_handler_at_any_step_loses_no_lock(server, name):
    storm = [sys.executable, "-c", STORM, server.url(name), "60"]
    ran = subprocess.run(storm, capture_output=True, text=True, timeout=300)
    assert ran.stdout == "60\n", ran.stderr
    server.nothing_left(name)


def test_a_child_of_fork_does_not_hold_the_lock(server, name):
    lock = holdlock.open(server.url(name))

    def in_child():
        lost = lock_lost
        assert not lock.is_locked and not lock.is_valid() and lock.token is None
        assert lost.is_set() and lost.wait(60)
        lock.release()
        lock.__exit__(None, None, None)
        with pytest.raises(Timeout):
            lock.acquire(timeout=0)

    with lock:
        lock_lost = lock.lost
        assert run_forked(in_child) == ""
        lock.check()
        assert lock.is_locked and not lock_lost.is_set()

    def acquire():
        with lock.acquire(timeout=60):
            lock.check()

    assert run_forked(acquire) == ""
    server.nothing_left(name)


def test_a_copy_has_the_name_and_the_options_and_is_not_held(server, name):
    lock = holdlock.open(server.url(name), timeout=0, note="a note", shared=True)
    with lock:
        for one in (pickle.loads(pickle.dumps(lock)), copy.copy(lock)):
            assert type(one) is holdlock.EngineLock and one.name == lock.name
            assert (one.timeout, one.note, one.shared, one.is_locked) == (0, "a note", True, False)
            with one:
                assert one.is_locked
        with pytest.raises(TypeError, match="cannot pickle LostSignal"):
            pickle.dumps(lock.lost)
        assert lock.is_locked


def test_an_object_that_is_collected_releases_its_lock(server, name):
    lock = holdlock.open(server.url(name))
    lock.acquire()
    del lock
    with holdlock.open(server.url(name)).acquire(timeout=60):
        pass


def test_it_decorates_functions(server, name):
    lock = holdlock.open(server.url(name))

    @lock
    def inside():
        return lock.is_locked

    assert inside() and not lock.is_locked


GREEN = """
import sys, holdlock
lock = holdlock.open(sys.argv[1])
inside, most, ticks = set(), [], []
def work(number):
    with lock:
        assert lock.is_locked and lock.lock_counter == 1
        inside.add(number)
        most.append(len(inside))
        lock.check()
        sleep(0.01)
        inside.remove(number)
def tick():
    while True:
        ticks.append(1)
        sleep(0.001)
ticking = spawn(tick)
wait([spawn(work, number) for number in range(5)])
with lock:
    before = len(ticks)
    waiter = spawn(lock.acquire)
    while not lock.waiters():
        sleep(0.001)
    kill(waiter)
    assert len(ticks) > before
    assert not lock.lost.wait(0.01)
print(len(most), max(most))
"""


@LIBRARIES
def test_a_greenlet_holds_the_lock_and_its_wait_lets_others_run(server, name, run):  # noqa: F811
    assert run(GREEN, server.url(name)) == "5 1\n"
    server.nothing_left(name)
