//! Servers that are restarted during a run. Locks are lost, and no two holders overlap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdlock_test_support::servers::Server as _;

use crate::{SHORTEST, alone, must_find_nothing, place, postgres, redis};

/// Tortures, and calls `restart` again and again.
fn restarted_meanwhile(url: &str, restart: impl Fn() + Sync) {
    let over = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Long enough for locks to be held again: an engine gives none for their time limit.
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
        let modes = [
            "--for",
            "12s",
            "--seed",
            "1",
            "--modes",
            "exclusive,rewrite,register",
        ];
        let _over = Over(&over);
        must_find_nothing(place(url), &modes)
    });
    // A mode of a slow machine may get no lock between two restarts.
    let modes = report["modes"].as_array().expect("modes");
    let of_all = |count: &str| modes.iter().filter_map(|mode| mode[count].as_u64()).sum();
    let [sections, lost, unreachable]: [u64; 3] = ["sections", "lost", "unreachable"].map(of_all);
    assert!(sections > 0 && lost + unreachable > 0, "{report:#}");
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
