//! Ends a run that hangs: a lock that is never released would otherwise stop the run for ever.

use std::path::PathBuf;
use std::time::Duration;

use holdlock_test_support::watchdog::Watchdog;

/// The limit for the whole run: several times what it should take.
pub(crate) fn limit(quick: bool) -> Duration {
    Duration::from_secs(if quick { 180 } else { 900 })
}

/// Ends the process after `limit`, and removes `dir` first, unless the result is dropped before.
/// Workers end with their parent.
pub(crate) fn start(limit: Duration, dir: Option<PathBuf>) -> Watchdog {
    Watchdog::after(limit, move || {
        eprintln!("holdlock-bench: gave up after {limit:?}");
        if let Some(dir) = dir {
            let _ = std::fs::remove_dir_all(dir);
        }
        std::process::exit(1);
    })
}
