//! Runs the Rust tests by cargo, and counts them by the output of libtest.

use std::io::Write;
use std::mem::take;
use std::path::Path;

use crate::outcome::{Outcome, listen, number_before};
use crate::run::{Done, cargo, run};

/// All tests: those of optional features too. With the features it is still one build.
pub(crate) const ALL: [&str; 3] = ["--workspace", "--features", FEATURES];

/// The optional features of the library and of the Python module.
pub(crate) const FEATURES: &str = "holdlock/serde,holdlock-python/engines";

/// The test of the command without locks between hosts.
pub(crate) const NO_ENGINES: [&str; 5] = [
    "--package",
    "holdlock-cli",
    "--no-default-features",
    "--test",
    "no_engines",
];

/// Builds the chosen tests without running them.
pub(crate) fn build(chosen: &[&str]) -> Done {
    run(cargo(&[&["test", "--no-run"], chosen].concat()))
}

/// Runs the tests that these arguments of `cargo test` select, and copies their output to `out`.
/// Tests of the installed command find it at `dist`.
pub(crate) fn test(chosen: &[&str], dist: &Path, out: &mut dyn Write) -> Done<Outcome> {
    let mut command = cargo(&[&["test", "--no-fail-fast"], chosen].concat());
    command
        .env("RUST_BACKTRACE", "0")
        .env("HOLDLOCK_DIST", dist);
    let mut reading = Reading::default();
    let status = listen(command, out, |line| reading.line(line))?;
    reading.ended();
    let mut outcome = reading.outcome;
    if !status.success() && outcome.failed.is_empty() {
        outcome.failed.push(format!("cargo test ({status})"));
    }
    Ok(outcome)
}

/// The output of cargo that was read so far.
#[derive(Default)]
struct Reading {
    outcome: Outcome,
    /// The test program that started last.
    program: String,
    /// Whether that program has not printed its result yet.
    runs: bool,
    /// The last list of failed tests, or the test that the watchdog ended.
    failed: Vec<String>,
}

impl Reading {
    fn line(&mut self, line: &str) {
        if let Some(program) = line.trim_start().strip_prefix("Running ") {
            self.begins(program.split(" (").next().unwrap_or(program));
        } else if let Some(package) = line.trim_start().strip_prefix("Doc-tests ") {
            self.begins(&format!("documentation of {package}"));
        } else if line == "failures:" {
            // The first such list has the output of the tests, the second one their names.
            self.failed.clear();
        } else if let Some(name) = line.strip_prefix("    ") {
            self.failed.push(name.to_owned());
        } else if let Some(hanging) = line.strip_prefix("HANGS: ") {
            self.failed = vec![hanging.to_owned()];
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.outcome.passed += number_before(result, " passed");
            if number_before(result, " failed") > 0 {
                self.fails();
            }
            self.runs = false;
        } else if let Some(at) = line.find("SKIPPED ") {
            // On one processor libtest has already begun the line: `test name ... SKIPPED`.
            if at == 0 || line.starts_with("test ") {
                self.outcome.skipped.push(line[at..].to_owned());
            }
        }
    }

    fn begins(&mut self, program: &str) {
        self.ended();
        program.clone_into(&mut self.program);
        self.runs = true;
        self.failed.clear();
    }

    /// The program has ended. If there is no result, it was killed or the watchdog ended it.
    fn ended(&mut self) {
        if self.runs {
            if self.failed.is_empty() {
                self.failed.push("ended without a result".into());
            }
            self.fails();
        }
        self.runs = false;
    }

    fn fails(&mut self) {
        for name in take(&mut self.failed) {
            self.outcome
                .failed
                .push(format!("{}: {name}", self.program));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Outcome {
        let mut reading = Reading::default();
        text.lines().for_each(|line| reading.line(line));
        reading.ended();
        reading.outcome
    }

    #[test]
    fn failed_tests_are_named_with_their_program() {
        let outcome = read(
            "\
     Running tests/files.rs (target/debug/deps/files-0)
test a ... ok
test b ... FAILED
failures:
---- b stdout ----
    an indented line of the test
failures:
    b

test result: FAILED. 13 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
   Doc-tests holdlock
test result: ok. 2 passed; 0 failed; 0 ignored
error: 1 target failed:
    `-p holdlock-conformance --test files`",
        );
        assert_eq!(outcome.passed, 15);
        assert_eq!(outcome.failed, ["tests/files.rs: b"]);
    }

    #[test]
    fn a_program_that_is_killed_is_a_failure() {
        let outcome = read(
            "\
     Running tests/one.rs (target/debug/deps/one-0)
HANGS: some_test after 60 s; /proc/locks:
     Running tests/two.rs (target/debug/deps/two-0)
test result: ok. 1 passed; 0 failed;
     Running tests/three.rs (target/debug/deps/three-0)",
        );
        assert_eq!(outcome.failed.len(), 2);
        assert!(outcome.failed[0].starts_with("tests/one.rs: some_test after 60 s"));
        assert!(outcome.failed[1].starts_with("tests/three.rs: ended"));
    }

    #[test]
    fn what_is_skipped_is_kept_with_its_reason() {
        let outcome = read(
            "\
SKIPPED a: no flock
test b ... SKIPPED b: no python3
the log says SKIPPED",
        );
        assert_eq!(
            outcome.skipped,
            ["SKIPPED a: no flock", "SKIPPED b: no python3"]
        );
    }
}
