//! Ends a test that hangs.

use std::sync::mpsc;
use std::time::Duration;

/// While it lives, a deadline hangs over the test.
pub struct Watchdog(#[expect(dead_code, reason = "dropping it tells")] mpsc::Sender<()>);

/// Aborts the whole test program after `seconds`, naming the test, unless the
/// result is dropped before.
#[must_use]
pub fn watch(seconds: u64) -> Watchdog {
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
            std::process::abort();
        }
    });
    Watchdog(alive)
}
