"""After :func:`holdlock.install_as_filelock`, packages that import ``filelock`` get this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from from_pypi import NEWEST, directory, environment


def run(program: str, *arguments: str, where: Path | None = None) -> str:
    """The output of a Python program that runs in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=None if where is None else environment(where),
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture
def the_real_one() -> Path:
    return directory(NEWEST)


@pytest.fixture
def users() -> Path:
    """Packages that use filelock."""
    return directory("virtualenv", "tldextract", "cachecontrol[filecache]", dependencies=True)


def test_import_filelock_gives_holdlock() -> None:
    run("""
import holdlock
holdlock.install_as_filelock()
holdlock.install_as_filelock()
import filelock, importlib.util
from filelock import FileLock, SoftFileLock, Timeout, UnixFileLock
from filelock._error import Timeout as hidden
from filelock._api import BaseFileLock, AcquireReturnProxy
from filelock._soft import SoftFileLock as soft
from filelock._read_write import ReadWriteLock
from filelock._unix import UnixFileLock as unix, has_fcntl
from filelock.asyncio import AsyncFileLock, AsyncSoftFileLock
from filelock.version import version
import filelock._api
assert FileLock is holdlock.FileLock is UnixFileLock is unix
assert Timeout is hidden is holdlock.Timeout
assert soft is SoftFileLock is holdlock.SoftFileLock
assert filelock._api.BaseFileLock is holdlock.BaseFileLock
assert AsyncFileLock is filelock.AsyncFileLock is holdlock.AsyncFileLock
assert ReadWriteLock is filelock.ReadWriteLock is holdlock.ReadWriteLock
assert importlib.util.find_spec("filelock") is not None
assert filelock.__version__ == version == filelock.version
assert [int(part) for part in version.split(".")] > [4]
""")


def test_every_name_in_all_is_there() -> None:
    run("""
import holdlock
holdlock.install_as_filelock()
import filelock
missing = [name for name in filelock.__all__ if not hasattr(filelock, name)]
assert not missing, missing
from filelock import *
assert AcquireReturnProxy is holdlock.AcquireReturnProxy
""")


def test_a_name_that_is_absent_says_why() -> None:
    output = run("""
import holdlock
holdlock.install_as_filelock()
import filelock
for module in (filelock, holdlock):
    assert not hasattr(module, "SoftFileLease")
    try:
        module.SoftFileLease
    except AttributeError as error:
        print(error)
try:
    from filelock import StrictSoftFileLock
except ImportError as error:
    print(error)
""")
    assert output.count("from a living holder; docs/python-filelock.md") == 2
    assert "StrictSoftFileLock" in output


def test_install_fails_after_filelock_was_imported(the_real_one: Path) -> None:
    output = run(
        """
import filelock, holdlock
try:
    holdlock.install_as_filelock()
except RuntimeError as error:
    print(error)
assert filelock.FileLock is not holdlock.FileLock
""",
        where=the_real_one,
    )
    assert "filelock was imported already, from /" in output


def test_uninstall_restores_filelock(the_real_one: Path) -> None:
    run(
        """
import holdlock
holdlock.uninstall_as_filelock()  # nothing to do
holdlock.install_as_filelock()
import filelock as ours
holdlock.uninstall_as_filelock()
import filelock, filelock.asyncio
assert filelock is not ours
assert filelock.FileLock is not holdlock.FileLock
holdlock.uninstall_as_filelock()
import sys
assert sys.modules["filelock"] is filelock
""",
        where=the_real_one,
    )


def test_virtualenv_makes_an_environment_under_our_locks(tmp_path: Path, users: Path) -> None:
    run(
        """
import sys
import holdlock
holdlock.install_as_filelock()
import virtualenv.util.lock as used
assert used.FileLock is holdlock.FileLock
import virtualenv
virtualenv.cli_run([sys.argv[1], "--no-periodic-update", "--app-data", sys.argv[1] + "-data"])
import os
assert os.path.exists(sys.argv[1] + "/bin/python")
assert any(name.endswith(".lock") for _, _, names in os.walk(sys.argv[1] + "-data") for name in names)
""",
        f"{tmp_path}/environment",
        where=users,
    )


def test_tldextract_keeps_its_cache_under_our_locks(tmp_path: Path, users: Path) -> None:
    run(
        """
import os, sys
import holdlock
holdlock.install_as_filelock()
import tldextract, tldextract.cache
assert tldextract.cache.FileLock is holdlock.FileLock
extract = tldextract.TLDExtract(cache_dir=sys.argv[1], suffix_list_urls=())
assert extract("forums.bbc.co.uk").domain == "bbc"
locks = [name for _, _, names in os.walk(sys.argv[1]) for name in names if name.endswith(".lock")]
assert locks
""",
        f"{tmp_path}/cache",
        where=users,
    )


def test_cachecontrol_keeps_its_files_under_our_locks(tmp_path: Path, users: Path) -> None:
    run(
        """
import os, sys
import holdlock
holdlock.install_as_filelock()
from cachecontrol.caches import FileCache
cache = FileCache(sys.argv[1])
assert cache.lock_class is holdlock.FileLock
cache.set("key", b"value")
assert cache.get("key") == b"value"
""",
        f"{tmp_path}/cache",
        where=users,
    )
