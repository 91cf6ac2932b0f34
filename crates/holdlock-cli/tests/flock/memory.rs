//! What a wait costs in memory. Times are for `cargo xtask bench`, which has the machine to itself.

use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, end_of};

#[test]
fn a_waiter_needs_no_more_memory_than_util_linux() {
    if Bench::util_linux().is_none() {
        crate::say("SKIPPED a_waiter_needs_no_more_memory_than_util_linux: flock is not installed");
        return;
    }
    // The middle of a few: the kernel maps more or less around what is used, as the file happens to
    // lie in its cache.
    let middle = |bench: fn() -> Option<Bench>| {
        let mut all: Vec<_> = (0..5).filter_map(|_| Some(waiting(&bench()?))).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let ours = middle(|| Some(Bench::ours()));
    let theirs = middle(Bench::util_linux);
    // The promise is about the program as it is installed, static and optimised: what is shared
    // counts in proportion then, too. It is run with the flags of `cargo xtask dist`, and --release.
    let installed = cfg!(all(target_feature = "crt-static", not(debug_assertions)));
    let limit = if installed {
        theirs.0
    } else {
        theirs.0 * 5 / 4
    };
    assert!(
        ours.0 <= limit,
        "{} kB resident, util-linux {}",
        ours.0,
        theirs.0
    );
    if installed {
        assert!(
            ours.1 <= theirs.1,
            "{} kB in proportion, util-linux {}",
            ours.1,
            theirs.1
        );
    }
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
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    // A waiter has a line of its own, with an arrow.
    while !fs::read_to_string("/proc/locks")
        .unwrap()
        .lines()
        .any(|line| line.contains("->") && line.contains(&blocked))
    {
        assert!(std::time::Instant::now() < deadline, "does not wait");
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
    crate::say(&format!("flock: VmRSS and PSS while waiting: {both:?} kB"));
    kill_process(Pid::from_child(&waiter), Signal::KILL).unwrap();
    end_of(waiter, "a waiter that was killed");
    both
}
