//! A board that all contenders see, to find out whether two were inside at once.
//!
//! The numbers are changed by a plain load and a plain store, as the data behind
//! a lock would be: two who are inside at the same time lose updates.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence};

/// In memory that threads or processes share. All zero is a fresh one.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Board {
    inside: AtomicU32,
    broken: AtomicU32,
    total: AtomicU64,
    stop: Stop,
}

/// On a cache line of its own: everybody looks at it all the time.
#[derive(Default)]
#[repr(C, align(64))]
struct Stop(AtomicU32);

impl Board {
    /// One stay inside.
    pub(crate) fn visit(&self, section: &mut dyn FnMut()) {
        if self.inside.load(Ordering::Relaxed) != 0 {
            self.broken.fetch_add(1, Ordering::Relaxed);
        }
        self.inside.store(1, Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
        section();
        self.total.store(total + 1, Ordering::Relaxed);
        self.inside.store(0, Ordering::Relaxed);
    }

    /// An error if ever two were inside at once in so many visits.
    pub(crate) fn verify(&self, visits: u64) -> Result<(), String> {
        let broken = self.broken.load(Ordering::Relaxed);
        let lost = visits.abs_diff(self.total.load(Ordering::Relaxed));
        if broken == 0 && lost == 0 {
            return Ok(());
        }
        Err(format!(
            "EXCLUSION BROKEN: {broken} times somebody was inside already, {lost} of {visits} \
             updates lost"
        ))
    }

    pub(crate) fn stop(&self) {
        self.stop.0.store(1, Ordering::Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.0.load(Ordering::Relaxed) != 0
    }
}
