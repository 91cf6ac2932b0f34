//! The Python module: built, installed in a virtual environment of its own, and tested.

mod peers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) use peers::peers;

use crate::dist::target_directory;
use crate::run::{Done, root};

/// What builds the wheel, from PyPI.
const BUILDERS: [&str; 2] = ["maturin>=1.9.4,<2", "pip"];
/// What tests it. pyright is a program for Node.js, which comes as a package, too.
const TESTERS: [&str; 3] = ["pytest", "mypy", "pyright[nodejs]"];
/// What it is tested with. A test that misses one of them says so and is skipped.
const PARTNERS: [&str; 3] = ["anyio", "trio", "uvloop"];

/// What the tests of the module came to.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: Vec<String>,
}

/// Builds the wheel, installs it, and runs its tests and type checks.
pub(crate) fn test() -> Done<Outcome> {
    let skipped = |why: String| Outcome {
        skipped: vec![format!("SKIPPED the Python module: {why}")],
        ..Outcome::default()
    };
    let python = match environment(&[&BUILDERS[..], &TESTERS].concat()) {
        Ok(python) => python,
        Err(why) => return Ok(skipped(why)),
    };
    for partner in PARTNERS {
        let mut fetch = install(&python);
        fetch.arg(partner);
        let _ = succeed(fetch);
    }
    let mut install = install(&python);
    install
        .args(["--no-deps", "--force-reinstall"])
        .arg(wheel(&python)?);
    succeed(install)?;
    let mut outcome = pytest(&python)?;
    upstream(&python, &mut outcome)?;
    let mut types = module(&python, &["mypy", "--strict", "-p", "holdlock"]);
    types
        .arg("--cache-dir")
        .arg(target_directory().join("mypy"));
    succeed(types)?;
    pyright(&python, &mut outcome)?;
    Ok(outcome)
}

fn package() -> PathBuf {
    root().join("crates/holdlock-python")
}

/// The virtual environment's interpreter, with these tools; or why there is none.
fn environment(tools: &[&str]) -> Done<PathBuf> {
    let place = target_directory().join("python");
    let python = place.join("bin/python");
    let works = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command
            .stderr(Stdio::inherit())
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !works(&python, &["-m", "pip", "--version"]) {
        let usable = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))";
        if !works(Path::new("python3"), &["-c", usable]) {
            return Err("there is no python3 from 3.9 on with venv and pip".into());
        }
        println!("$ python3 -m venv {}", place.display());
        let make = ["-m", "venv", "--clear", &place.to_string_lossy()];
        if !works(Path::new("python3"), &make) {
            return Err("python3 -m venv failed".into());
        }
    }
    let mut fetch = install(&python);
    fetch.args(tools);
    succeed(fetch).map_err(|_| "pip cannot fetch the tools from PyPI".to_owned())?;
    Ok(python)
}

fn install(python: &Path) -> Command {
    let quiet = ["--quiet", "--disable-pip-version-check"];
    let mut install = module(python, &["pip", "install"]);
    install.args(quiet);
    install
}

/// Builds the wheel, and returns where it is.
fn wheel(python: &Path) -> Done<PathBuf> {
    let wheels = target_directory().join("wheels");
    let _ = std::fs::remove_dir_all(&wheels);
    let mut build = module(python, &["maturin", "build", "--quiet", "--locked"]);
    build.args(["--profile", "wheel"]);
    build.arg("--interpreter").arg(python);
    build.arg("--out").arg(&wheels);
    succeed(build)?;
    let built = std::fs::read_dir(&wheels).map_err(|error| error.to_string())?;
    built
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .next()
        .ok_or_else(|| "maturin built no wheel".to_owned())
}

/// The tests, the examples in the documentation among them.
fn pytest(python: &Path) -> Done<Outcome> {
    let mut tests = module(python, &["pytest", "-q", "-rs", "-p", "no:cacheprovider"]);
    println!("$ {}", words(&tests));
    let output = tests
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("pytest: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let total = text.lines().next_back().unwrap_or_default();
    Ok(Outcome {
        passed: number_before(total, " passed"),
        // Also when it could not even begin.
        failed: (number_before(total, " failed") + number_before(total, " error"))
            .max(u32::from(!output.status.success())),
        skipped: text
            .lines()
            .filter(|line| line.starts_with("SKIPPED "))
            .map(str::to_owned)
            .collect(),
    })
}

/// filelock's own tests, with holdlock in its place.
fn upstream(python: &Path, outcome: &mut Outcome) -> Done {
    let mut run = command(python);
    run.arg("tests/upstream/run.py");
    println!("$ {}", words(&run));
    let output = run
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("run.py: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    outcome.passed += number_before(&text, " passed");
    outcome.failed += u32::from(!output.status.success());
    let skipped = text.lines().filter(|line| line.starts_with("SKIPPED "));
    outcome.skipped.extend(skipped.map(str::to_owned));
    Ok(())
}

fn pyright(python: &Path, outcome: &mut Outcome) -> Done {
    let mut check = module(python, &["pyright", "--pythonpath"]);
    check.arg(python).env("PYRIGHT_PYTHON_IGNORE_WARNINGS", "1");
    println!("$ {}", words(&check));
    let output = check
        .output()
        .map_err(|error| format!("pyright: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    if output.status.success() {
        Ok(())
    } else if text.lines().any(|line| line.contains("error:")) {
        Err("pyright found errors".into())
    } else {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.lines().next_back().unwrap_or("no reason given").trim();
        outcome
            .skipped
            .push(format!("SKIPPED pyright, which does not run: {why}"));
        Ok(())
    }
}

/// `python -m …`
fn module(python: &Path, arguments: &[&str]) -> Command {
    let mut command = command(python);
    command.arg("-m").args(arguments);
    command
}

/// Python in the package's folder, where the sources cannot be imported by accident.
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

fn succeed(mut command: Command) -> Done {
    println!("$ {}", words(&command));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` failed ({status})", words(&command))),
        Err(error) => Err(format!("cannot run `{}`: {error}", words(&command))),
    }
}

fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|word| word.to_string_lossy());
    arguments.fold("python".to_owned(), |line, word| line + " " + &word)
}

/// The number that stands before a word.
pub(crate) fn number_before(text: &str, word: &str) -> u32 {
    text.split(word)
        .next()
        .filter(|before| before.len() < text.len())
        .and_then(|before| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
