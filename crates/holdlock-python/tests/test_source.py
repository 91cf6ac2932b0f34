"""The source distribution: what `pip` builds from."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(find_spec("maturin") is None, reason="maturin is not installed")
@pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")
def test_the_source_distribution_has_every_crate_that_it_builds(tmp_path):
    build = "import sys, wheel_with_command as backend; backend.build_sdist(sys.argv[1])"
    # The backend starts maturin.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    places = {"PYTHONPATH": str(PACKAGE / "backend"), "PATH": path}
    run([sys.executable, "-c", build, tmp_path], cwd=PACKAGE, env=places)
    (packed,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path)
    (unpacked,) = tmp_path.glob("*/crates/holdlock-cli/Cargo.toml")
    # Reads the manifests of all crates.
    run(["cargo", "metadata", "--offline", "--format-version", "1", "--manifest-path", unpacked])


def run(command, cwd=None, env=()):
    environment = {**os.environ, **dict(env)}
    said = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
