//! Scenes in which other code of the process closes the descriptor of a lock file, each in a
//! process of its own: `closer SCENE LOCK`. Exits with 0 when the scene went as promised.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use holdlock::{FileLock, Request};
use holdlock_conformance::{queue, sys};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let scene = arguments.next().expect("a scene");
    let path = PathBuf::from(arguments.next().expect("a path"));
    match scene.to_str().expect("utf-8") {
        "free" => closed_while_free(&path),
        "held" => closed_while_held(&path),
        "dropped" => closed_before_the_drop(&path),
        "waiting" => closed_while_waiting(&path),
        "passed-on" => closed_before_passing_on(&path),
        "converted" => closed_before_converting(&path),
        other => panic!("{other}"),
    }
}

fn stranger(path: &Path) -> File {
    File::create(path.with_extension("log")).expect("created")
}

/// Whether an exclusive lock is held on the file at `path`, asked by flock(2) on another open file.
fn is_locked(path: &Path) -> bool {
    let file = File::open(path).expect("opens");
    sys::flock(&file, libc::LOCK_EX | libc::LOCK_NB).is_err()
}

fn number_of(lock: &FileLock) -> i32 {
    lock.lock().expect("locked").as_fd().as_raw_fd()
}

/// What python-daemon and `os.closerange` do, and then a log file gets the number.
fn closed_while_free(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let number = number_of(&lock);
    sys::close_all_from(3);
    let log = stranger(path);
    sys::cover(number, &log);
    let guard = lock.lock().expect("locked");
    assert!(is_locked(path), "the lock is not held");
    assert!(
        !is_locked(&path.with_extension("log")),
        "a stranger's file is locked"
    );
    assert!(guard.is_current().expect("no error"));
    guard.release().expect("released");
    assert!(!is_locked(path));
    drop(lock);
    write_by(number);
}

fn closed_while_held(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.lock().expect("locked");
    let number = guard.as_fd().as_raw_fd();
    let log = stranger(path);
    sys::cover(number, &log);
    sys::flock(&log, libc::LOCK_EX).expect("locked");
    assert!(!guard.is_current().expect("no error"));
    let shown = format!("{guard:?}");
    assert!(shown.contains("held: false"), "{shown}");
    let error = guard.release().expect_err("it is lost").to_string();
    assert!(error.contains("closed the descriptor"), "{error}");
    // The stranger's own lock is the stranger's.
    assert!(
        is_locked(&path.with_extension("log")),
        "a stranger was unlocked"
    );
    drop(lock.try_lock().expect("free"));
    write_by(number);
}

fn closed_before_the_drop(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let number = number_of(&lock);
    sys::cover(number, &stranger(path));
    drop(lock);
    write_by(number);
}

/// The descriptor is closed while a thread sleeps in flock(2) on it, which then returns success.
fn closed_while_waiting(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let number = number_of(&lock);
    let holder = File::open(path).expect("opens");
    sys::flock(&holder, libc::LOCK_EX).expect("locked");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let guard = lock.lock().expect("locked");
            assert!(is_locked(path), "the lock is not held");
            drop(guard);
        });
        queue::wait_for(path, std::process::id());
        sys::cover(number, &stranger(path));
        sys::flock(&holder, libc::LOCK_UN).expect("unlocked");
        waiter.join().expect("no panic");
    });
}

/// The next thread would get the kernel's lock from this one without asking the kernel.
fn closed_before_passing_on(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let guard = lock.lock().expect("locked");
        let waiter = scope.spawn(|| {
            tell.send(sys::thread_id()).expect("heard");
            let guard = lock.lock().expect("locked");
            assert!(is_locked(path), "the lock is not held");
            drop(guard);
        });
        queue::wait_for_thread(told.recv().expect("began"));
        sys::cover(guard.as_fd().as_raw_fd(), &stranger(path));
        drop(guard);
        waiter.join().expect("no panic");
    });
}

fn closed_before_converting(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.lock_shared().expect("locked");
    let log = stranger(path);
    sys::cover(guard.as_fd().as_raw_fd(), &log);
    let (guard, continuity) = guard
        .upgrade_not_atomic(Request::exclusive())
        .expect("locked anew");
    assert_eq!(continuity, holdlock::Continuity::Lost);
    assert!(is_locked(path) && !is_locked(&path.with_extension("log")));
    sys::cover(guard.as_fd().as_raw_fd(), &log);
    guard.downgrade().expect_err("it is lost");
    assert!(!is_locked(&path.with_extension("log")));
}

/// The number is still the stranger's, and open.
fn write_by(number: i32) {
    let link = std::fs::read_link(format!("/proc/self/fd/{number}")).expect("open");
    let name = link.to_str().expect("text");
    assert!(name.ends_with(".log"), "{name}");
    let mut file = File::options().append(true).open(&link).expect("opens");
    writeln!(file, "still here").expect("written");
}
