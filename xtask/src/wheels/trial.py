"""Tries an installed wheel: prints "works" if it does."""

import asyncio
import os
import tempfile
import threading

import holdlock

path = os.path.join(tempfile.mkdtemp(), "try.lock")
held, holder = os.pipe()
released, releaser = os.pipe()

child = os.fork()
if child == 0:
    with holdlock.FileLock(path):
        os.write(holder, b".")
        os.read(released, 1)
    os._exit(0)

os.read(held, 1)
lock = holdlock.FileLock(path)
try:
    lock.acquire(timeout=0.01)
except holdlock.Timeout as error:
    assert str(child) in str(error), error
# The kernel wakes the waiter when the child releases the lock.
threading.Timer(0.2, os.write, (releaser, b".")).start()
with lock.acquire(timeout=60):
    os.waitpid(child, 0)


async def use() -> None:
    async with holdlock.AsyncFileLock(path, timeout=60):
        pass


asyncio.run(use())
with holdlock.Semaphore(path + ".slots", 2):
    print("works")
