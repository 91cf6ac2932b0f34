//! Ends a test that hangs.

use std::sync::mpsc;
use std::time::Duration;

use crate::sys;

/// While it lives, a deadline hangs over the test.
pub struct Watchdog(#[expect(dead_code, reason = "dropping it tells")] mpsc::Sender<()>);

/// How many times longer than on an idle machine a test may take on a busy one.
const PATIENCE: u64 = 5;

/// Aborts the whole test program, naming the test, unless the result is dropped before. `seconds`
/// is far more than the test takes on an idle machine.
#[must_use]
pub fn watch(seconds: u64) -> Watchdog {
    let seconds = seconds * PATIENCE;
    let (alive, gone) = mpsc::channel::<()>();
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    std::thread::spawn(move || {
        if gone.recv_timeout(Duration::from_secs(seconds)) == Err(mpsc::RecvTimeoutError::Timeout) {
            use std::io::Write;
            let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
            let _ = writeln!(
                std::io::stderr(),
                "HANGS: {test} after {seconds} s; /proc/locks:\n{locks}"
            );
            sys::kill_children();
            std::process::abort();
        }
    });
    Watchdog(alive)
}
