//! Waiting for an event.

use std::time::{Duration, Instant};

/// Far longer than any event takes, also on a busy machine. A test that waits this long fails.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The longest pause between two questions.
const LONGEST: Duration = Duration::from_millis(25);

/// Asks again and again until there is an answer. The longer it takes, the longer are the pauses:
/// a question may start a process, and make the machine slower for that which is waited for.
///
/// # Panics
///
/// If there is none after [`DEADLINE`]. The message names the event.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        let waited = began.elapsed();
        assert!(waited < DEADLINE, "did not happen: {what}");
        std::thread::sleep((waited / 20).clamp(Duration::from_millis(1), LONGEST));
    }
}

/// Asks again and again until the answer is yes. Panics as [`wait_for`] does.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    wait_for(what, || is_so().then_some(()));
}
