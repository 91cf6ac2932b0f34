//! `cargo xtask wheels`: the wheels for all Linux platforms, and the source distribution.
//!
//! zig links for all of them, and brings their C libraries. Rust's standard library for a platform
//! comes from `rustup target add`; where it is missing, it is built if Rust's source is there.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dist::{FLAGS, dist, host, target_directory};
use crate::outcome::Outcome;
use crate::python::{environment, module, only_file, pack};
use crate::run::{Done, root, run};

/// The tools, from PyPI.
const TOOLS: [&str; 6] = [
    "maturin>=1.9.4,<2",
    "ziglang",
    "cargo-zigbuild",
    "auditwheel",
    "build",
    "twine",
];

/// Takes a lock, and is refused it a second time.
const TRIAL: &str = "import os, tempfile, holdlock
path = os.path.join(tempfile.mkdtemp(), 'try.lock')
with holdlock.FileLock(path, timeout=1):
    try: holdlock.FileLock(path).acquire(timeout=0.01)
    except holdlock.Timeout: print('one holder')";

/// What a user downloads stays below this size.
const MOST_BYTES: u64 = 3_000_000;

/// The targets of the module and of the command, and the platform that the wheel names.
const PLATFORMS: [(&str, &str, &str); 4] = [
    (
        "x86_64-unknown-linux-gnu",
        "x86_64-unknown-linux-musl",
        "manylinux2014",
    ),
    (
        "aarch64-unknown-linux-gnu",
        "aarch64-unknown-linux-musl",
        "manylinux2014",
    ),
    (
        "x86_64-unknown-linux-musl",
        "x86_64-unknown-linux-musl",
        "musllinux_1_2",
    ),
    (
        "aarch64-unknown-linux-musl",
        "aarch64-unknown-linux-musl",
        "musllinux_1_2",
    ),
];

/// Builds and checks everything that is to be uploaded.
pub(crate) fn wheels() -> Done {
    let python = environment(&TOOLS)?;
    let place = target_directory().join("upload");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let tools = Tools { python, place };
    let mut outcome = Outcome::default();
    for (target, command, platform) in PLATFORMS {
        match tools.wheel(target, command, platform) {
            Ok(wheel) => tools.check(&wheel, target, &mut outcome)?,
            Err(Unbuilt::Missing(why)) => outcome.skipped.push(format!("SKIPPED {target}: {why}")),
            Err(Unbuilt::Failed(why)) => {
                println!("{why}");
                outcome.failed.push(format!("{platform} of {target}"));
            }
        }
    }
    tools.source(&mut outcome)?;
    println!("{}", tools.place.display());
    outcome.conclude()
}

/// Why there is no wheel.
enum Unbuilt {
    /// This machine cannot build it.
    Missing(String),
    Failed(String),
}

impl From<String> for Unbuilt {
    fn from(why: String) -> Self {
        Unbuilt::Failed(why)
    }
}

struct Tools {
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

    fn path(&self) -> OsString {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let tools = self.python.with_file_name("");
        let places = std::iter::once(tools).chain(std::env::split_paths(&path));
        std::env::join_paths(places).unwrap_or(path)
    }

    /// Builds one wheel and returns its path.
    fn wheel(&self, target: &str, command: &str, platform: &str) -> Result<PathBuf, Unbuilt> {
        let mut build = self.tool(&["maturin", "build", "--quiet", "--locked"]);
        build.args(["--profile", "wheel", "--zig", "--target", target]);
        build.args(["--compatibility", platform]);
        standard_library(&mut build, target, "std,panic_unwind")?;
        let program = self.command(command)?;
        let built = pack(
            build,
            &program,
            &target_directory().join("wheels").join(target),
        )?;
        let wheel = self.place.join(built.file_name().unwrap_or_default());
        fs::copy(&built, &wheel).map_err(|error| format!("{}: {error}", wheel.display()))?;
        Ok(wheel)
    }

    /// Builds the static command for a target.
    fn command(&self, target: &str) -> Result<PathBuf, Unbuilt> {
        let architecture = |name: &str| name.split('-').next().map(str::to_owned);
        if architecture(target) == architecture(&host()?) {
            return Ok(dist()?);
        }
        let mut build = Command::new(self.python.with_file_name("cargo-zigbuild"));
        build.args(["zigbuild", "--profile", "dist", "--locked"]);
        build.args(["--package", "holdlock-cli", "--target", target]);
        build.current_dir(root()).env("PATH", self.path());
        let mut flags = FLAGS.to_owned();
        if standard_library(&mut build, target, "std,panic_abort")? {
            // What starts the program comes from zig as well.
            flags.push_str(" -C link-self-contained=no");
        }
        build.env("RUSTFLAGS", flags);
        run(build)?;
        Ok(target_directory().join(target).join("dist/holdlock"))
    }

