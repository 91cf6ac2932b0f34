//! What those who are inside leave to the next: for how long the kernel's lock is
//! kept, and whether the lock file may have been removed meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::open::LockFile;
use crate::sys::clock;

/// How many times in a row the kernel's lock may be kept for the next thread.
const KEEPING: u32 = 64;
/// How long it may be kept without counting.
const KEEPING_TIME: Duration = Duration::from_micros(50);
/// Who was inside for no longer than this many nanoseconds cannot have removed or
/// renamed the lock file: it is how long an fstat(2) takes here, and a call that
/// also walks a path and changes a directory takes longer (measured, three times
/// as long at the least). After longer stays the file's identity is checked, also
/// when the kernel's lock is kept. 0 until it is measured.
static HARMLESS: AtomicU64 = AtomicU64::new(0);

/// What those who are inside leave to the next. Touched by who is alone inside
/// only, so `word` orders the accesses.
#[derive(Default)]
pub(super) struct Estate {
    /// Times the kernel's lock was kept since it was last taken.
    kept_in_row: AtomicU32,
    /// When the kernel's lock was last taken, in nanoseconds; 0 if not known.
    taken: AtomicU64,
    /// Since when the thread inside may have done something to the file: when the
    /// last one left, in nanoseconds; 0 if not known.
    since: AtomicU64,
    /// The last holder stayed long enough to have removed the file.
    check: AtomicBool,
}

impl Estate {
    /// To who has just become alone inside. True when it has to be checked that
    /// the lock file is still the one at the path.
    #[inline]
    pub(super) fn pass_on(&self, kept: bool) -> bool {
        if !kept {
            self.kept_in_row.store(0, Ordering::Relaxed);
            return true;
        }
        let kept_in_row = self.kept_in_row.load(Ordering::Relaxed);
        self.kept_in_row.store(kept_in_row + 1, Ordering::Relaxed);
        self.check.load(Ordering::Relaxed)
    }

    /// Who is alone inside has taken the kernel's lock, and checked the file.
    #[inline]
    pub(super) fn taken(&self, somebody_waits: bool) {
        // The time is of use only if there is somebody to whom the lock may be passed.
        let now = if somebody_waits {
            clock::nanoseconds()
        } else {
            0
        };
        self.taken.store(now, Ordering::Relaxed);
        self.since.store(now, Ordering::Relaxed);
    }

    /// Who is inside on a kept lock has checked the file.
    pub(super) fn checked(&self, file: &LockFile) {
        if HARMLESS.load(Ordering::Relaxed) == 0 {
            HARMLESS.store(file.quickest_call(), Ordering::Relaxed);
        }
        self.since.store(clock::nanoseconds(), Ordering::Relaxed);
    }

    /// Who is inside leaves. Whether the kernel's lock may be kept for the next.
    pub(super) fn may_keep(&self, now: u64) -> bool {
        let kept_for = now - self.taken.load(Ordering::Relaxed);
        if self.kept_in_row.load(Ordering::Relaxed) >= KEEPING
            && kept_for >= KEEPING_TIME.as_nanos() as u64
        {
            return false;
        }
        let stay = now - self.since.load(Ordering::Relaxed);
        self.since.store(now, Ordering::Relaxed);
        let harmless = HARMLESS.load(Ordering::Relaxed);
        self.check.store(stay >= harmless, Ordering::Relaxed);
        true
    }
}
