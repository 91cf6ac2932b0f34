//! The end of a test or a measurement that hangs.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::signal;

/// Does something at a deadline, unless it is dropped before.
#[must_use = "a watchdog that is dropped does nothing"]
pub struct Watchdog(#[expect(dead_code, reason = "dropping it is the message")] Sender<()>);

impl Watchdog {
    /// Calls `bite` after `limit`, in a thread of its own.
    pub fn after(limit: Duration, bite: impl FnOnce() + Send + 'static) -> Watchdog {
        let (alive, dropped) = channel::<()>();
        std::thread::spawn(move || {
            if dropped.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                bite();
            }
        });
        Watchdog(alive)
    }
}

/// How many times longer than on an idle machine a test may take on a busy machine.
const SLACK: u64 = 5;

/// Aborts the whole test program, and names the test, unless the result is dropped before.
/// `seconds` is far more than the test takes on an idle machine.
pub fn watch(seconds: u64) -> Watchdog {
    let seconds = seconds * SLACK;
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    Watchdog::after(Duration::from_secs(seconds), move || {
        use std::io::Write;
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "HANGS: {test} after {seconds} s; /proc/locks:\n{locks}"
        );
        signal::kill_children();
        std::process::abort();
    })
}
