//! `cargo xtask test`: everything that must hold.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::Mutex;

use crate::python::{self, number_before};
use crate::run::{Done, cargo, root, run, shown};

/// What the tests came to.
#[derive(Default)]
struct Counts {
    passed: u32,
    failed: u32,
    /// Parts of tests that were not run, each with its reason.
    skipped: Vec<String>,
}

impl Counts {
    fn add(&mut self, python: python::Outcome) {
        self.passed += python.passed;
        self.failed += python.failed;
        self.skipped.extend(python.skipped);
    }
}

pub(crate) fn test() -> Done {
    no_merge_is_left_open()?;
    run(cargo(&["fmt", "--all", "--check"]))?;
    let lints = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    run(cargo(&lints))?;
    let mut docs = cargo(&["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    run(docs)?;
    tests()
}

/// The tests of the Python module only.
pub(crate) fn python() -> Done {
    let mut counts = Counts::default();
    counts.add(python::test()?);
    total(&counts);
    if counts.failed > 0 {
        return Err("some tests failed".into());
    }
    Ok(())
}

/// No compiler reads the documents, so a forgotten conflict would stay in them.
fn no_merge_is_left_open() -> Done {
    let open = std::process::Command::new("git")
        .args(["grep", "-nE", "^(<{7}|>{7}) "])
        .current_dir(root())
        .output()
        .map_err(|error| format!("git: {error}"))?;
    if open.stdout.is_empty() {
        return Ok(());
    }
    let places = String::from_utf8_lossy(&open.stdout).into_owned();
    Err(format!("a merge is left open:\n{places}"))
}

/// All tests of the workspace, counted.
fn tests() -> Done {
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    println!("$ {}", shown(&command));
    let mut child = command.spawn().map_err(|error| format!("cargo: {error}"))?;
    let counts = Mutex::new(Counts::default());
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|stream| Box::new(stream) as _),
        child.stderr.take().map(|stream| Box::new(stream) as _),
    ];
    std::thread::scope(|scope| {
        for stream in streams.into_iter().flatten() {
            scope.spawn(|| pass_on(stream, &counts));
        }
    });
    let status = child.wait().map_err(|error| format!("cargo: {error}"))?;
    let mut counts = counts.into_inner().unwrap_or_default();
    counts.add(python::test()?);
    total(&counts);
    if !status.success() || counts.failed > 0 {
        Err("some tests failed".into())
    } else if counts.passed == 0 {
        Err("no test ran".into())
    } else {
        Ok(())
    }
}

fn total(counts: &Counts) {
    for reason in &counts.skipped {
        println!("{reason}");
    }
    println!(
        "tests: {} passed, {} failed, {} skipped",
        counts.passed,
        counts.failed,
        counts.skipped.len()
    );
}

/// Prints the stream as it comes, and counts.
fn pass_on(stream: impl Read, counts: &Mutex<Counts>) {
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let _ = writeln!(std::io::stdout(), "{line}");
        let Ok(mut counts) = counts.lock() else {
            continue;
        };
        if let Some(result) = line.strip_prefix("test result: ") {
            counts.passed += number_before(result, " passed");
            counts.failed += number_before(result, " failed");
        } else if line.starts_with("SKIPPED ") {
            counts.skipped.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::python::number_before;

    #[test]
    fn counts_are_read_from_the_closing_line() {
        let line = "FAILED. 13 passed; 2 failed; 0 ignored; 0 measured; finished in 1.2s";
        assert_eq!(number_before(line, " passed"), 13);
        assert_eq!(number_before(line, " failed"), 2);
        assert_eq!(number_before("nothing", " passed"), 0);
    }
}
