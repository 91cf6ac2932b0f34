//! `cargo xtask dist` and `bench`: build the command as users install it.

mod first;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::python;
use crate::run::{Done, cargo, root, run};

/// Static and at a fixed address. A program that relocates itself writes to seven more pages at
/// every start.
pub(crate) const FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// Builds the static command and returns its path.
pub(crate) fn dist() -> Done<PathBuf> {
    dist_with(&[])
}

/// Builds the static command where the command of a wheel does not take its place.
pub(crate) fn dist_to_keep() -> Done<PathBuf> {
    let built = dist()?;
    let kept = target_directory().join("tested").join("holdlock");
    let copy =
        fs::create_dir_all(target_directory().join("tested")).and_then(|()| fs::copy(built, &kept));
    copy.map_err(|error| format!("{}: {error}", kept.display()))?;
    Ok(kept)
}

/// The command of the wheels has no locks between hosts, which would make it twice as large.
pub(crate) const WITHOUT_ENGINES: [&str; 1] = ["--no-default-features"];

/// Builds the static command with other features, in the place of the usual one.
pub(crate) fn dist_with(features: &[&str]) -> Done<PathBuf> {
    let target = host()?;
    let mut build = cargo(&["rustc", "--profile", "dist", "--package", "holdlock-cli"]);
    build
        .args(["--bin", "holdlock"])
        .args(features)
        // With an explicit target the flags do not apply to build scripts, which cannot be static.
        .args(["--target", &target])
        .env("RUSTFLAGS", FLAGS)
        .arg("--")
        .args(first::arguments()?);
    run(build)?;
    Ok(target_directory()
        .join(target)
        .join("dist")
        .join("holdlock"))
}

/// Builds the command, and the Python module if it is measured; then measures.
pub(crate) fn bench(arguments: &[String]) -> Done {
    let mut bench = cargo(&["run", "--release", "--package", "holdlock-bench", "--"]);
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        bench.arg("--help");
        return run(bench);
    }
    bench.args(arguments);
    let in_python = ["python", "python-many", "readers", "more", "engines"];
    let named = arguments
        .iter()
        .any(|word| in_python.contains(&word.as_str()));
    if named || arguments.iter().all(|word| word.starts_with('-')) {
        match python::peers() {
            Ok(packages) => drop(bench.arg("--python").arg(packages)),
            Err(why) if named => return Err(why),
            Err(why) => println!("the Python module is not measured: {why}"),
        }
    }
    // After the wheel, which has another command in the same place.
    bench.arg("--holdlock").arg(dist()?);
    if arguments.iter().any(|word| word == "engines") {
        match rust_peers() {
            Ok(program) => drop(bench.arg("--rust-peers").arg(program)),
            Err(why) => println!("the other crates are not measured: {why}"),
        }
    }
    run(bench)
}

/// Builds the program that locks by other crates, in a target directory of its own.
fn rust_peers() -> Done<PathBuf> {
    let target = target_directory().join("rust-peers");
    let mut build = cargo(&["build", "--release", "--locked"]);
    build
        .args(["--manifest-path", "crates/bench/rust-peers/Cargo.toml"])
        .arg("--target-dir")
        .arg(&target);
    run(build)?;
    Ok(target.join("release/holdlock-bench-rust-peers"))
}

/// The target for which rustc builds by default.
pub(crate) fn host() -> Done<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .map_err(|error| format!("rustc: {error}"))?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| "rustc -vV does not tell the host".to_owned())
}

pub(crate) fn target_directory() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}
