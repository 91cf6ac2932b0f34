"""One process of one peer: does what each line of its input says, and answers with a line."""

import fcntl
import importlib
import os
import signal
import sys
import time

PEER, PATH = sys.argv[1:]
#: Longer than any wait here takes.
LONG = 60


class Raw:
    """flock(2) as the standard library has it, on a descriptor that is kept."""

    def __init__(self):
        self.fd = os.open(PATH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __enter__(self):
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def __exit__(self, *error):
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def wait(self):
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def release(self):
        fcntl.flock(self.fd, fcntl.LOCK_UN)


def wait_of(lock):
    """The blocking acquisition with a time limit."""
    return getattr(lock, "wait", None) or (lambda: lock.acquire(timeout=LONG))


def maker():
    """What makes a lock object."""
    if PEER == "fcntl":
        return Raw
    package = importlib.import_module(PEER)
    if PEER == "portalocker":
        return lambda: package.Lock(PATH, "a", timeout=LONG)
    if PEER == "fasteners":
        return lambda: package.InterProcessLock(PATH)
    return lambda: package.FileLock(PATH)


make = maker()
lock = make()
crowd = []


def cycle(count):
    start = time.perf_counter_ns()
    if PEER == "fcntl":
        fd, flock, take, give = lock.fd, fcntl.flock, fcntl.LOCK_EX, fcntl.LOCK_UN
        for _ in range(count):
            flock(fd, take)
            flock(fd, give)
    else:
        for _ in range(count):
            with lock:
                pass
    return time.perf_counter_ns() - start


def new(count):
    start = time.perf_counter_ns()
    if PEER == "fcntl":
        for _ in range(count):
            fd = os.open(PATH, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.close(fd)
    else:
        for _ in range(count):
            with make():
                pass
    return time.perf_counter_ns() - start


def take():
    wait_of(lock)()
    return "held"


def give():
    before = time.monotonic_ns()
    lock.release()
    return before


def wait():
    wait_of(lock)()
    after = time.monotonic_ns()
    lock.release()
    return after


def hammer(milliseconds, board):
    """How often it was inside. The board counts, too, and not atomically."""
    import mmap

    over = False

    def at_the_end(*signal):
        nonlocal over
        over = True

    signal.signal(signal.SIGALRM, at_the_end)
    file = os.open(board, os.O_RDWR)
    with mmap.mmap(file, 8) as memory, memoryview(memory).cast("Q") as count:
        done = 0
        # Cheaper than a look at the clock each time, which would weigh on the quick ones.
        signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
        while not over:
            with lock:
                count[0] += 1
            done += 1
    os.close(file)
    return done


def gather(count):
    """So many children that wait for the lock."""
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            wait_of(make())()
            os._exit(0)
        crowd.append(pid)
    return " ".join(map(str, crowd))


def dismiss():
    for pid in crowd:
        os.kill(pid, signal.SIGKILL)
    for pid in crowd:
        os.waitpid(pid, 0)
    crowd.clear()
    return "alone"


def version():
    if PEER == "fcntl":
        return sys.version.partition(" ")[0]
    from importlib import metadata

    return metadata.version(PEER)


def pin(cpu):
    os.sched_setaffinity(0, [cpu])
    return "pinned"


for line in sys.stdin:
    name, *arguments = line.split(" ")
    values = [int(word) if word.strip().isdigit() else word.strip() for word in arguments]
    print(globals()[name.strip()](*values), flush=True)
dismiss()
