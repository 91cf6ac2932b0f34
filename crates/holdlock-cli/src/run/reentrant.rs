//! `--reentrant`: whether this job holds the lock already.
//!
//! The proof is in the inherited descriptors: /proc/self/fdinfo shows that one of them is the open
//! file that holds the exclusive lock. Then no other job can hold the lock, and the lock stays held
//! until that open file is unlocked. Only the process that acquired it unlocks it, and that process
//! must not do so before we end: it is an ancestor that waits for us, or it is this process, which
//! has become this holdlock by `run --exec`.

use holdlock::inspect::{self, FileId, Kind};
use holdlock::{FileLock, Mode};

use super::inherited::taker;

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
    let waiting = inspect::waiting_ancestors(us);
    open.iter().any(|lock| {
        lock.kind == Kind::Flock
            && lock.mode == Mode::Exclusive
            && lock.file_id == file_id
            && taker(lock.descriptor).is_some_and(|taker| taker == us || waiting.contains(&taker))
    })
}
