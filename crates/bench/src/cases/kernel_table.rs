//! /proc/locks, warm and cold.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Outcome;

/// The first read of /proc/locks after this long waits for a grace period of RCU.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// A read that follows another one within this time does not wait.
const OFTEN: Duration = Duration::from_millis(2);

/// Reads the first page of /proc/locks. Reading all of a long table would keep a processor busy.
pub(super) fn peek() {
    let mut page = [0; 4096];
    let _ = File::open("/proc/locks").and_then(|mut file| file.read(&mut page));
}

/// Runs the measurement while another thread reads /proc/locks all the time.
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
