//! The test that must fail without a mechanism: where its source is, and how it runs.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::{Area, whole};
use crate::run::root;

/// What a test said about a tree.
#[derive(Clone)]
pub(super) enum Answer {
    Passed,
    Failed,
    /// It cannot run on this machine.
    Skipped(String),
    DoesNotBuild,
}

/// A program of tests.
pub(super) struct Target {
    kind: Kind,
    /// The file or folder that has the source of the tests.
    pub(super) source: PathBuf,
}

enum Kind {
    Cargo {
        package: &'static str,
        /// The arguments that choose the target among those of the package.
        chosen: Vec<&'static str>,
    },
    /// Tests of the Python module. They see changes of its Python part only: the native part is
    /// the one that `cargo xtask python` has installed.
    Python,
}

impl Target {
    /// Reads the name of a target. It is one of crates/conformance; after `command/` one of
    /// crates/holdlock-cli; after `engines/` one of crates/holdlock-engines; after `python/` a file
    /// of the tests of the Python module; `unit` for the unit tests of the area's crate; or `model`
    /// for the models of crates/gate-model.
    pub(super) fn of(name: &'static str, area: &Area) -> Target {
        let package = area.sources.split('/').nth(1).unwrap_or_default();
        match name.split_once('/') {
            Some(("command", target)) => Target::integration("holdlock-cli", target),
            Some(("engines", target)) => Target::integration("holdlock-engines", target),
            Some(("python", file)) => Target {
                kind: Kind::Python,
                source: Path::new("crates/holdlock-python/tests").join(file),
            },
            Some((other, _)) => panic!("no tests are called {other}/"),
            None if name == "unit" && package == "holdlock-cli" => {
                Target::cargo(package, vec!["--bins"], area.sources)
            }
            None if name == "unit" => Target::cargo(package, vec!["--lib"], area.sources),
            None if name == "model" => {
                let models = "crates/gate-model/src/models.rs";
                Target::cargo("gate-model", vec!["--lib"], models)
            }
            None => Target::integration("holdlock-conformance", name),
        }
    }

    fn cargo(
        package: &'static str,
        chosen: Vec<&'static str>,
        source: impl Into<PathBuf>,
    ) -> Target {
        Target {
            kind: Kind::Cargo { package, chosen },
            source: source.into(),
        }
    }

    fn integration(package: &'static str, target: &'static str) -> Target {
        let folder = match package {
            "holdlock-conformance" => "conformance",
            other => other,
        };
        let folder = Path::new("crates").join(folder).join("tests").join(target);
        let single = folder.with_extension("rs");
        let is_single = root().join(&single).is_file();
        let source = if is_single { single } else { folder };
        Target::cargo(package, vec!["--test", target], source)
    }

    /// Runs the tests whose name contains this text.
    pub(super) fn run(&self, test: &str, tree: &Path) -> Answer {
        let program = match &self.kind {
            Kind::Cargo { package, chosen } => {
                let build = cargo(Command::new("cargo"), package, chosen, tree)
                    .arg("--no-run")
                    .output();
                if !build.is_ok_and(|built| built.status.success()) {
                    return Answer::DoesNotBuild;
                }
                let mut cargo = cargo(limited("cargo"), package, chosen, tree);
                cargo.arg(test);
                cargo
            }
            Kind::Python => match self.pytest(test, tree) {
                Ok(pytest) => pytest,
                Err(why) => return Answer::Skipped(why),
            },
        };
        match whole::run(program, &root().join("target/mutants/said")) {
            Ok((status, said)) => self.read(status, &said),
            Err(error) => Answer::Skipped(format!("cannot run timeout(1): {error}")),
        }
    }

    fn read(&self, status: ExitStatus, said: &str) -> Answer {
        // What pytest returns if it has found no such test.
        if matches!(self.kind, Kind::Python) && status.code() == Some(5) {
            return Answer::DoesNotBuild;
        }
        if !status.success() {
            return Answer::Failed;
        }
        let skipped = said.lines().find(|line| line.contains("SKIPPED "));
        match skipped {
            Some(line) => Answer::Skipped(line.to_owned()),
            None => Answer::Passed,
        }
    }

    /// The tests, with the Python part of the tree and the native part that is installed.
    fn pytest(&self, test: &str, tree: &Path) -> Result<Command, String> {
        let python = root().join("target/python/bin/python");
        let where_is_it = "import holdlock._native as native; print(native.__file__)";
        let found = Command::new(&python).args(["-c", where_is_it]).output();
        let native = found
            .ok()
            .filter(|found| found.status.success())
            .ok_or("the Python module is not installed: run `cargo xtask python` first")?;
        let native = PathBuf::from(String::from_utf8_lossy(&native.stdout).trim());
        let sources = tree.join("crates/holdlock-python/python");
        let beside = sources
            .join("holdlock")
            .join(native.file_name().unwrap_or_default());
        let _ = std::fs::remove_file(&beside);
        std::os::unix::fs::symlink(&native, &beside)
            .map_err(|error| format!("{}: {error}", beside.display()))?;
        let mut pytest = limited(&python);
        pytest
            .args([
                "-m",
                "pytest",
                "-q",
                "-rs",
                "-p",
                "no:cacheprovider",
                "-k",
                test,
            ])
            .arg(tree.join(&self.source))
            .current_dir(tree.join("crates/holdlock-python"))
            .env("PYTHONPATH", &sources)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null());
        Ok(pytest)
    }

    /// The source of the tests, as one text.
    #[cfg(test)]
    pub(super) fn sources(&self) -> String {
        let mut text = String::new();
        add(&root().join(&self.source), &mut text);
        if self.source.starts_with("crates/holdlock-engines/tests") {
            // Modules of several of its targets.
            let tests = root().join("crates/holdlock-engines/tests");
            for folder in ["common", "leased"] {
                add(&tests.join(folder), &mut text);
            }
        }
        text
    }
}

/// The program with a time limit: a test that hangs has noticed something as well.
fn limited(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "120"]).arg(program);
    command
}

/// `cargo test` for a target.
fn cargo(mut command: Command, package: &str, chosen: &[&str], tree: &Path) -> Command {
    command.args(["test", "--quiet", "--package", package]);
    command
        .args(chosen)
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", root().join("target/mutants/target"))
        .env("RUSTFLAGS", "-A warnings")
        .stdin(Stdio::null());
    command
}

#[cfg(test)]
fn add(path: &Path, text: &mut String) {
    if !path.is_dir() {
        let file = std::fs::read_to_string(path);
        text.push_str(&file.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        return;
    }
    for entry in std::fs::read_dir(path).expect("a folder") {
        add(&entry.expect("an entry").path(), text);
    }
}
