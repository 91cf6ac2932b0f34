"""gevent and eventlet: greenlets exclude one another, and a wait lets the others run."""

import importlib.util
import os
import subprocess
import sys

import pytest
from conftest import until, waits

from holdlock import FileLock, Timeout

GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent
spawn, sleep, wait, kill = gevent.spawn, gevent.sleep, gevent.joinall, gevent.Greenlet.kill
ended = gevent.Greenlet.ready
"""

EVENTLET = """
import warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
spawn, sleep, kill = eventlet.spawn, eventlet.sleep, eventlet.kill

def wait(greenlets):
    for one in greenlets:
        one.wait()

def ended(greenlet):
    return greenlet.dead
"""

LIBRARIES = pytest.mark.parametrize("library", ["gevent", "eventlet"])


def skip_without(library):
    # Not imported here: it changes the process.
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"needs {library}")


@pytest.fixture
def run(library):
    """Runs a program under the library, in a process of its own."""
    skip_without(library)
    head = GEVENT if library == "gevent" else EVENTLET

    def run(program, *arguments):
        words = [sys.executable, "-c", head + program, *arguments]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


EXCLUDE = """
import sys
import holdlock
path, kind, share = sys.argv[1:]
if kind == "ReadWriteLock":
    class Writer(holdlock.ReadWriteLock):
        def __enter__(self):
            self.contexts = getattr(self, "contexts", [])
            self.contexts.append(self.write_lock())
            self.contexts[-1].__enter__()
        def __exit__(self, *exception):
            self.contexts.pop().__exit__(*exception)
    make = lambda: Writer(path, is_singleton=False)
else:
    make = lambda: getattr(holdlock, kind)(path)
one = make()
inside, most, turns, free_turns = 0, 0, 0, 0

def work():
    global inside, most, turns
    lock = one if share == "one object" else make()
    for _ in range(10):
        with lock:
            with lock:
                assert ("held for writing" if kind == "ReadWriteLock" else ", held") in repr(lock)
            inside += 1
            most = max(most, inside)
            sleep(0.001)
            inside -= 1
            turns += 1
        sleep(0)

def free():
    global free_turns
    while turns < 40:
        free_turns += 1
        sleep(0.001)

wait([spawn(work) for _ in range(4)] + [spawn(free)])
assert (most, turns) == (1, 40), (most, turns)
assert free_turns > 5, "the waits have stopped the hub"
assert "not held" in repr(one)
"""


@LIBRARIES
@pytest.mark.parametrize("kind", ["FileLock", "SoftFileLock", "ReadWriteLock"])
@pytest.mark.parametrize("share", ["one object", "an object each"])
def test_greenlets_exclude_one_another(path, run, kind, share):
    run(EXCLUDE, path, kind, share)


SOFT = """
options = {"thread_local": "mutex"} if share == "mutex" else {"is_singleton": True}
one = SoftFileLock(sys.argv[1], **options)
inside, most, turns = 0, 0, 0

def work(number):
    global inside, most, turns
    lock = one
    if number % 3 == 0 or share == "an object each":
        lock = SoftFileLock(sys.argv[1])
    for _ in range(20):
        with lock:
            inside += 1
            most = max(most, inside)
            sleep(random.random() * 0.002)
            inside -= 1
            turns += 1
        sleep(random.random() * 0.002)

wait([spawn(work, number) for number in range(6)])
assert (most, turns) == (1, 120), (most, turns)
"""


@LIBRARIES
@pytest.mark.parametrize("share", ["mutex", "singleton", "an object each"])
@pytest.mark.parametrize("imported", ["before the patch", "after the patch"])
def test_greenlets_with_soft_locks_exclude_one_another(path, library, share, imported):
    skip_without(library)
    names = f"import random, sys\nfrom holdlock import SoftFileLock\nshare = {share!r}\n"
    head = GEVENT if library == "gevent" else EVENTLET
    program = names + head if imported == "before the patch" else head + names
    words = [sys.executable, "-c", program + SOFT, path]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and not ended.stderr, ended.stderr


HELD = """
import sys
from holdlock import SoftFileLock
held = SoftFileLock(sys.argv[1])
held.acquire()
"""


@LIBRARIES
def test_a_soft_lock_that_is_held_at_the_patch_is_released_by_its_greenlet(path, library):
    skip_without(library)
    made = "SoftFileLock(sys.argv[1] + '.other')\nheld.release()\nassert not held.is_locked\n"
    program = HELD + (GEVENT if library == "gevent" else EVENTLET) + made
    ended = subprocess.run([sys.executable, "-c", program, path], timeout=120)
    assert ended.returncode == 0 and not os.path.exists(path)


WAIT = """
import sys, time
from holdlock import CancelToken, Cancelled, Deadlock, FileLock, Timeout
lock = FileLock(sys.argv[1])
turns = 0

