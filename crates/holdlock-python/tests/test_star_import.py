"""``from holdlock import *`` and ``help(holdlock)``, also without the package for engines."""

import subprocess
import sys

import holdlock

PROGRAM = """
import asyncio, pydoc, sys
sys.modules["holdlock_engines"] = None  # as if it were not installed
from holdlock import *
import holdlock
assert FileLock is holdlock.FileLock
assert asyncio.run and open is not holdlock.open  # Python's own
print("Semaphore" in pydoc.render_doc(holdlock))
"""


def test_all_names_can_be_imported_without_the_package_for_locks_between_hosts():
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100
    )
    assert (ran.stdout, ran.stderr) == ("True\n", "")


def test_the_names_that_a_star_imports_are_there():
    assert {"FileLock", "Semaphore", "EngineError"} <= set(holdlock.__all__)
    for name in holdlock.__all__:
        getattr(holdlock, name)
