"""The examples in the documentation, and the names of the module."""

import doctest
import importlib
import os
import pkgutil
import subprocess
import sys

import pytest

import holdlock
from holdlock import _native, lock_descriptor, unlock_descriptor

# Without `open`, which is Python's own in the examples.
NAMES = {name: getattr(holdlock, name) for name in holdlock.__all__}
MODULES = [
    module.name
    for module in pkgutil.iter_modules(holdlock.__path__, "holdlock.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", ["holdlock", *MODULES])
def test_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs=NAMES).failed == 0


@pytest.mark.parametrize("name", [name for name in dir(_native) if name[0].isupper()])
def test_examples_of_native_classes(name):
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for test in finder.find(getattr(_native, name), name, globs=dict(NAMES)):
        runner.run(test)
    assert runner.failures == 0


def test_all_names_are_there():
    for name in holdlock.__all__:
        assert getattr(holdlock, name) is not None
    assert set(holdlock.__all__) <= set(dir(holdlock))
    with pytest.raises(AttributeError):
        holdlock.nothing
    assert holdlock.__version__.count(".") == 2


def test_type_checkers_refuse_names_that_are_not_there():
    pytest.importorskip("mypy")
    program = "import holdlock; holdlock.SoftFileLock; holdlock.NoSuch"
    check = [sys.executable, "-m", "mypy", "--cache-dir", os.devnull, "-c", program]
    checked = subprocess.run(check, capture_output=True, text=True)
    assert checked.stdout.count("error:") == 1 and "NoSuch" in checked.stdout


def test_type_checkers_accept_every_name():
    pytest.importorskip("mypy")
    # Also `open`, which `from holdlock import *` leaves out.
    names = [f"holdlock.{name}" for name in [*holdlock.__all__, "open"]]
    program = "import holdlock\n" + "\n".join(names)
    check = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "-c", program]
    checked = subprocess.run(check, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_objects_say_what_they_are(path):
    lock = holdlock.FileLock(path)
    assert repr(lock) == f"<FileLock '{path}', not held>"
    with lock:
        assert repr(lock) == f"<FileLock '{path}', held>"
    assert repr(holdlock.AsyncSoftFileLock(path)) == f"<AsyncSoftFileLock '{path}', not held>"
    assert repr(holdlock.ReadWriteLock(path)) == f"<ReadWriteLock '{path}', not held>"


def test_a_descriptor_can_be_locked(path, holder):
    with open(path, "w") as file:
        assert lock_descriptor(file.fileno()) is True
        with pytest.raises(holdlock.Timeout):
            holdlock.FileLock(path).acquire(timeout=0)
        unlock_descriptor(file.fileno())
        holder(path)
        assert lock_descriptor(file.fileno(), blocking=False) is False
    with pytest.raises(OSError):
        lock_descriptor(file.fileno() if not file.closed else 999999)
