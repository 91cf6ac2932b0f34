//! `cargo xtask wheels`: the wheels for all Linux platforms, and the source distribution.

mod build;
mod check;
mod source;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dist::target_directory;
use crate::outcome::Outcome;
use crate::python::{environment, module};
use crate::run::Done;

/// The tools, from PyPI.
const TOOLS: [&str; 8] = [
    "maturin>=1.9.4,<2",
    "ziglang",
    "cargo-zigbuild",
    "auditwheel",
    "build",
    "pipx",
    "twine",
    "uv",
];

/// What a wheel is built for.
struct Platform {
    /// The target of the module.
    target: &'static str,
    /// What the wheel's name says.
    name: &'static str,
    /// The targets of the command, the best first. The program for musl is static and runs
    /// everywhere; the program for glibc is linked dynamically.
    commands: &'static [&'static str],
}

const PLATFORMS: [Platform; 4] = [
    Platform {
        target: "x86_64-unknown-linux-gnu",
        name: "manylinux2014",
        commands: &["x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"],
    },
    Platform {
        target: "aarch64-unknown-linux-gnu",
        name: "manylinux2014",
        commands: &["aarch64-unknown-linux-musl", "aarch64-unknown-linux-gnu"],
    },
    Platform {
        target: "x86_64-unknown-linux-musl",
        name: "musllinux_1_2",
        commands: &["x86_64-unknown-linux-musl"],
    },
    Platform {
        target: "aarch64-unknown-linux-musl",
        name: "musllinux_1_2",
        commands: &["aarch64-unknown-linux-musl"],
    },
];

/// Builds and checks everything that is to be uploaded, or only the wheels of the targets with this
/// text in their name.
pub(crate) fn wheels(part: Option<&str>) -> Done {
    let wanted = |platform: &&Platform| part.is_none_or(|part| platform.target.contains(part));
    let platforms: Vec<&Platform> = PLATFORMS.iter().filter(wanted).collect();
    if platforms.is_empty() {
        let known = PLATFORMS.map(|platform| platform.target).join(", ");
        return Err(format!("no such target; those of the wheels are {known}"));
    }
    let python = environment(&TOOLS)?;
    let place = target_directory().join("upload");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let tools = Tools { python, place };
    let mut outcome = Outcome::default();
    for platform in platforms {
        let what = format!("{} of {}", platform.name, platform.target);
        match tools.wheel(platform) {
            Ok(wheel) => {
                tools.check(&wheel, platform.target, &mut outcome)?;
                tools.engines(&wheel, platform, &mut outcome)?;
            }
            Err(Unbuilt::Missing(why)) => outcome.skipped.push(format!("SKIPPED {what}: {why}")),
            Err(Unbuilt::Failed(why)) => {
                println!("{why}");
                outcome.failed.push(what);
            }
        }
    }
    if part.is_none() {
        tools.source(&mut outcome)?;
    }
    tools.pages(&mut outcome);
    println!("{}", tools.place.display());
    outcome.conclude()
}

/// Why there is no wheel.
enum Unbuilt {
    /// This machine cannot build it: the reason, and what to do.
    Missing(String),
    Failed(String),
}

impl From<String> for Unbuilt {
    fn from(why: String) -> Self {
        Unbuilt::Failed(why)
    }
}

struct Tools {
    /// The interpreter that has the tools.
    python: PathBuf,
    /// Where the files for upload are collected.
    place: PathBuf,
}

impl Tools {
    /// `python -m …`, with the other tools on PATH.
    fn tool(&self, arguments: &[&str]) -> Command {
        let mut tool = module(&self.python, arguments);
        tool.env("PATH", self.path());
        tool
    }

    /// Builds and checks the extra package with locks between hosts.
    fn engines(&self, ours: &Path, platform: &Platform, outcome: &mut Outcome) -> Done {
        let what = format!("holdlock-engines for {}", platform.target);
        match self.engines_wheel(platform) {
            Ok(wheel) => return self.check_engines(&wheel, ours, platform.target, outcome),
            Err(Unbuilt::Missing(why)) => outcome.skipped.push(format!("SKIPPED {what}: {why}")),
            Err(Unbuilt::Failed(why)) => {
                println!("{why}");
                outcome.failed.push(what);
            }
        }
        Ok(())
    }

    fn path(&self) -> OsString {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let tools = self.python.with_file_name("");
        let places = std::iter::once(tools).chain(std::env::split_paths(&path));
        std::env::join_paths(places).unwrap_or(path)
    }
}

fn count(outcome: &mut Outcome, is_right: bool, what: &str) {
    if is_right {
        outcome.passed += 1;
    } else {
        outcome.failed.push(what.to_owned());
    }
}

/// The output of a program, which may fail.
fn said(mut command: Command) -> Done<String> {
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let texts =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok(texts.concat())
}
