//! The result of tests, and how a test program is run.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitStatus, Stdio};

use crate::run::{Done, shown};

/// The result of some tests.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) passed: u32,
    /// The names of the failed tests.
    pub(crate) failed: Vec<String>,
    /// Tests or parts of tests that did not run: lines `SKIPPED …` with the reason.
    pub(crate) skipped: Vec<String>,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: Outcome) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    /// Prints the reasons, the failed tests and the counts. An error if a test failed or none ran.
    pub(crate) fn conclude(&self) -> Done {
        for reason in &self.skipped {
            println!("{reason}");
        }
        for name in &self.failed {
            println!("FAILED {name}");
        }
        println!(
            "tests: {} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        );
        if !self.failed.is_empty() {
            Err("some tests failed".into())
        } else if self.passed == 0 {
            Err("no test ran".into())
        } else {
            Ok(())
        }
    }
}

/// Runs a command, copies its output to `out`, and passes each line to `heard`.
pub(crate) fn listen(
    mut command: Command,
    out: &mut dyn Write,
    mut heard: impl FnMut(&str),
) -> Done<ExitStatus> {
    let words = shown(&command);
    let failed = |error| format!("{words}: {error}");
    let _ = writeln!(out, "$ {words}");
    // One pipe for both streams, which keeps their lines in order.
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    command.stderr(writer.try_clone().map_err(failed)?);
    command.stdin(Stdio::null()).stdout(writer);
    let mut child = command.spawn().map_err(failed)?;
    // The command owns the other end of the pipe, which would never be closed.
    drop(command);
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.map_err(failed)?;
        let line = String::from_utf8_lossy(&line);
        let _ = writeln!(out, "{line}");
        heard(&line);
    }
    child.wait().map_err(failed)
}

/// The number in front of a word. 0 if there is none.
pub(crate) fn number_before(text: &str, word: &str) -> u32 {
    text.split(word)
        .next()
        .filter(|before| before.len() < text.len())
        .and_then(|before| before.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
