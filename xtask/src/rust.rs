//! Builds the Rust tests by cargo, runs their programs, and counts the tests by libtest's output.

use std::env;
use std::io::Write;
use std::mem::take;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::lanes::{Job, processors};
use crate::outcome::{Outcome, listen, number_before};
use crate::run::{Done, cargo, root, shown};

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

/// Parts of the names of the programs that take longest. If one of them began last, the rest of
/// the machine would wait for it.
const LONG: [&str; 8] = [
    "torture_engines",
    "tests/postgres",
    "tests/etcd",
    "tests/leased",
    "tests/redis",
    "cli/tests/engine",
    "way_out",
    "cli/tests/torture.rs",
];

/// Holds thousands of locks, and measures a search among all locks of the host.
const ALONE: &str = "conformance/tests/crowded/main.rs";

/// How many tests of a program run at once. libtest takes the number of processors that the program
/// may use, which is one if a soak pins it.
const THREADS: &str = "RUST_TEST_THREADS";

/// Test programs that cargo has built.
pub(crate) struct Tests {
    programs: Vec<Program>,
    /// Arguments of each program: names of tests, or options of libtest.
    chosen: Vec<String>,
}

struct Program {
    /// Its source, below the root.
    name: String,
    file: PathBuf,
    /// The folder of its package, in which cargo runs it.
    folder: PathBuf,
}

impl Tests {
    /// Builds the tests that `cargo test` would run with these arguments. Those after `--` are for
    /// the test programs.
    pub(crate) fn build(arguments: &[&str]) -> Done<Tests> {
        let mut parts = arguments.splitn(2, |word| *word == "--");
        let of_cargo = parts.next().unwrap_or_default();
        let of_programs = parts.next().unwrap_or_default();
        let mut build = cargo(&["test", "--no-run", "--message-format"]);
        build.arg("json-render-diagnostics").args(of_cargo);
        println!("$ {}", shown(&build));
        let failed = |error| format!("cargo test: {error}");
        let output = build.stderr(Stdio::inherit()).output().map_err(failed)?;
        if !output.status.success() {
            return Err(format!("the tests do not build ({})", output.status));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let mut programs: Vec<Program> = messages.lines().filter_map(Program::read).collect();
        programs.sort_by_key(|program| !LONG.iter().any(|long| program.name.contains(long)));
        Ok(Tests {
            programs,
            chosen: of_programs.iter().map(|word| (*word).to_owned()).collect(),
        })
    }

    /// A job for each program. Tests of the installed command find it at `dist`.
    pub(crate) fn jobs<'a>(&'a self, dist: &'a Path) -> impl Iterator<Item = Job<'a>> {
        self.programs.iter().map(move |program| {
            let job = Job::new(&program.name, move |out| {
                let mut command = Command::new(&program.file);
                command
                    .args(&self.chosen)
                    .current_dir(&program.folder)
                    .env("CARGO_MANIFEST_DIR", &program.folder)
                    .env("HOLDLOCK_DIST", dist);
                if env::var_os(THREADS).is_none() {
                    command.env(THREADS, processors().to_string());
                }
                run(&program.name, command, out)
            });
            match program.name.ends_with(ALONE) {
                true => job.alone(),
                false => job,
            }
        })
    }
}

impl Program {
    /// The program that a message of cargo names, if it is a test program.
    fn read(message: &str) -> Option<Program> {
        let message: Value = serde_json::from_str(message).ok()?;
        if message["profile"]["test"] != true {
            return None;
        }
        let path = |value: &Value| value.as_str().map(PathBuf::from);
        let source = path(&message["target"]["src_path"])?;
        let name = source.strip_prefix(root()).unwrap_or(&source);
        Some(Program {
            name: name.display().to_string(),
            file: path(&message["executable"])?,
            folder: path(&message["manifest_path"])?.parent()?.to_owned(),
        })
    }
}

/// The examples in the documentation, which rustdoc builds and runs.
pub(crate) fn documentation() -> Job<'static> {
    Job::new("the documentation's examples", |out| {
        let mut command = cargo(&["test", "--doc", "--no-fail-fast"]);
        command.args(ALL);
        run("documentation", command, out)
    })
}

