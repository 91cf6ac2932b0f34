//! Servers that are restarted during a run. Locks are lost, and no two holders overlap.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdlock_test_support::servers::Server as _;

use crate::{SHORTEST, Torture, alone, must_find_nothing, place, postgres, redis};

/// Tortures, and calls `restart` again and again.
fn restarted_meanwhile(url: &str, restart: impl Fn() + Sync) {
    let over = AtomicBool::new(false);
    let modes = "exclusive,rewrite,register";
    let words = ["--for", "12s", "--seed", "1", "--modes", modes];
    let torture = Torture::of(place(url), &words);
    let directory = torture.directory.path().to_owned();
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) && !has_held(&directory) {
                std::thread::sleep(Duration::from_millis(50));
            }
            // Long enough for locks to be held again: an engine gives none for its time limit.
            let pause = Duration::from_secs(5);
            let mut slept = Duration::ZERO;
            while !over.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(50));
                slept += Duration::from_millis(50);
                if slept >= pause {
                    slept = Duration::ZERO;
                    restart();
                }
            }
        });
        let _over = Over(&over);
        must_find_nothing(torture)
    });
    // A mode of a slow machine may get no lock between two restarts.
    let modes = report["modes"].as_array().expect("modes");
    let of_all = |count: &str| modes.iter().filter_map(|mode| mode[count].as_u64()).sum();
    let [sections, lost, unreachable]: [u64; 3] = ["sections", "lost", "unreachable"].map(of_all);
    assert!(sections > 0 && lost + unreachable > 0, "{report:#}");
}

/// Whether the run whose files are here has held a lock.
fn has_held(directory: &Path) -> bool {
    let runs = std::fs::read_dir(directory).expect("readable");
    let mut files = runs.map(|run| run.expect("an entry").path().join("rewrite.data"));
    files.any(|file| file.exists())
}

/// Ends the restarts, also if the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_restart_of_postgres_gives_no_lock_to_two() {
    let _one = alone();
    if let Some(server) = postgres::own("") {
        let url = server.with(SHORTEST, "any");
        restarted_meanwhile(&url, || server.crash());
    }
}

/// The server forgets all locks.
#[test]
fn a_restart_of_redis_without_persistence_gives_no_lock_to_two() {
    let _one = alone();
    if let Some(server) = redis::own(&[]) {
        let server = server.awake();
        let url = server.with(SHORTEST, "any");
        restarted_meanwhile(&url, || {
            server.kill();
            server.run();
        });
    }
}
