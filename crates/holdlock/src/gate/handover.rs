//! For how long threads hand the kernel's lock on without unlocking the file.

use std::time::Duration;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::clock;

/// How many times in a row the kernel's lock may be kept for the next thread.
const MAX_KEPT_IN_ROW: u32 = 64;
/// For how long the kernel's lock may be kept, however often that is.
const KEEP_TIME: Duration = Duration::from_micros(50);

/// What a thread inside leaves to the next one. Only the thread that is alone inside uses this, so
/// the gate's `word` orders the accesses.
#[derive(Default)]
pub(super) struct Handover {
    /// How often the kernel's lock was kept since it was last taken.
    kept_in_row: AtomicU32,
    /// When the kernel's lock was last taken, in nanoseconds; 0 if that was not recorded.
    taken_at: AtomicU64,
}

impl Handover {
    /// A thread has entered alone. `kept` tells whether the kernel's lock was kept for it.
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
    pub(super) fn kernel_lock_taken(&self, a_thread_waits: bool) {
        // The time matters only if a thread waits that could get the lock next.
        let now = if a_thread_waits {
            clock::nanoseconds()
        } else {
            0
        };
        self.taken_at.store(now, Ordering::Relaxed);
    }

    /// Whether a thread that leaves at `now` may keep the kernel's lock for the next one.
    pub(super) fn may_keep(&self, now: u64) -> bool {
        let kept_for = now - self.taken_at.load(Ordering::Relaxed);
        self.kept_in_row.load(Ordering::Relaxed) < MAX_KEPT_IN_ROW
            || kept_for < KEEP_TIME.as_nanos() as u64
    }
}
