"""Shows what a lock is for.

Three processes enter a section and leave it, three times each. Worker 2 prints ``+[2]`` when it
enters, and ``-[2]`` when it leaves. Run this in two terminals at once:

    python two_terminals.py
    python two_terminals.py --without

With the lock each ``+`` is followed by the ``-`` of the same worker, and no worker in the other
terminal is inside meanwhile. Without the lock several workers are inside at once.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import tempfile
import time
from typing import ContextManager

from holdlock import FileLock

ROUNDS = 3


def work(name: str, section: ContextManager[object], longest: float, log: str | None) -> None:
    """Goes in and out; what is in the ``with`` is the section."""
    for _ in range(ROUNDS):
        with section:
            say(f"+[{name}]", log)
            time.sleep(random.uniform(0, longest))
            say(f"-[{name}]", log)
        time.sleep(random.uniform(0, longest))


def say(line: str, log: str | None) -> None:
    print(line, flush=True)
    if log is not None:
        with open(log, "a", encoding="utf-8") as both:
            both.write(line + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    lock = os.path.join(tempfile.gettempdir(), "two_terminals.lock")
    parser.add_argument("--without", action="store_true", help="no lock: see what happens")
    parser.add_argument("--lock", default=lock, help="the lock file [%(default)s]")
    parser.add_argument("--log", metavar="FILE", help="write the lines of all terminals there, too")
    parser.add_argument("--longest", type=float, default=1.0, metavar="SECONDS", help="in a section [1]")
    parser.add_argument("--names", default="123", help="one letter for each worker [123]")
    parser.add_argument("--start", choices=multiprocessing.get_all_start_methods())
    options = parser.parse_args()
    multiprocessing.set_start_method(options.start)
    section = contextlib.nullcontext() if options.without else FileLock(options.lock)
    workers = [
        multiprocessing.Process(target=work, args=[name, section, options.longest, options.log])
        for name in options.names
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
