//! The test that must fail without a mechanism: where its source is, and how it runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::Area;
use crate::run::root;

/// What a test said about a tree.
pub(super) enum Answer {
    Passed,
    Failed,
    /// It cannot run on this machine.
    Skipped(String),
    DoesNotBuild,
}

/// A test target of cargo.
pub(super) struct Target {
    package: &'static str,
    /// The arguments that choose the target among those of the package.
    chosen: Vec<&'static str>,
    /// The file or folder that has the source of the tests.
    pub(super) source: PathBuf,
}

impl Target {
    /// Reads the name of a target. It is one of crates/conformance; after `command/` one of
    /// crates/holdlock-cli; after `engines/` one of crates/holdlock-engines; `unit` for the unit
    /// tests of the area's crate; or `model` for the models of crates/gate-model.
    pub(super) fn of(name: &'static str, area: &Area) -> Target {
        let crates = Path::new("crates");
        let (package, target) = match name.split_once('/') {
            Some(("command", target)) => ("holdlock-cli", target),
            Some(("engines", target)) => ("holdlock-engines", target),
            Some((package, _)) => panic!("no tests are called {package}/"),
            None if name == "unit" => {
                let package = area.sources.split('/').nth(1).expect("crates/NAME/src");
                let chosen = if package == "holdlock-cli" {
                    "--bins"
                } else {
                    "--lib"
                };
                return Target {
                    package,
                    chosen: vec![chosen],
                    source: area.sources.into(),
                };
            }
            None if name == "model" => {
                return Target {
                    package: "gate-model",
                    chosen: vec!["--lib"],
                    source: crates.join("gate-model/src/models.rs"),
                };
            }
            None => ("holdlock-conformance", name),
        };
        let folder = package
            .strip_prefix("holdlock-conformance")
            .map_or(package, |_| "conformance");
        let folder = crates.join(folder).join("tests").join(target);
        let single = folder.with_extension("rs");
        let is_single = root().join(&single).is_file();
        Target {
            package,
            chosen: vec!["--test", target],
            source: if is_single { single } else { folder },
        }
    }

    /// Runs the tests whose name contains this text.
    pub(super) fn run(&self, test: &str, tree: &Path) -> Answer {
        if !self
            .cargo(tree, &["--no-run"])
            .is_ok_and(|built| built.status.success())
        {
            return Answer::DoesNotBuild;
        }
        let Ok(ran) = self.cargo(tree, &[test]) else {
            return Answer::DoesNotBuild;
        };
        if !ran.status.success() {
            return Answer::Failed;
        }
        let output = [ran.stdout, ran.stderr].concat();
        let output = String::from_utf8_lossy(&output);
        match output.find("SKIPPED ") {
            Some(at) => Answer::Skipped(output[at..].lines().next().unwrap_or_default().to_owned()),
            None => Answer::Passed,
        }
    }

    fn cargo(&self, tree: &Path, arguments: &[&str]) -> std::io::Result<Output> {
        let mut command = Command::new("cargo");
        command.args(["test", "--quiet", "--package", self.package]);
        if self.package == "holdlock-cli" {
            command.args(["--features", "engines"]);
        }
        command
            .args(&self.chosen)
            .args(arguments)
            .current_dir(tree)
            .env("CARGO_TARGET_DIR", root().join("target/mutants/target"))
            .env("RUSTFLAGS", "-A warnings")
            .stdin(Stdio::null())
            .output()
    }

    /// The source of the tests, as one text.
    #[cfg(test)]
    pub(super) fn sources(&self) -> String {
        let mut text = String::new();
        add(&root().join(&self.source), &mut text);
        if self.package == "holdlock-engines" {
            // Modules of all its targets.
            add(
                &root().join("crates/holdlock-engines/tests/common"),
                &mut text,
            );
        }
        text
    }
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
