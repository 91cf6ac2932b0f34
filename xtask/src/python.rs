//! Builds the Python module, installs it in a virtual environment of its own, and tests it.

mod peers;
mod wheel;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) use peers::peers;
pub(crate) use wheel::{only_file, pack, pack_engines};

use crate::dist::target_directory;
use crate::lanes::Job;
use crate::outcome::{Outcome, listen, number_before};
use crate::run::{Done, root, run, shown};

/// The packages that build the wheel, from PyPI.
const BUILDERS: [&str; 2] = ["maturin>=1.9.4,<2", "pip"];
/// The packages that test it. pyright is a program for Node.js, which PyPI has as a package.
const TESTERS: [&str; 3] = ["pytest", "mypy", "pyright[nodejs]"];
/// Packages that some tests use. Without them these tests are skipped and say so.
const PARTNERS: [&str; 8] = [
    "anyio",
    "eventlet",
    "gevent",
    "pipx",
    "python-daemon",
    "trio",
    "uv",
    "uvloop",
];

/// The interpreter that has the module and its testers, or the reason why there is none.
pub(crate) struct Ready(Result<PathBuf, String>);

/// Builds the wheel and installs it beside the testers.
pub(crate) fn prepare() -> Done<Ready> {
    let python = environment(&[&BUILDERS[..], &TESTERS].concat());
    if let Ok(python) = &python {
        install_ours(python)?;
    }
    Ok(Ready(python))
}

impl Ready {
    /// The tests of the module.
    pub(crate) fn tests(&self) -> Vec<Job<'_>> {
        match &self.0 {
            Ok(python) => vec![
                Job::new("the Python module", |out| pytest(python, out)),
                Job::new("filelock's own tests", |out| upstream(python, out)),
            ],
            Err(why) => vec![Job::new("the Python module", move |_| {
                Ok(Outcome {
                    skipped: vec![format!("SKIPPED the Python module: {why}")],
                    ..Outcome::default()
                })
            })],
        }
    }

    /// The tests, and the checks of its types.
    pub(crate) fn checks(&self) -> Vec<Job<'_>> {
        let mut jobs = self.tests();
        if let Ok(python) = &self.0 {
            jobs.push(Job::new("the Python module's types", |out| {
                types(python, out)
            }));
        }
        jobs
    }
}

fn install_ours(python: &Path) -> Done {
    for partner in PARTNERS {
        let mut fetch = install(python);
        fetch.arg(partner);
        let _ = run(fetch);
    }
    let mut install = install(python);
    install
        .args(["--no-deps", "--force-reinstall"])
        .arg(wheel::wheel(python)?)
        .arg(wheel::engines_wheel(python)?);
    run(install)
}

fn package() -> PathBuf {
    root().join("crates/holdlock-python")
}

/// The interpreter of the virtual environment, with these tools; or the reason why there is none.
pub(crate) fn environment(tools: &[&str]) -> Done<PathBuf> {
    let place = target_directory().join("python");
    let mut python = place.join("bin/python");
    if !works(&python, &["-m", "pip", "--version"]) {
        python = new_environment(&place)?;
    }
    let mut fetch = install(&python);
    fetch.args(tools);
    run(fetch).map_err(|_| "pip cannot fetch the tools from PyPI".to_owned())?;
    Ok(python)
}

/// Makes an empty virtual environment and returns its interpreter.
pub(crate) fn new_environment(place: &Path) -> Done<PathBuf> {
    let usable = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))";
    if !works(Path::new("python3"), &["-c", usable]) {
        return Err("there is no python3 from 3.9 on with venv and pip".into());
    }
    println!("$ python3 -m venv {}", place.display());
    let make = ["-m", "venv", "--clear", &place.to_string_lossy()];
    if !works(Path::new("python3"), &make) {
        return Err("python3 -m venv failed".into());
    }
    Ok(place.join("bin/python"))
}

fn works(program: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command
        .stderr(Stdio::inherit())
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn install(python: &Path) -> Command {
    let quiet = ["--quiet", "--disable-pip-version-check"];
    let mut install = module(python, &["pip", "install"]);
    install.args(quiet);
    install
}

/// The tests, including the examples in the documentation.
fn pytest(python: &Path, out: &mut dyn Write) -> Done<Outcome> {
    let tests = module(python, &["pytest", "-q", "-rsfE", "-p", "no:cacheprovider"]);
    let mut outcome = Outcome::default();
    let mut last = String::new();
    let status = listen(tests, out, |line| {
        let words = ["FAILED ", "ERROR "];
        if let Some(name) = words.iter().find_map(|word| line.strip_prefix(word)) {
            let name = name.split(" - ").next().unwrap_or(name);
            outcome.failed.push(name.to_owned());
        } else if line.starts_with("SKIPPED ") {
            outcome.skipped.push(line.to_owned());
        }
        line.clone_into(&mut last);
    })?;
    outcome.passed = number_before(&last, " passed");
    // Also if pytest could not even start.
    if !status.success() && outcome.failed.is_empty() {
        outcome.failed.push(format!("pytest ({status}): {last}"));
    }
    Ok(outcome)
}

/// The tests of filelock, with holdlock in place of filelock.
fn upstream(python: &Path, out: &mut dyn Write) -> Done<Outcome> {
    let mut run = command(python);
    run.arg("tests/upstream/run.py");
    let mut outcome = Outcome::default();
    let status = listen(run, out, |line| {
        if let Some(name) = line.strip_prefix("  FAILED ") {
            outcome.failed.push(format!("filelock's own {name}"));
        } else if line.starts_with("SKIPPED ") {
            outcome.skipped.push(line.to_owned());
        } else {
            outcome.passed += number_before(line, " passed");
        }
    })?;
    if !status.success() && outcome.failed.is_empty() {
        outcome
            .failed
            .push(format!("filelock's own tests ({status})"));
    }
    Ok(outcome)
}

fn types(python: &Path, out: &mut dyn Write) -> Done<Outcome> {
    let mut check = module(python, &["mypy", "--strict", "-p", "holdlock"]);
    check
        .arg("--cache-dir")
        .arg(target_directory().join("mypy"));
    let mut outcome = pyright(python, out)?;
    if !listen(check, out, |_| ())?.success() {
        outcome.failed.push("mypy".into());
    }
    Ok(outcome)
}

fn pyright(python: &Path, out: &mut dyn Write) -> Done<Outcome> {
    let mut check = module(python, &["pyright", "--pythonpath"]);
    check.arg(python).env("PYRIGHT_PYTHON_IGNORE_WARNINGS", "1");
    let _ = writeln!(out, "$ {}", shown(&check));
    let output = check
        .output()
        .map_err(|error| format!("pyright: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let _ = write!(out, "{text}");
    let mut outcome = Outcome::default();
    if text.lines().any(|line| line.contains("error:")) {
        outcome.failed.push("pyright".into());
    } else if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.lines().next_back().unwrap_or("no reason given").trim();
        outcome
            .skipped
            .push(format!("SKIPPED pyright, which does not run: {why}"));
    }
    Ok(outcome)
}

/// `python -m …`
pub(crate) fn module(python: &Path, arguments: &[&str]) -> Command {
    let mut command = command(python);
    command.arg("-m").args(arguments);
    command
}

/// Python in the package's folder, from which the sources cannot be imported by accident.
fn command(python: &Path) -> Command {
    let mut command = Command::new(python);
    command
        .current_dir(package())
        .env_remove("PYTHONPATH")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CARGO_TARGET_DIR", target_directory())
        .stdin(Stdio::null());
    command
}
