"""The command ``holdlock`` that the wheel brings, and ``python -m holdlock``."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

import holdlock
from holdlock import FileLock

#: The wheel that ``cargo xtask python`` has installed.
WHEELS = sorted(Path(os.environ.get("CARGO_TARGET_DIR", "target"), "wheels").glob("*.whl"))
INSTALLED = Path(sysconfig.get_path("scripts"), "holdlock")


@pytest.fixture
def wheel():
    if not WHEELS:
        pytest.skip("needs the wheel of `cargo xtask python`")
    return WHEELS[0]


@pytest.fixture
def command():
    if not INSTALLED.exists():
        pytest.skip("the module was installed without its wheel")
    return INSTALLED


def run(*words, **environment):
    given = {"env": dict(os.environ, **environment)} if environment else {}
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, **given)


def module(*words, **environment):
    return run(sys.executable, "-m", "holdlock", *words, **environment)


def version_of(said):
    assert said.returncode == 0, said.stderr
    return said.stdout


VERSION = f"holdlock {holdlock.__version__}\n"


def test_the_wheel_brings_the_command_itself(command):
    assert version_of(run(command, "--version")) == VERSION
    # And not a script that starts Python first.
    assert command.read_bytes()[:4] == b"\x7fELF"


def test_the_command_needs_no_library(command):
    said = run("ldd", command)
    assert "not a dynamic executable" in said.stderr or "statically linked" in said.stdout


def test_the_module_runs_the_installed_command_wherever_path_leads(command, path, tmp_path):
    other = tmp_path / "holdlock"
    other.write_text("#!/bin/sh\necho another\n")
    other.chmod(0o755)
    with FileLock(path):
        said = module("who", path, PATH=str(tmp_path))
    assert said.returncode == 0 and f" {os.getpid()} " in said.stdout, said
    assert module(PATH=str(tmp_path)).stdout == f"{command}\n"


def test_the_module_finds_the_command_of_every_kind_of_installation(wheel, tmp_path):
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", wheel]
    assert run(*pip, "--target", tmp_path / "target").returncode == 0
    said = module(PYTHONPATH=str(tmp_path / "target"))
    assert said.stdout == f"{tmp_path}/target/bin/holdlock\n", said
    pip += ["--ignore-installed", "--prefix", tmp_path / "prefix"]
    assert run(*pip).returncode == 0
    (package,) = tmp_path.glob("prefix/lib*/python*/site-packages")
    said = module(PYTHONPATH=str(package))
    assert said.stdout == f"{tmp_path}/prefix/bin/holdlock\n", said


def test_without_an_installed_command_the_module_uses_path(tmp_path):
    package = tmp_path / "package"
    shutil.copytree(Path(holdlock.__file__).parent, package / "holdlock")
    here = tmp_path / "bin"
    here.mkdir()
    alone = {"PYTHONPATH": str(package), "PATH": str(here)}
    said = module(**alone)
    assert said.returncode == 0 and "cargo xtask install" in said.stderr
    assert module("status", **alone).returncode == 127
    command = here / "holdlock"
    command.write_text('#!/bin/sh\necho "called with $*"\nexit 3\n')
    command.chmod(0o755)
    assert module(**alone).stdout == f"{command}\n"
    said = module("run", "-x", **alone)
    assert (said.returncode, said.stdout) == (3, "called with run -x\n")


def test_the_wheel_is_small(wheel):
    assert wheel.stat().st_size < 3_000_000


@pytest.mark.parametrize("tool", ["pipx", "uv"])
def test_pipx_and_uvx_run_the_command(tool, wheel, path, tmp_path):
    if find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    start = {
        "pipx": ["pipx", "run", "--spec", wheel, "holdlock"],
        "uv": ["uv", "tool", "run", "--from", wheel, "holdlock"],
    }[tool]
    places = {name: str(tmp_path / name) for name in ("PIPX_HOME", "UV_CACHE_DIR", "UV_TOOL_DIR")}
    with FileLock(path):
        said = run(sys.executable, "-m", *start, "who", path, **places)
    if said.returncode != 0 and "pypi.org" in said.stderr:
        pytest.skip(f"{tool} needs PyPI: {said.stderr.strip().splitlines()[-1]}")
    assert said.returncode == 0 and f" {os.getpid()} " in said.stdout, said
