"""What several tests of tasks need: to acquire, and to see what waits."""

from __future__ import annotations

import os


def threads() -> int:
    """The number of threads of the process, not only of Python's."""
    return len(os.listdir("/proc/self/task"))


def waiting_threads() -> int:
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as comm:
                names.append(comm.read())
        except OSError:
            pass
    return sum(name.startswith("holdlock-async") for name in names)


def is_unused(path) -> bool:
    """Whether the kernel knows neither a holder nor a waiter."""
    there = os.stat(path)
    # Another file system may have the same inode number. Its major number is not compared: the
    # table may show another one than stat(2).
    file = f":{os.minor(there.st_dev):02x}:{there.st_ino} "
    with open("/proc/locks") as locks:
        return not [line for line in locks if file in line]


async def acquire(lock):
    await lock.acquire()


async def release(lock):
    await lock.release()
