//! The signals that the threads of this process block.
//!
//! A program that reads its signals with signalfd(2), or waits for them with sigwait(2), blocks
//! them in every thread. If one thread unblocks such a signal, the program misses signals.

use std::fs;

use super::directory;

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mask(u64);

impl Mask {
    pub(super) fn of(set: &libc::sigset_t) -> Mask {
        // SAFETY: the kernel filled this set in.
        let has = |signal: &libc::c_int| unsafe { libc::sigismember(set, *signal) == 1 };
        let bits = (libc::SIGRTMIN()..=libc::SIGRTMAX()).filter(has).map(bit);
        Mask(bits.fold(0, |all, bit| all | bit))
    }

    pub(super) fn has(self, signal: libc::c_int) -> bool {
        self.0 & bit(signal) != 0
    }

    pub(super) fn union(self, other: Mask) -> Mask {
        Mask(self.0 | other.0)
    }

    /// Whether this is the mask of a thread that blocks signals in general, as many helper threads
    /// do. Such a mask does not show which signals the program reads.
    pub(super) fn blocks_most(self) -> bool {
        let all = libc::SIGRTMIN()..=libc::SIGRTMAX();
        let half = all.clone().count() / 2;
        all.filter(|signal| self.has(*signal)).count() > half
    }
}

fn bit(signal: libc::c_int) -> u64 {
    1 << (signal - 1)
}

/// The signals that the program may read: those that a thread of this process blocks, unless it
/// blocks most of them, and those that are pending. As far as /proc shows them.
pub(super) fn blocked_or_pending() -> Mask {
    let Ok(tasks) = directory::numbers("/proc/self/task") else {
        return Mask::default();
    };
    let mut wanted = Mask::default();
    for task in tasks {
        let Ok(status) = fs::read_to_string(format!("/proc/self/task/{task}/status")) else {
            continue; // it has ended
        };
        let set = |name| Mask(field(&status, name));
        let blocked = set("SigBlk:");
        if !blocked.blocks_most() {
            wanted = wanted.union(blocked);
        }
        wanted = wanted.union(set("SigPnd:")).union(set("ShdPnd:"));
    }
    wanted
}

fn field(status: &str, name: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    value
        .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
        .unwrap_or(0)
}
