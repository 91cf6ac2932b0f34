//! Everything that the command has started.

use std::fs;

use holdlock::inspect;
use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to every living descendant of ours.
pub(super) fn signal_descendants(signal: Signal) {
    let us = std::process::id();
    // All are found before the first is hit: the children of one that ends get another parent.
    let descendants: Vec<u32> = pids()
        .filter(|pid| inspect::ancestors(*pid).contains(&us))
        .collect();
    for pid in descendants {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