/// Runs a test program, and copies its output to `out`.
fn run(name: &str, mut command: Command, out: &mut dyn Write) -> Done<Outcome> {
    command.env("RUST_BACKTRACE", "0");
    let mut reading = Reading::default();
    let status = listen(command, out, |line| reading.line(line))?;
    let mut outcome = reading.outcome;
    if !status.success() {
        if reading.failed.is_empty() {
            reading
                .failed
                .push(format!("ended without a result ({status})"));
        }
        let failed = reading.failed.iter();
        outcome
            .failed
            .extend(failed.map(|test| format!("{name}: {test}")));
    }
    Ok(outcome)
}

/// The output of libtest that was read so far.
#[derive(Default)]
struct Reading {
    outcome: Outcome,
    /// The failed tests, or the test that the watchdog ended.
    failed: Vec<String>,
    /// The last list of names.
    list: Vec<String>,
}

impl Reading {
    fn line(&mut self, line: &str) {
        if line == "failures:" {
            // The first such list has the output of the tests, the second one their names.
            self.list.clear();
        } else if let Some(name) = line.strip_prefix("    ") {
            self.list.push(name.to_owned());
        } else if let Some(hanging) = line.strip_prefix("HANGS: ") {
            self.failed.push(hanging.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.outcome.passed += number_before(result, " passed");
            let failed = take(&mut self.list);
            if number_before(result, " failed") > 0 {
                self.failed.extend(failed);
            }
        } else if let Some(at) = line.find("SKIPPED ") {
            // On one processor libtest has already begun the line: `test name ... SKIPPED`.
            if at == 0 || line.starts_with("test ") {
                self.outcome.skipped.push(line[at..].to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program has said that printed this text and ended with this exit status.
    fn said(text: &str, status: u8) -> Outcome {
        let mut program = Command::new("sh");
        program.args(["-c", "printf '%s\\n' \"$1\"; exit \"$2\"", "sh", text]);
        program.arg(status.to_string());
        run("tests/one.rs", program, &mut Vec::new()).expect("a shell")
    }

    #[test]
    fn failed_tests_are_named_with_their_program() {
        let outcome = said(
            "\
test a ... ok
test b ... FAILED
failures:
---- b stdout ----
    an indented line of the test
failures:
    b

test result: FAILED. 13 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out
test result: ok. 2 passed; 0 failed; 0 ignored",
            101,
        );
        assert_eq!(outcome.passed, 15);
        assert_eq!(outcome.failed, ["tests/one.rs: b"]);
    }

    #[test]
    fn a_program_that_is_killed_is_a_failure() {
        let outcome = said("HANGS: some_test after 60 s; /proc/locks:", 134);
        assert_eq!(
            outcome.failed,
            ["tests/one.rs: some_test after 60 s; /proc/locks:"]
        );
        let outcome = said("test result: ok. 1 passed; 0 failed;", 139);
        assert_eq!(outcome.failed.len(), 1);
        assert!(outcome.failed[0].starts_with("tests/one.rs: ended"));
    }

    #[test]
    fn what_is_skipped_is_kept_with_its_reason() {
        let outcome = said(
            "\
SKIPPED a: no flock
test b ... SKIPPED b: no python3
the log says SKIPPED",
            0,
        );
        assert_eq!(
            outcome.skipped,
            ["SKIPPED a: no flock", "SKIPPED b: no python3"]
        );
    }

    #[test]
    fn the_programs_of_a_message_are_those_of_tests() {
        let message = |test| {
            format!(
                r#"{{"reason": "compiler-artifact", "manifest_path": "/a/Cargo.toml",
                "target": {{"src_path": "{}/x/tests/y.rs"}}, "profile": {{"test": {test}}},
                "executable": "/t/y-0"}}"#,
                root().display()
            )
        };
        let program = Program::read(&message(true)).expect("a test");
        assert_eq!(program.name, "x/tests/y.rs");
        assert_eq!(program.folder, Path::new("/a"));
        assert!(Program::read(&message(false)).is_none());
    }
}
