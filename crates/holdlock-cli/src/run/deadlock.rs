//! Whether a wait of `run` can never end: an ancestor holds the lock, or the wait is part of a
//! cycle.

use std::path::Path;

use holdlock::Mode;
use holdlock::inspect::{self, Deadlock, FileId, Kind, LockedFile};

use super::watch::What;
use crate::show::text;

/// The process that holds the lock and waits for the end of this process; or this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ancestor(pub(super) u32);

/// The ancestor that holds the lock and certainly waits for this process. It may be this process
/// itself: the program that became holdlock by exec may have held the lock and left it open.
pub(super) fn inherited(us: u32, path: &Path, what: What) -> Option<u32> {
    if !inspect::is_proc_ours() {
        return None;
    }
    // Look again: the file may have been replaced meanwhile, or an ancestor may have fallen asleep.
    let file_id = FileId::of(path).ok()?;
    let kept = |mode| inspect::kept_by_bound(us, file_id, Kind::Flock, mode);
    match what {
        What::Lock(mode) => kept(mode),
        What::Slot { of } => {
            kept(Mode::Shared).or_else(|| inspect::slots_kept_by_bound(us, file_id, of))
        }
    }
}

/// A cycle of which our wait is a part, certain or only possible.
pub(super) fn cycle_of(us: u32) -> Option<Deadlock> {
    if !inspect::is_proc_ours() {
        return None;
    }
    let mut family = inspect::waiting_ancestors(us);
    family.push(us);
    let holds = |pid: &u32| inspect::locks_of(*pid).is_ok_and(|locks| !locks.is_empty());
    if !family.iter().any(holds) {
        return None;
    }
    let cycles = inspect::host().ok()?.deadlocks();
    let waits = |cycle: &Deadlock| cycle.steps.iter().any(|step| step.waiter.pid == us);
    cycles.into_iter().find(waits)
}

pub(super) fn warning(cycle: &Deadlock, path: &Path) -> String {
    let path = text::path(path);
    let what = if cycle.certain {
        "this wait is part of a deadlock and can only end by its time limit"
    } else {
        "this wait may be a deadlock"
    };
    format!("warning: {path}: {what}: {cycle}; still waiting")
}

/// The message about a wait for the lock on this file that could never have ended.
pub(super) fn message(Ancestor(pid): Ancestor, path: &Path) -> String {
    let snapshot = inspect::file(path).unwrap_or_default();
    let mut holders = snapshot.files.iter().flat_map(LockedFile::holders);
    let found = holders.find(|holder| holder.pid == pid);
    let name = found.map_or_else(|| format!("pid {pid}"), ToString::to_string);
    let what = if pid == std::process::id() {
        "this process has inherited the lock from the process that started it".to_owned()
    } else {
        format!("the lock is held by {name}, which waits for this command to end")
    };
    let path = text::path(path);
    format!("{path}: waiting would be a deadlock: {what}")
}
