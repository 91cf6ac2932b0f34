"""One process of one package: does what each line of its input says, and answers with a line."""

import importlib
import mmap
import os
import signal
import sys
import time

PACKAGE, PATH, BOARD = sys.argv[1:]

package = importlib.import_module(PACKAGE)
if PACKAGE == "fasteners":
    lock = package.InterProcessReaderWriterLock(PATH)
else:
    lock = package.ReadWriteLock(PATH)
sections = {"read": lock.read_lock, "write": lock.write_lock}

file = os.open(BOARD, os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(file, 1)
#: Whether a writer is inside.
board = mmap.mmap(file, 1)


def cycle(kind, count):
    section = sections[kind]
    start = time.perf_counter_ns()
    for _ in range(count):
        with section():
            pass
    return time.perf_counter_ns() - start


def hammer(kind, milliseconds):
    """How many sections, and the longest wait for one in nanoseconds."""
    over = False

    def at_the_end(*signal):
        nonlocal over
        over = True

    signal.signal(signal.SIGALRM, at_the_end)
    signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
    section = sections[kind]
    done = longest = 0
    while not over:
        before = time.monotonic_ns()
        with section():
            longest = max(longest, time.monotonic_ns() - before)
            if board[0]:
                return f"EXCLUSION BROKEN: a {kind} section beside a writer"
            if kind == "write":
                board[0] = 1
                board[0] = 0
        done += 1
    return f"{done} {longest}"


for line in sys.stdin:
    name, kind, count = line.split()
    print(globals()[name](kind, int(count)), flush=True)
