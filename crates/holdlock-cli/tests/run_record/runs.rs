//! Runs that print what the record tells them, and runs that die.

use rustix::process::Signal;

use crate::support::{Finished, Place};

/// Prints the token and the news.
pub(crate) const PRINT: &str = "echo ${HOLDLOCK_TOKEN-none} ${HOLDLOCK_ABANDONED-none}";

pub(crate) fn told(done: &Finished) -> (u64, &str) {
    assert_eq!(done.code(), 0, "{done:?}");
    let (token, abandoned) = done.text().trim_end().split_once(' ').unwrap();
    (token.parse().unwrap_or(0), abandoned)
}

pub(crate) fn print(place: &Place, lock: &str) -> Finished {
    place.run(["run", lock, "--", "sh", "-c", PRINT])
}

/// A run that was killed while it held the lock.
pub(crate) fn kill_a_holder(place: &Place, options: &[&str]) -> u32 {
    let holder = place.hold(options);
    let pid = holder.pid();
    holder.signal(Signal::KILL);
    holder.finish();
    pid
}
