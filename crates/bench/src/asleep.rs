//! Waits until waiters sleep in the kernel's queue.

use std::fs::read_to_string;
use std::time::{Duration, Instant};

use holdlock_test_support::queue;

use crate::Outcome;

/// The time from the entry into the queue until a waiter surely sleeps.
const SETTLE: Duration = Duration::from_millis(2);
/// The limit for a kernel that does not show where a process sleeps.
const UNTOLD: Duration = Duration::from_millis(20);
/// Far longer than any number of waiters needs to queue.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until this process sleeps in a lock call.
///
/// This does not read /proc/locks. A read takes a per-CPU semaphore for writing, which takes all
/// lock functions of the kernel out of their fast mode for a while, and the measurement would
/// include that.
pub(crate) fn wait_for_one(pid: u32) {
    let place = format!("/proc/{pid}/wchan");
    let until = Instant::now() + UNTOLD;
    let in_lock_call = || read_to_string(&place).is_ok_and(|place| place.contains("lock"));
    while !in_lock_call() && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(SETTLE);
}

/// Waits until this many threads of these processes are queued, according to /proc/locks.
pub(crate) fn wait_for_all(pids: &[u32], count: usize) -> Outcome<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let waiters = queue::all_waiters();
        if waiters.iter().filter(|pid| pids.contains(pid)).count() >= count {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err("the waiters do not show up in /proc/locks".into());
        }
    }
}
