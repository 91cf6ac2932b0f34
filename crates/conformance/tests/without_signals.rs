//! `LockOptions::signals(false)`: waits end in time, and no handler is ever installed.

use std::fs;
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, FileLock, LockOptions, Request};
use holdlock_conformance::{Actor, Scratch, queue, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

fn open(scratch: &Scratch) -> FileLock {
    let options = LockOptions::new().signals(false);
    options.open(scratch.lock()).expect("opens")
}

/// The real-time signals for which this process has a handler.
fn handlers() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.expect("a line").trim(), 16).expect("a set");
    // The C library has handlers for the first two.
    caught >> 33
}

#[test]
fn waits_end_in_time_without_a_handler() {
    let _dog = watchdog::watch(60);
    let before = handlers();
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut holder = Actor::holding(ACTOR, lock.path());

    let (limit, began) = (Duration::from_millis(50), Instant::now());
    let error = lock.try_lock_for(limit).expect_err("held");
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    assert!((limit..Duration::from_secs(20)).contains(&began.elapsed()));

    let token = CancelToken::new();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.acquire(Request::exclusive().cancel(&token)).map(drop));
        queue::wait_for(lock.path(), std::process::id());
        token.cancel();
        let ended = waiter.join().expect("no panic");
        assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
    });

    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().map(drop));
        queue::wait_for(lock.path(), std::process::id());
        // Longer than it takes to look for deadlocks.
        std::thread::sleep(Duration::from_millis(700));
        holder.must("release");
        waiter.join().expect("no panic").expect("released");
    });
    assert_eq!(handlers(), before);
    assert_eq!(holdlock::wait_signal(), None);
}