def count():
    global turns
    while True:
        turns += 1
        sleep(0.001)

counter = spawn(count)
sleep(0)

def turns_during(**terms):
    before = turns
    try:
        lock.acquire(**terms)
    except Timeout as error:
        assert isinstance(error, Cancelled) or error.holders
    else:
        raise AssertionError("another process holds it")
    return turns - before

# A busy machine may give few turns; while the hub stands still, there are none.
assert any(turns_during(timeout=limit) for limit in (0.5, 2, 8)), "the wait has stopped the hub"
goal = turns + 5
assert turns_during(cancel_check=lambda: turns > goal), "the wait has stopped the hub"
turns_during(timeout=0)
killed = spawn(lock.acquire)
while len(lock.waiters()) != 1:
    sleep(0.001)
kill(killed)
while not ended(killed):
    sleep(0.001)
while lock.waiters():
    sleep(0.001)
print("waits", flush=True)
lock.acquire()
assert lock.is_locked
other = FileLock(sys.argv[1])
try:
    other.acquire()
except Deadlock:
    pass
else:
    raise AssertionError("the greenlet holds it")
print("acquired", flush=True)
"""


@LIBRARIES
def test_a_wait_lets_other_greenlets_run(path, child, holder, library):
    skip_without(library)
    other = holder(path)
    program = child((GEVENT if library == "gevent" else EVENTLET) + WAIT, path)
    program.expect("waits")
    until(lambda: waits(path, program.pid))
    other.tell()
    program.expect("acquired")
    assert program.ended() == 0


RIGHTS = """
import sys
from holdlock import Deadlock, FileLock, TokenGate, record
path = sys.argv[1]
lock, gate = FileLock(path, upgradeable=True), TokenGate(path + ".gate")
recorded = FileLock(path + ".record", record=True)
most, steps = 0, []
inside = {"lock": 0, "gate": 0}

def stay(where):
    global most
    inside[where] += 1
    most = max(most, inside[where])
    sleep(0.001)
    inside[where] -= 1

def work():
    with lock.acquire_upgradeable() as guard:
        guard.upgrade()
        assert guard.exclusive
        stay("lock")
    with gate.enter(1):
        stay("gate")
    with recorded.acquire(note="of a greenlet"):
        assert record(path + ".record").note == "of a greenlet"
        sleep(0.001)

wait([spawn(work) for _ in range(5)])

# The upgrade waits for a reader, which is another greenlet.
reader = FileLock(path, upgradeable=True, shared=True)

def read():
    with reader:
        steps.append("reads")
        sleep(0.05)
        steps.append("has read")

def upgrade():
    with lock.acquire_upgradeable() as guard:
        guard.upgrade()
        steps.append("upgraded")

wait([spawn(read), spawn(upgrade)])

# A greenlet that has the right does not wait for itself.
refused = 0

def nest():
    global refused
    with lock.acquire_upgradeable():
        for request in (lock.acquire, FileLock(path).acquire, lock.acquire_upgradeable):
            try:
                request()
            except Deadlock as error:
                assert "by this task" in str(error), error
                refused += 1

wait([spawn(nest)])
assert refused == 3, refused
print(most, *steps, sep=", ")
"""


@LIBRARIES
def test_upgrades_gates_and_notes_are_for_greenlets_too(path, run):
    assert run(RIGHTS, path) == "1, reads, has read, upgraded\n"


UPGRADES = """
import sys
from holdlock import Deadlock, FileLock, Timeout
path = sys.argv[1]
lock, reader = (FileLock(path, upgradeable=True, shared=True) for _ in range(2))
turns, steps = 0, []

