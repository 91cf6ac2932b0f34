//! `--reentrant`: whether this job holds the lock already.
//!
//! The proof is in the inherited descriptors: /proc/self/fdinfo shows that one of them is the open
//! file that holds the exclusive lock. Then no other job can hold the lock, and the lock stays held
//! until that open file is unlocked. Only the process that acquired it unlocks it, and that process
//! must not do so before we end: it is an ancestor that waits for us, or it is this process, which
//! has become this holdlock by `run --exec`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use holdlock::inspect::{self, FileId, Kind};
use holdlock::{FileLock, Mode};

use super::inherited::taker;

/// How long an ancestor may need until it waits. A shell continues when its child has become this
/// holdlock (vfork), and on a busy machine it gets no processor at once.
const UNTIL_IT_WAITS: Duration = Duration::from_secs(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Whether an ancestor or this process holds this lock exclusively for the job of which this
/// process is a part.
pub(super) fn is_held_by_us(lock: &FileLock) -> bool {
    let us = std::process::id();
    if !inspect::is_proc_ours() {
        return false;
    }
    let (Ok(file_id), Ok(open)) = (FileId::of(lock.path()), inspect::locks_of(us)) else {
        return false;
    };
    let is_it = |lock: &&inspect::OpenLock| {
        lock.kind == Kind::Flock && lock.mode == Mode::Exclusive && lock.file_id == file_id
    };
    let held = open.iter().filter(is_it);
    let takers: Vec<u32> = held.filter_map(|lock| taker(lock.descriptor)).collect();
    let has_taken = |pid: &u32| takers.contains(pid);
    let deadline = Instant::now() + UNTIL_IT_WAITS;
    loop {
        if has_taken(&us) || inspect::waiting_ancestors(us).iter().any(has_taken) {
            return true;
        }
        let ancestors = inspect::ancestors(us);
        let mut above = ancestors.iter().filter(|pid| has_taken(pid));
        if !above.any(|pid| !is_supervisor(*pid)) || Instant::now() > deadline {
            return false;
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// Whether it waits for its command from the beginning, so that another look changes nothing.
fn is_supervisor(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    ["holdlock", "flock"].contains(&name.trim_end())
}
