//! `LockOptions::signals(false)`: waits end in time, and no handler is ever installed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, FileLock, LockOptions, Request};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

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

/// A lock on which a request has timed out: its thread stays in the kernel's queue.
fn with_a_thread_in_the_queue(lock: FileLock) -> FileLock {
    let ended = lock.try_lock_for(Duration::from_millis(20)).map(drop);
    assert!(matches!(ended, Err(Error::TimedOut(_))), "{ended:?}");
    lock
}

#[test]
fn no_request_takes_over_a_thread_whose_file_is_open_for_reading_only() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut holder = Actor::holding(ACTOR, &scratch.lock());
    let _reader = with_a_thread_in_the_queue(open(&scratch));
    let options = LockOptions::new().signals(false).writable(true);
    let writer = options.open(scratch.lock()).expect("opens");
    let (name, named) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            name.send(sys::thread_id()).expect("heard");
            let guard = writer.try_lock_for(Duration::from_secs(50)).expect("freed");
            guard.file().write_all(b"data").expect("writable");
        });
        queue::wait_for_thread(named.recv().expect("named"));
        holder.must("release");
        waiter.join().expect("no panic");
    });
}

#[test]
fn no_request_takes_over_a_thread_whose_file_is_not_looked_up_at_the_path() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut holder = Actor::holding(ACTOR, &scratch.lock());
    let file = fs::File::open(scratch.lock()).expect("opens");
    let options = LockOptions::new().signals(false);
    let _pinned = with_a_thread_in_the_queue(options.open_file(&file).expect("opens"));
    let lock = open(&scratch);
    let (name, named) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            name.send(sys::thread_id()).expect("heard");
            let guard = lock.try_lock_for(Duration::from_secs(50)).expect("freed");
            let locked = guard.file().metadata().expect("open").ino();
            assert_eq!(locked, fs::metadata(lock.path()).expect("there").ino());
        });
        queue::wait_for_thread(named.recv().expect("named"));
        // The waiter has to see that the file it waits for is replaced.
        fs::rename(scratch.lock(), scratch.path("old")).expect("renamed");
        fs::write(scratch.lock(), "").expect("created");
        holder.must("release");
        waiter.join().expect("no panic");
    });
}
