"""Builds the package as maturin does, and puts the command ``holdlock`` into it.

``pip`` calls these functions (PEP 517). What maturin finds in ``holdlock._native.data/scripts``
becomes a script of the wheel, which pip installs beside ``python``. ``cargo xtask wheels`` fills
that directory by itself, with static programs.
"""

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import maturin
from maturin import (  # noqa: F401  # hooks that need no change
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_wheel,
)

HERE = Path(__file__).resolve().parent.parent
SCRIPTS = HERE / "holdlock._native.data" / "scripts"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """A wheel with the module and the command."""
    with tempfile.TemporaryDirectory() as place:
        cargo = [os.environ.get("CARGO", "cargo"), "build", "--quiet", "--profile", "dist"]
        cargo += ["--manifest-path", str(_command() / "Cargo.toml"), "--target-dir", place]
        # With locks between hosts it would be twice as large.
        cargo += ["--no-default-features"]
        subprocess.run(cargo, check=True)
        # In a folder of its own if CARGO_BUILD_TARGET is set.
        (built,) = [*Path(place).glob("dist/holdlock"), *Path(place).glob("*/dist/holdlock")]
        try:
            SCRIPTS.mkdir(parents=True, exist_ok=True)
            shutil.copy(built, SCRIPTS)
            return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)
        finally:
            shutil.rmtree(SCRIPTS.parent)


def build_sdist(sdist_directory, config_settings=None):
    """maturin's source distribution, and the source of the command."""
    name = maturin.build_sdist(sdist_directory, config_settings)
    whole = Path(sdist_directory, name)
    top = name[: -len(".tar.gz")]
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(whole) as archive:
            archive.extractall(place)
        _copy_command(Path(place, top, "crates", "holdlock-cli"))
        with tarfile.open(whole, "w:gz") as archive:
            archive.add(Path(place, top), top)
    return name


def _command():
    """The folder of the command's crate: in a clone, or in a source distribution."""
    places = HERE.parent / "holdlock-cli", HERE / "crates" / "holdlock-cli"
    return next(place for place in places if (place / "Cargo.toml").is_file())


def _copy_command(target):
    """Copies the command's crate. maturin has copied those that the module can be built with."""
    source = _command()
    shutil.copytree(source / "src", target / "src")
    for name in ("README.md", "LICENSE-MIT", "LICENSE-APACHE"):
        shutil.copy(source / name, target)
    # Without the tests, and without the crate that they share.
    manifest = (source / "Cargo.toml").read_text(encoding="utf-8")
    manifest = re.sub(r"(?ms)^\[dev-dependencies\].*?^(?=\[)", "", manifest)
    (target / "Cargo.toml").write_text(manifest, encoding="utf-8")
