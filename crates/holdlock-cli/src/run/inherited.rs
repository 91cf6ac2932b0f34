//! A lock that we have inherited and are about to wait for ourselves.
//!
//! What a command starts in the background to run later (`setsid -f holdlock run L -- later`) has
//! inherited the lock of the `holdlock run` that started the command. While it waits it is not at
//! work, and needs no protection; but if that holdlock is killed, it would wait for itself.

use std::fs;
use std::path::Path;

use holdlock::inspect::{self, FileId, Kind};

use crate::sys::descriptors::close_inherited;

/// Closes our inherited copies of this lock. Not one that this process took itself, before it
/// became us by exec (`run --exec`): that wait is refused.
pub(super) fn let_go(path: &Path) {
    let us = std::process::id();
    if !inspect::is_proc_ours() {
        return;
    }
    let (Ok(file_id), Ok(open)) = (FileId::of(path), inspect::locks_of(us)) else {
        return;
    };
    for lock in open {
        let inherited = lock.kind == Kind::Flock && lock.file_id == file_id;
        if inherited && taker(lock.descriptor).is_some_and(|taker| taker != us) {
            close_inherited(lock.descriptor.cast_signed());
        }
    }
}

/// The process that took the lock behind this descriptor of ours: `lock: 1: FLOCK ADVISORY WRITE
/// 4711 …`.
pub(super) fn taker(descriptor: u32) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
    let mut locks = info.lines().filter_map(|line| line.strip_prefix("lock:"));
    locks.next()?.split_ascii_whitespace().nth(4)?.parse().ok()
}