    /// Checks the platform and the size of a wheel, and tries it where it can run.
    fn check(&self, wheel: &Path, target: &str, outcome: &mut Outcome) -> Done {
        let name = wheel.file_name().unwrap_or_default().to_string_lossy();
        let size = fs::metadata(wheel).map_or(u64::MAX, |about| about.len());
        println!("{name}: {size} bytes");
        let mut audit = self.tool(&["auditwheel", "show"]);
        audit.arg(wheel);
        let audited = said(audit)?;
        let tags = name.trim_end_matches(".whl").rsplit('-').next();
        let tags: Vec<&str> = tags.unwrap_or_default().split('.').collect();
        let keeps = tags
            .iter()
            .any(|tag| audited.contains(&format!("\"{tag}\"")));
        count(outcome, keeps, &format!("auditwheel: {name}: {audited}"));
        count(outcome, size < MOST_BYTES, &format!("size of {name}"));
        let Some(python) = self.interpreter(target) else {
            let variable = variable(target);
            outcome.skipped.push(format!(
                "SKIPPED trying {name}: set {variable} to a command that starts its Python"
            ));
            return Ok(());
        };
        self.try_it(&python, wheel, tags[0], &name, outcome)
    }

    /// Installs the wheel in a directory, imports the module, and runs the command.
    fn try_it(
        &self,
        python: &[OsString],
        wheel: &Path,
        tag: &str,
        name: &str,
        outcome: &mut Outcome,
    ) -> Done {
        let place = target_directory().join("wheels").join("installed");
        let _ = fs::remove_dir_all(&place);
        let mut install = self.tool(&["pip", "install", "--quiet", "--no-deps", "--target"]);
        install.arg(&place).args(["--only-binary", ":all:"]);
        install.args(["--platform", tag]).arg(wheel);
        run(install)?;
        let (interpreter, starter) = python.split_last().ok_or("no words to start Python")?;
        let start = |program: &OsStr| {
            let words: Vec<&OsStr> = starter.iter().map(OsString::as_os_str).collect();
            let words = [&words[..], &[program]].concat();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).env("PYTHONPATH", &place);
            command
        };
        let mut module = start(interpreter);
        module.args(["-c", TRIAL]);
        let mut program = start(place.join("bin/holdlock").as_os_str());
        program.arg("--version");
        let texts = [said(module)?, said(program)?];
        let right = texts[0] == "one holder\n" && texts[1].starts_with("holdlock ");
        count(outcome, right, &format!("trying {name}: {texts:?}"));
        Ok(())
    }

    /// The words that start Python on this platform. The last one is Python itself, and with the
    /// words before it any program can be started.
    fn interpreter(&self, target: &str) -> Option<Vec<OsString>> {
        if let Some(words) = std::env::var_os(variable(target)) {
            let words = words.into_string().ok()?;
            return Some(words.split_whitespace().map(Into::into).collect());
        }
        (host().as_deref() == Ok(target)).then(|| vec![self.python.clone().into()])
    }

    /// Builds the source distribution, and from it a wheel.
    fn source(&self, outcome: &mut Outcome) -> Done {
        let built = target_directory().join("sdist");
        let _ = fs::remove_dir_all(&built);
        let mut build = self.tool(&["build", "--sdist", "--no-isolation", "--outdir"]);
        build.arg(&built).arg(".");
        run(build)?;
        let source = only_file(&built)?;
        let kept = self.place.join(source.file_name().unwrap_or_default());
        fs::copy(&source, &kept).map_err(|error| format!("{}: {error}", kept.display()))?;
        let wheels = target_directory().join("wheels").join("from-source");
        let _ = fs::remove_dir_all(&wheels);
        let mut build = self.tool(&["pip", "wheel", "--quiet", "--no-deps"]);
        build.arg("--wheel-dir").arg(&wheels).arg(&kept);
        run(build)?;
        let wheel = only_file(&wheels)?;
        let name = "the wheel of the source distribution";
        let platform = format!("linux_{}", std::env::consts::ARCH);
        self.try_it(
            &[self.python.clone().into()],
            &wheel,
            &platform,
            name,
            outcome,
        )?;
        let mut page = self.tool(&["twine", "check", "--strict"]);
        page.args(
            fs::read_dir(&self.place)
                .into_iter()
                .flatten()
                .flatten()
                .map(|file| file.path()),
        );
        count(outcome, run(page).is_ok(), "twine check");
        Ok(())
    }
}

/// Lets cargo build the standard library if it is not installed for the target. Returns whether it
/// does.
fn standard_library(build: &mut Command, target: &str, parts: &str) -> Result<bool, Unbuilt> {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let print = |what: &[&str]| {
        let output = Command::new(&rustc).args(what).output();
        let output = output.map_err(|error| format!("rustc: {error}"))?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok::<_, String>(PathBuf::from(path))
    };
    if print(&["--print", "target-libdir", "--target", target])?.is_dir() {
        return Ok(false);
    }
    let source = "lib/rustlib/src/rust/library/std/Cargo.toml";
    if !print(&["--print", "sysroot"])?.join(source).is_file() {
        let why = format!("its standard library is missing; `rustup target add {target}`");
        return Err(Unbuilt::Missing(why));
    }
    build.arg(format!("-Zbuild-std={parts}"));
    build.env("RUSTC_BOOTSTRAP", "1");
    Ok(true)
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

fn count(outcome: &mut Outcome, is_right: bool, what: &str) {
    if is_right {
        outcome.passed += 1;
    } else {
        outcome.failed.push(what.to_owned());
    }
}

fn variable(target: &str) -> String {
    format!("PYTHON_{}", target.to_uppercase().replace('-', "_"))
}
