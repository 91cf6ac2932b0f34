//! When waiters sleep in the kernel's queue.

use std::fs::read_to_string;
use std::time::{Duration, Instant};

use crate::Outcome;

/// From the entry into the queue until a waiter surely sleeps.
const SETTLE: Duration = Duration::from_millis(2);
/// A kernel that does not tell where a process sleeps is given this long.
const UNTOLD: Duration = Duration::from_millis(20);
/// Longer than any number of waiters needs to queue.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until this process sleeps in a lock call.
///
/// Not by /proc/locks: to read it takes all of the kernel's lock functions out of
/// their fast mode for a while (a per-CPU semaphore is taken for writing), which
/// would be measured along.
pub(crate) fn wait_for_one(pid: u32) {
    let place = format!("/proc/{pid}/wchan");
    let until = Instant::now() + UNTOLD;
    let in_lock_call = || read_to_string(&place).is_ok_and(|place| place.contains("lock"));
    while !in_lock_call() && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(SETTLE);
}

/// Waits until so many threads of these processes are queued, says /proc/locks.
pub(crate) fn wait_for_all(pids: &[u32], count: usize) -> Outcome<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let locks = read_to_string("/proc/locks")?;
        let queued = locks.lines().filter_map(waiter);
        if queued.filter(|pid| pids.contains(pid)).count() >= count {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err("the waiters do not show up in /proc/locks".into());
        }
    }
}

/// `1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:42 0 EOF`
fn waiter(line: &str) -> Option<u32> {
    let mut fields = line.split_whitespace();
    fields.find(|field| *field == "->")?;
    fields.nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::waiter;

    #[test]
    fn waiters_are_told_from_holders() {
        let held = "1: FLOCK  ADVISORY  WRITE 11 fe:00:42 0 EOF";
        let queued = "1:  -> FLOCK  ADVISORY  WRITE 4711 fe:00:42 0 EOF";
        assert_eq!(waiter(held), None);
        assert_eq!(waiter(queued), Some(4711));
    }
}
