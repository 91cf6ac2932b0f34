//! A record that all contenders share. It shows whether two were inside at once.
//!
//! A visit changes the numbers by a plain load and a plain store, like data behind a lock: two
//! visitors that are inside at the same time lose updates.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence};

/// The record, in memory that threads or processes share. A new one is all zero.
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Board {
    inside: AtomicU32,
    broken: AtomicU32,
    total: AtomicU64,
    stop: Stop,
}

/// On a cache line of its own, because every contender reads it all the time.
#[derive(Default)]
#[repr(C, align(64))]
struct Stop(AtomicU32);

impl Board {
    /// One visit: runs the section inside.
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

    /// An error if two were inside at once in one of these visits.
    pub(crate) fn verify(&self, visits: u64) -> Result<(), String> {
        let broken = self.broken.load(Ordering::Relaxed);
        let lost = visits.abs_diff(self.total.load(Ordering::Relaxed));
        if broken == 0 && lost == 0 {
            return Ok(());
        }
        Err(format!(
            "EXCLUSION BROKEN: {broken} times another one was inside already, {lost} of {visits} \
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
