//! Builds wheels: the module by maturin, and beside it the command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{module, package};
use crate::dist::{WITHOUT_ENGINES, dist_with, target_directory};
use crate::run::{Done, run};

/// Builds the wheel of this host and returns its path.
pub(super) fn wheel(python: &Path) -> Done<PathBuf> {
    let command = dist_with(&WITHOUT_ENGINES)?;
    let wheels = target_directory().join("wheels");
    let mut build = module(python, &["maturin", "build", "--quiet", "--locked"]);
    build.args(["--profile", "wheel"]);
    build.arg("--interpreter").arg(python);
    pack(build, &command, &wheels)
}

/// Builds the wheel of the extra package for tests on this host, and returns its path. It is not
/// optimized: that would take minutes.
pub(super) fn engines_wheel(python: &Path) -> Done<PathBuf> {
    let mut build = module(python, &["maturin", "build", "--quiet", "--locked"]);
    build.args(["--profile", "dev"]);
    build.arg("--interpreter").arg(python);
    pack_engines(
        build,
        &target_directory().join("wheels-engines").join("host"),
    )
}

/// Lets maturin build the wheel of the extra package with locks between hosts, as the only file of
/// a directory. Returns its path.
pub(crate) fn pack_engines(mut build: Command, wheels: &Path) -> Done<PathBuf> {
    let _ = fs::remove_dir_all(wheels);
    build.current_dir(package().join("engines"));
    build.arg("--out").arg(wheels);
    run(build)?;
    only_file(wheels)
}

/// Lets maturin build the wheel, with this command among its scripts, as the only file of a
/// directory. Returns its path.
pub(crate) fn pack(mut build: Command, command: &Path, wheels: &Path) -> Done<PathBuf> {
    // Another task could fill the same directory with a command for another platform.
    let turn = package().join("pyproject.toml");
    let turn = fs::File::open(turn).and_then(|file| file.lock().map(|()| file));
    let _turn = turn.map_err(|error| format!("pyproject.toml: {error}"))?;
    let _ = fs::remove_dir_all(wheels);
    build.arg("--out").arg(wheels);
    // maturin packs the files of this directory into the wheel.
    let data = package().join("holdlock._native.data");
    let scripts = data.join("scripts");
    let built = fs::create_dir_all(&scripts)
        .and_then(|()| fs::copy(command, scripts.join("holdlock")))
        .map_err(|error| format!("cannot fill {}: {error}", scripts.display()))
        .and_then(|_| run(build));
    let _ = fs::remove_dir_all(data);
    built?;
    only_file(wheels)
}

/// The path of the only file in a directory.
pub(crate) fn only_file(directory: &Path) -> Done<PathBuf> {
    let listed = fs::read_dir(directory)
        .map_err(|error| format!("cannot read {}: {error}", directory.display()))?;
    let files: Vec<_> = listed.filter_map(Result::ok).collect();
    match &files[..] {
        [file] => Ok(file.path()),
        _ => Err(format!("{} files in {}", files.len(), directory.display())),
    }
}