def count():
    global turns
    while True:
        turns += 1
        sleep(0.001)

def fails(upgrade, error):
    before = turns
    try:
        upgrade()
    except error:
        return turns - before
    raise AssertionError("somebody reads")

# A busy machine may give few turns; while the hub stands still, there are none.
def lets_others_run(guard):
    return any(fails(lambda: guard.upgrade(limit), Timeout) > 5 for limit in (0.5, 2, 8))

# The reader is the greenlet itself.
def both():
    for own in (reader, lock):
        with own, lock.acquire_upgradeable() as guard:
            fails(guard.upgrade, Deadlock)
            assert guard.exclusive is False
            assert lets_others_run(guard), "it has stopped the hub"
            own.release()
            guard.upgrade()
            guard.downgrade()
            own.acquire()
    steps.append("not by itself")

# The reader is another greenlet, which needs its turns to end.
def read():
    with reader:
        steps.append("reads")
        while "killed" not in steps:
            sleep(0.001)
        steps.append("has read")

def upgrade():
    with lock.acquire_upgradeable() as guard:
        assert lets_others_run(guard), "it has stopped the hub"
        for request in (lambda: guard.upgrade(), lambda: guard.upgrade(100)):
            killed = spawn(request)
            while guard.exclusive is not None:
                sleep(0.001)
            kill(killed)
            while guard.exclusive is None:
                sleep(0.001)
            assert guard.exclusive is False
        steps.append("killed")
        guard.upgrade()
        steps.append("upgraded")

counter = spawn(count)
wait([spawn(both)])
wait([spawn(read), spawn(upgrade)])
kill(counter)
print(*steps, sep=", ")
"""


@LIBRARIES
def test_an_upgrade_does_not_wait_for_its_own_greenlet_and_lets_the_others_read(path, run):
    assert run(UPGRADES, path) == "not by itself, reads, killed, has read, upgraded\n"


STRUCK = """
import os, sys
sys.path.insert(0, sys.argv[1])
import holdlock
from strikes import at_each_line, at_each_return

path = sys.argv[2]
for number, lock in enumerate([
    holdlock.FileLock(path),
    holdlock.FileLock(path, thread_local="mutex"),
    holdlock.FileLock(path, on_acquired=lambda _: None),
    holdlock.Semaphore(path, 1),
    holdlock.LockSet([path]),
]):
    for at_each in (at_each_line, at_each_return):
        for struck in at_each(lambda: lock.acquire(timeout=60)):
            assert lock.locked is not struck, (number, at_each)
        lock.release()

lock, other = holdlock.FileLock(path, upgradeable=True), holdlock.FileLock(path)
for at_each in (at_each_line, at_each_return):
    for _ in at_each(lock.acquire_upgradeable):
        other.acquire(timeout=0).lock.release()
"""


@LIBRARIES
def test_an_acquire_of_a_greenlet_that_is_struck_anywhere_acquires_nothing(path, run):
    run(STRUCK, os.path.dirname(__file__), path)


PLAIN = """
import sys
from greenlet import getcurrent, greenlet
from holdlock import Deadlock, FileLock
lock, reader = (FileLock(sys.argv[1], upgradeable=True, shared=True) for _ in range(2))

def read():
    with reader:
        getcurrent().parent.switch()

def upgrade():
    with lock.acquire_upgradeable() as guard:
        for limit in (None, 100):
            try:
                guard.upgrade(limit)
            except Deadlock as error:
                assert "this thread" in str(error), error
                print("refused")
        reading.switch()
        guard.upgrade()
        print("upgraded")

reading = greenlet(read)
reading.switch()
upgrade()
"""


def test_without_a_hub_an_upgrade_does_not_wait_for_another_greenlet(path):
    # Nothing could let the reader run while the thread sleeps.
    skip_without("greenlet")
    words = [sys.executable, "-c", PLAIN, path]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert ended.stdout == "refused\nrefused\nupgraded\n", ended.stderr


def test_a_program_without_greenlets_is_not_changed(path):
    assert FileLock.acquire is not None and FileLock.__enter__.__qualname__.startswith("NativeLock")
    with FileLock(path), pytest.raises(Timeout):
        FileLock(path).acquire(timeout=0)
