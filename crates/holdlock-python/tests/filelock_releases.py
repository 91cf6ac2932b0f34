"""Releases of the ``filelock`` package, each in a directory of its own."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

#: The release whose interface is served, and the last one whose markers are empty of all releases
#: that are still in wide use.
NEWEST = "4.2.12"
EMPTY_MARKERS = "3.20.3"


@functools.lru_cache(maxsize=None)
def _installed(version: str) -> Path | None:
    target = Path(tempfile.mkdtemp(prefix=f"filelock-{version}-"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    pip = subprocess.run([*command, str(target), f"filelock=={version}"], capture_output=True)
    return target if pip.returncode == 0 else None


def directory(version: str) -> Path:
    """Where this release is, for PYTHONPATH; without PyPI the test is skipped."""
    found = _installed(version)
    if found is None:
        pytest.skip(f"filelock {version} could not be installed from PyPI")
    return found
