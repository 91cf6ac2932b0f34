//! Who holds a lock and who waits for it, as /proc tells.
//!
//! /proc/locks names the process that *took* each lock. When that process is
//! gone (a child has inherited the descriptor), or the kernel names none (OFD
//! locks), the processes that have the locked file open are looked for in
//! /proc/PID/fdinfo.

mod proc_locks;
mod process;

use std::io;

pub use process::Process;

pub(crate) use proc_locks::entries;
pub(crate) use process::pids;

use crate::sys::file::Identity;

/// The processes that hold a lock on this file, of whichever family.
pub(crate) fn holders(file: Identity) -> io::Result<Vec<Process>> {
    let entries = entries(|entry| !entry.waiting && entry.is_on(file))?;
    let mut found: Vec<Process> = Vec::new();
    let mut unnamed = false;
    for entry in &entries {
        match entry.pid.and_then(|pid| Process::look_up(pid, entry.mode)) {
            Some(process) => add(&mut found, process),
            None => unnamed = true,
        }
    }
    if unnamed {
        for process in process::with_lock_open(file) {
            add(&mut found, process);
        }
    }
    Ok(found)
}

/// The processes that wait for a lock on this file, in the order of /proc/locks.
pub(crate) fn waiters(file: Identity) -> io::Result<Vec<Process>> {
    let entries = entries(|entry| entry.waiting && entry.is_on(file))?;
    Ok(entries
        .iter()
        .filter_map(|entry| Process::look_up(entry.pid?, entry.mode))
        .collect())
}

fn add(found: &mut Vec<Process>, process: Process) {
    if !found.iter().any(|other| other.pid == process.pid) {
        found.push(process);
    }
}
