//! The harness of the conformance tests.
//!
//! Tests use real processes and wait for events, never for time to pass. An [`Actor`] is a process
//! that does one lock operation at a time, as the test tells it, and [`queue::wait_for`] sees in
//! /proc/locks that it sleeps in the kernel's queue. [`watchdog`] ends a test that hangs and names
//! it. Exclusion under load is tried by `holdlock torture`, with the tests of the command. A
//! [`witness`] sees overlaps in a smaller trial.

pub mod actor;
pub mod cycles;
pub mod sealed;
pub mod sys;
pub mod told;
pub mod witness;

use std::time::{Duration, Instant};

pub use actor::Actor;
pub use holdlock_test_support::{
    Scratch, can_trace, has, in_container, peers, queue, skipped, watchdog,
};

/// Uses the lock so often that it keeps its file open for a while, about a second. Begins again
/// after a pause, as of a slow machine.
pub fn hot(lock: &holdlock::FileLock) {
    let mut quick_releases = 0;
    while quick_releases < 40 {
        let began = Instant::now();
        drop(lock.lock().expect("free"));
        let is_quick = began.elapsed() < Duration::from_millis(50);
        quick_releases = if is_quick { quick_releases + 1 } else { 0 };
    }
}

/// The code of the pages for users of the library, compiled as documentation tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../docs/from-other-crates.md")]
    struct FromOtherCrates;

    #[doc = include_str!("../../../docs/record.md")]
    struct Record;

    #[doc = include_str!("../../holdlock/README.md")]
    struct FirstSteps;
}
