//! Waiting for an event.

use std::time::{Duration, Instant};

/// Far longer than any event takes, also on a busy machine. A test that waits this long fails.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// If there is none after [`DEADLINE`]. The message names the event.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "did not happen: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asks again and again until the answer is yes. Panics as [`wait_for`] does.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(()));
}
