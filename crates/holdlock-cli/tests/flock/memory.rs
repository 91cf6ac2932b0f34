//! The memory of a wait. Times are measured by `cargo xtask bench`, which runs alone on the
//! machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, DEADLINE, end_of};

/// The path of the command as it is installed: static and optimised. `cargo xtask test` builds it.
const INSTALLED: &str = "HOLDLOCK_DIST";

#[test]
fn a_waiter_needs_no_more_memory_than_util_linux() {
    let test = "a_waiter_needs_no_more_memory_than_util_linux";
    let Some(program) = std::env::var_os(INSTALLED) else {
        return crate::say(&format!(
            "SKIPPED {test}: it is about the command as it is installed; `cargo xtask test` builds \
             that and names it in {INSTALLED}"
        ));
    };
    let Some(theirs) = Bench::util_linux() else {
        return crate::say(&format!("SKIPPED {test}: flock is not installed"));
    };
    let ours = Bench::of(Path::new(&program));
    // Side by side, since the kernel maps more or less around what is used, as the file happens to
    // lie in its cache; and the middle of a few.
    let rounds = (0..5).map(|_| (waiting(&ours), waiting(&theirs)));
    let (ours, theirs): (Vec<_>, Vec<_>) = rounds.unzip();
    let (ours, theirs) = (middle(ours), middle(theirs));
    crate::say(&format!(
        "flock: VmRSS and PSS while waiting: {ours:?} kB, util-linux {theirs:?} kB"
    ));
    assert!(ours.0 <= theirs.0, "resident");
    assert!(ours.1 <= theirs.1, "in proportion to those who share it");
}

fn middle(mut all: Vec<(u64, u64)>) -> (u64, u64) {
    all.sort_unstable();
    all[all.len() / 2]
}

/// VmRSS and PSS of a waiting flock, in kB.
fn waiting(bench: &Bench) -> (u64, u64) {
    let file = bench.program().with_file_name("lock");
    let held = fs::File::create(&file).unwrap();
    held.lock().unwrap();
    let waiter = Command::new(bench.program())
        .arg(&file)
        .arg("true")
        .spawn()
        .unwrap();
    let pid = waiter.id();
    let blocked = format!(" {pid} ");
    let deadline = Instant::now() + DEADLINE;
    // A waiter has a line of its own, with an arrow.
    while !fs::read_to_string("/proc/locks")
        .unwrap()
        .lines()
        .any(|line| line.contains("->") && line.contains(&blocked))
    {
        assert!(Instant::now() < deadline, "does not wait");
        std::thread::yield_now();
    }
    let kilobytes = |file: &str, name: &str| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let both = (
        kilobytes("status", "VmRSS:"),
        kilobytes("smaps_rollup", "Pss:"),
    );
    kill_process(Pid::from_child(&waiter), Signal::KILL).unwrap();
    end_of(waiter, "a waiter that was killed");
    both
}
