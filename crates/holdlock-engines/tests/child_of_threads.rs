//! A child of fork(2) whose parent was starting threads: its requests end. The standard library
//! begins each thread with a mutex, which the child may have got locked.

#![allow(missing_docs, reason = "tests")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdlock_engines::open;
use holdlock_test_support::watchdog;

#[path = "support/fork.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod fork;

use fork::{ended_well, in_child};

#[test]
fn a_request_in_a_child_ends_although_the_parent_was_starting_threads() {
    let _dog = watchdog::watch(60);
    let stop = AtomicBool::new(false);
    let (mut children, mut all_ended) = (0, true);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::spawn(|| {}).join().expect("no panic");
                }
            });
        }
        let began = Instant::now();
        while all_ended && children < 1000 && began.elapsed() < Duration::from_secs(20) {
            all_ended = ended_well(in_child(nobody_is_there));
            children += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(all_ended, "the last of {children} children");
}

/// Asks a server by its name, at a port at which nobody listens.
fn nobody_is_there() -> bool {
    fork::end_in(15);
    let lock = open("redis://localhost:1/#n").expect("a lock");
    let error = lock.try_lock().expect_err("nobody is there");
    // The name service has answered, or this machine has none.
    !error.to_string().contains("no answer")
}
