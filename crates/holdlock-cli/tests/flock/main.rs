//! flock(1) beside the installed flock of util-linux, command line by command line.
//!
//! Each command line is a line for the shell, run in a fresh directory with the same content
//! (`bench.rs`). An intended difference is a row of `accepted.rs` with its reason; features that
//! the installed flock does not have yet are in `newer.rs`.

mod accepted;
mod bench;
mod cases;
mod memory;
mod newer;
mod parsing;
mod running;

use std::io::Write;

use bench::{Bench, Ran};

/// The cases that the comparison has to cover.
const AT_LEAST: usize = 150;

#[test]
fn every_command_line_does_what_util_linux_does() {
    let Some(theirs) = Bench::util_linux() else {
        say("SKIPPED every_command_line_does_what_util_linux_does: flock is not installed");
        return;
    };
    let ours = Bench::ours();
    let (mut compared, mut different) = (0, Vec::new());
    for script in cases::all() {
        let (is, should_be) = (ours.run(script), theirs.run(script));
        if is != should_be {
            different.push(format!("{script}\n  ours   {is:?}\n  theirs {should_be:?}"));
        }
        compared += 1;
    }
    say(&format!(
        "flock: {compared} command lines compared with util-linux"
    ));
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(compared >= AT_LEAST, "only {compared} command lines");
}

#[test]
fn every_accepted_difference_is_as_documented() {
    let ours = Bench::ours();
    for row in accepted::ROWS {
        assert!(!row.why.is_empty());
        check(&ours, row.script, row.expected);
    }
}

#[test]
fn what_is_accepted_as_different_does_differ() {
    let Some(theirs) = Bench::util_linux() else {
        say("SKIPPED what_is_accepted_as_different_does_differ: flock is not installed");
        return;
    };
    if !theirs.run("flock --version").out.contains("2.38") {
        say("SKIPPED what_is_accepted_as_different_does_differ: the table is for util-linux 2.38");
        return;
    }
    let ours = Bench::ours();
    for row in accepted::ROWS.iter().filter(|row| !row.theirs_hangs) {
        assert_ne!(
            ours.run(row.script),
            theirs.run(row.script),
            "{}",
            row.script
        );
    }
}

#[test]
fn options_of_newer_versions_work() {
    let ours = Bench::ours();
    for (script, expected) in newer::ROWS {
        check(&ours, script, *expected);
    }
}

#[test]
fn the_subcommand_is_the_same_program() {
    let ours = Bench::ours();
    for script in [
        "flock -n file echo ran",
        "flock -q",
        "flock file -c 'exit 7'",
    ] {
        let as_subcommand = script.replacen("flock", "holdlock flock", 1);
        assert_eq!(ours.run(script), ours.run(&as_subcommand), "{script}");
    }
}

/// Prints a line on the real standard error, which the test harness does not capture.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn check(bench: &Bench, script: &str, (status, out, err): (i32, &str, &str)) {
    let expected = Ran {
        status,
        out: out.to_owned(),
        err: err.to_owned(),
    };
    assert_eq!(bench.run(script), expected, "{script}");
}
