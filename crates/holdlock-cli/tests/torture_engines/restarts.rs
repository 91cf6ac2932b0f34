//! Servers that are restarted during a run. Locks are lost, and no two holders overlap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdlock_test_support::servers::Server as _;

use crate::{alone, must_hold, place, postgres, redis};

/// Tortures, and calls `restart` again and again.
fn restarted_meanwhile(url: &str, restart: impl Fn() + Sync) {
    let over = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Long enough for locks to be held again: an engine gives none for its time limit.
            let pause = Duration::from_secs(4);
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
            "9s",
            "--seed",
            "1",
            "--modes",
            "exclusive,rewrite,register",
        ];
        let report = must_hold(place(url), &modes);
        over.store(true, Ordering::SeqCst);
        report
    });
    let modes = report["modes"].as_array().expect("modes").iter();
    let lost = modes
        .map(|mode| mode["lost"].as_u64().unwrap_or(0) + mode["unreachable"].as_u64().unwrap_or(0));
    assert!(lost.sum::<u64>() > 0, "{report:#}");
}

#[test]
fn a_restart_of_postgres_gives_no_lock_to_two() {
    let _one = alone();
    if let Some(server) = postgres::own("") {
        let url = server.brief("any");
        restarted_meanwhile(&url, || server.crash());
    }
}

/// The server forgets all locks.
#[test]
fn a_restart_of_redis_without_persistence_gives_no_lock_to_two() {
    let _one = alone();
    if let Some(server) = redis::own(&[]) {
        let server = server.awake();
        let url = server.brief("any");
        restarted_meanwhile(&url, || {
            server.kill();
            server.run();
        });
    }
}
