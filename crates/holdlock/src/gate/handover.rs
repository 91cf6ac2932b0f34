//! For how long the kernel's lock is kept from one thread to the next.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::sys::clock;

/// How many times in a row the kernel's lock may be kept for the next thread.
const MAX_KEPT_IN_ROW: u32 = 64;
/// How long it may be kept without counting.
const KEEP_TIME: Duration = Duration::from_micros(50);

/// What those who are inside leave to the next. Touched by who is alone inside
/// only, so `word` orders the accesses.
#[derive(Default)]
pub(super) struct Handover {
    /// Times the kernel's lock was kept since it was last taken.
    kept_in_row: AtomicU32,
    /// When the kernel's lock was last taken, in nanoseconds; 0 if not known.
    taken: AtomicU64,
}

impl Handover {
    /// A thread has become alone inside, with the kernel's lock `kept` or not.
    #[inline]
    pub(super) fn entered(&self, kept: bool) {
        let kept_in_row = if kept {
            self.kept_in_row.load(Ordering::Relaxed) + 1
        } else {
            0
        };
        self.kept_in_row.store(kept_in_row, Ordering::Relaxed);
    }

    /// The thread that is alone inside has taken the kernel's lock.
    #[inline]
    pub(super) fn taken(&self, somebody_waits: bool) {
        // The time is of use only if there is somebody to whom the lock may be passed.
        let now = if somebody_waits {
            clock::nanoseconds()
        } else {
            0
        };
        self.taken.store(now, Ordering::Relaxed);
    }

    /// The thread that is inside leaves at `now`: whether the kernel's lock may be kept for the
    /// next one.
    pub(super) fn may_keep(&self, now: u64) -> bool {
        let kept_for = now - self.taken.load(Ordering::Relaxed);
        self.kept_in_row.load(Ordering::Relaxed) < MAX_KEPT_IN_ROW
            || kept_for < KEEP_TIME.as_nanos() as u64
    }
}
