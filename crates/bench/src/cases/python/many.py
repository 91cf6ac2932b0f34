"""One process of one peer: many tasks that wait, many released locks, and a crowded kernel table.

Prints the numbers of the case `python-many` on one line, in the order of its columns.
"""

import asyncio
import importlib
import os
import resource
import subprocess
import sys
import time

PEER, PLACE = sys.argv[1:]
package = importlib.import_module(PEER)
TASKS, LOCKS, RELEASED, CROWD = 1000, 100, 5000, 5000

HOLDER = """
import fcntl, os, resource, sys
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
files = []
for path in sys.stdin.readline().strip().split("\\0"):
    files.append(open(path, "a"))
    fcntl.flock(files[-1], fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""


def place(name):
    return os.path.join(PLACE, name)


def held_elsewhere(paths):
    """Another process that holds all these locks until its input ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    holder.stdin.write("\0".join(paths) + "\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "held\n"
    return holder


def let_go(holder):
    holder.stdin.close()
    holder.wait()


def count(what):
    return len(os.listdir(f"/proc/self/{what}"))


def memory():
    """Resident, in KiB."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() // 1024


async def waiting_tasks(paths, holder):
    """Failures, threads, descriptors, KiB, and milliseconds of processor time."""
    failures = 0

    async def work(number):
        nonlocal failures
        try:
            async with package.AsyncFileLock(paths[number % LOCKS]):
                await asyncio.sleep(0)
        except OSError:
            failures += 1

    threads, descriptors, before = count("task"), count("fd"), memory()
    start = time.process_time()
    tasks = [asyncio.ensure_future(work(number)) for number in range(TASKS)]
    # Not time that passes is measured here, but what the waits cost meanwhile.
    most_threads, most_descriptors = threads, descriptors
    for _ in range(20):
        await asyncio.sleep(0.05)
        most_threads = max(most_threads, count("task"))
        most_descriptors = max(most_descriptors, count("fd"))
    used = memory() - before
    let_go(holder)
    await asyncio.gather(*tasks)
    processor = (time.process_time() - start) * 1000
    return failures, most_threads - threads, most_descriptors - descriptors, used, processor


def released_locks():
    """How many descriptors are open after each of many locks was held once."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    before = count("fd")
    locks = [package.FileLock(place(f"released-{number}")) for number in range(RELEASED)]
    for lock in locks:
        with lock:
            pass
    return count("fd") - before


def first_acquisition():
    """Milliseconds of the first acquisition of a missing file; many locks are held on the host."""
    holder = held_elsewhere([place(f"crowd-{number}") for number in range(CROWD)])
    times = []
    for number in range(15):
        lock = package.FileLock(place(f"missing-{number}"))
        start = time.perf_counter_ns()
        with lock:
            times.append((time.perf_counter_ns() - start) / 1e6)
    let_go(holder)
    return sorted(times)[len(times) // 2]


resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
names = [place(f"waiting-{number}") for number in range(LOCKS)]
numbers = asyncio.run(waiting_tasks(names, held_elsewhere(names)))
print(*numbers, released_locks(), first_acquisition())
