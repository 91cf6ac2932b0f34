//! /proc/locks, warm and cold.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Outcome;

/// The first read of /proc/locks after this long waits for a grace period of RCU.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// And one that comes so soon after another one does not.
const OFTEN: Duration = Duration::from_millis(2);

/// The first page of /proc/locks: all of a long table would take a processor.
pub(super) fn peek() {
    let mut page = [0; 4096];
    let _ = File::open("/proc/locks").and_then(|mut file| file.read(&mut page));
}

/// While another thread looks at /proc/locks all the time.
pub(super) fn warm<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                peek();
                std::thread::sleep(OFTEN);
            }
        });
        let result = work();
        end.store(true, Ordering::Relaxed);
        result
    })
}
