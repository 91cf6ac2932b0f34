"""Packages from PyPI, in directories outside the environment of the tests."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

#: The release of ``filelock`` whose interface is served, and the last one whose soft locks have
#: empty markers among those that are still in wide use.
NEWEST = "filelock==4.3.1"
EMPTY_MARKERS = "filelock==3.20.3"


@functools.lru_cache(maxsize=None)
def _installed(requirements: tuple[str, ...], options: tuple[str, ...]) -> Path | None:
    target = Path(tempfile.mkdtemp(prefix="holdlock-tests-"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
    pip = subprocess.run([*command, *options, *requirements], capture_output=True)
    return target if pip.returncode == 0 else None


def directory(*requirements: str, dependencies: bool = False) -> Path:
    """Where these packages are, for PYTHONPATH; without PyPI the test is skipped."""
    found = _installed(requirements, () if dependencies else ("--no-deps",))
    if found is None:
        pytest.skip(f"{' and '.join(requirements)} could not be installed from PyPI")
    return found


def environment(place: Path) -> dict[str, str]:
    """This process's environment, with that place on the path of Python."""
    path = [str(place), os.environ.get("PYTHONPATH", "")]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, path)))
