//! Building a wheel for a platform.
//!
//! zig links for all platforms, and brings their C libraries. Rust's standard library for a
//! platform comes from `rustup target add`. Where that is missing and Rust's source is there, cargo
//! builds the standard library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Platform, Tools, Unbuilt};
use crate::dist::{FLAGS, WITHOUT_ENGINES, dist_with, host, target_directory};
use crate::python::{pack, pack_engines};
use crate::run::{Done, root, run};

/// The oldest glibc of manylinux2014.
const GLIBC: &str = "2.17";

impl Tools {
    /// Builds one wheel and returns its path.
    pub(super) fn wheel(&self, platform: &Platform) -> Result<PathBuf, Unbuilt> {
        let build = self.maturin(platform)?;
        let command = self.command(platform)?;
        let wheels = target_directory().join("wheels").join(platform.target);
        Ok(self.keep(&pack(build, &command, &wheels)?)?)
    }

    /// Builds the wheel of the extra package with locks between hosts, and returns its path.
    pub(super) fn engines_wheel(&self, platform: &Platform) -> Result<PathBuf, Unbuilt> {
        let build = self.maturin(platform)?;
        let wheels = target_directory().join("wheels-engines");
        Ok(self.keep(&pack_engines(build, &wheels.join(platform.target))?)?)
    }

    /// maturin for a platform.
    fn maturin(&self, platform: &Platform) -> Result<Command, Unbuilt> {
        let mut build = self.tool(&["maturin", "build", "--quiet", "--locked"]);
        build.args(["--profile", "wheel", "--zig"]);
        build.args(["--target", platform.target]);
        build.args(["--compatibility", platform.name]);
        standard_library(&mut build, platform.target, "std,panic_unwind")?;
        Ok(build)
    }

    /// Copies a wheel to those for upload, and returns its new path.
    fn keep(&self, built: &Path) -> Done<PathBuf> {
        let wheel = self.place.join(built.file_name().unwrap_or_default());
        fs::copy(built, &wheel).map_err(|error| format!("{}: {error}", wheel.display()))?;
        Ok(wheel)
    }

    /// Builds the best command for a platform that can be built here.
    fn command(&self, platform: &Platform) -> Result<PathBuf, Unbuilt> {
        let architecture = |name: &str| name.split('-').next().map(str::to_owned);
        if architecture(platform.target) == architecture(&host()?) {
            // It is static, and runs on every system of this processor.
            return Ok(dist_with(&WITHOUT_ENGINES)?);
        }
        let mut missing = None;
        for target in platform.commands {
            match self.cross(target) {
                Err(Unbuilt::Missing(why)) => {
                    println!("no command for {target}: {why}");
                    missing.get_or_insert(Unbuilt::Missing(why));
                }
                done => return done,
            }
        }
        Err(missing.unwrap_or(Unbuilt::Missing("no target for the command".into())))
    }

    /// Builds the command for another processor.
    fn cross(&self, target: &str) -> Result<PathBuf, Unbuilt> {
        let mut build = Command::new(self.python.with_file_name("cargo-zigbuild"));
        build.args(["zigbuild", "--profile", "dist", "--locked"]);
        build
            .args(["--package", "holdlock-cli"])
            .args(WITHOUT_ENGINES);
        build.current_dir(root()).env("PATH", self.path());
        let builds = standard_library(&mut build, target, "std,panic_abort")?;
        if target.ends_with("gnu") {
            // zig has no static glibc.
            build.arg("--target").arg(format!("{target}.{GLIBC}"));
        } else {
            let mut flags = FLAGS.to_owned();
            if builds {
                // What starts the program comes from zig as well.
                flags.push_str(" -C link-self-contained=no");
            }
            build.args(["--target", target]).env("RUSTFLAGS", flags);
        }
        run(build)?;
        Ok(target_directory().join(target).join("dist/holdlock"))
    }
}

/// Lets cargo build the standard library if it is not installed for the target. Returns whether it
/// does.
fn standard_library(build: &mut Command, target: &str, parts: &str) -> Result<bool, Unbuilt> {
    if path_from_rustc(&["--print", "target-libdir", "--target", target])?.is_dir() {
        return Ok(false);
    }
    let source = "lib/rustlib/src/rust/library/std/Cargo.toml";
    if !path_from_rustc(&["--print", "sysroot"])?
        .join(source)
        .is_file()
    {
        return Err(Unbuilt::Missing(format!(
            "Rust's standard library for {target} is missing; run `rustup target add {target}`, or \
             get its source by `rustup component add rust-src`"
        )));
    }
    build.arg(format!("-Zbuild-std={parts}"));
    build.env("RUSTC_BOOTSTRAP", "1");
    Ok(true)
}

fn path_from_rustc(arguments: &[&str]) -> Done<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let output = Command::new(rustc)
        .args(arguments)
        .output()
        .map_err(|error| format!("rustc: {error}"))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(PathBuf::from(path))
}
