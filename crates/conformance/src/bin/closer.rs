//! Scenes in which other code of the process closes the descriptor of a lock file, each in a
//! process of its own: `closer SCENE LOCK`. Exits with 0 when the scene went as promised.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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
        "held-same-file" => closed_and_the_same_file_opened(&path),
        "held-by-std" => closed_and_locked_by_std(&path),
        "waiting-same-file" => closed_while_waiting_and_opened(&path),
        "asked-again" => closed_and_asked_for_again(&path),
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

/// The number goes to another lock on the same file.
fn closed_and_the_same_file_opened(path: &Path) {
    let lost = FileLock::open(path).expect("opens");
    let lost_guard = lost.lock().expect("locked");
    let number = lost_guard.as_fd().as_raw_fd();
    sys::close_all_from(3);
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.try_lock().expect("free");
    assert_eq!(guard.as_fd().as_raw_fd(), number);
    assert!(!lost_guard.is_current().expect("no error"));
    lost_guard.release().expect_err("it is lost");
    drop(lost);
    assert!(is_locked(path), "the lost guard has unlocked another one");
    assert!(guard.is_current().expect("no error"));
    guard.release().expect("released");
    assert!(!is_locked(path));
}

/// The number goes to a file of the host's on the same inode, with a lock of its own.
fn closed_and_locked_by_std(path: &Path) {
    let lost = FileLock::open(path).expect("opens");
    let guard = lost.lock().expect("locked");
    let number = guard.as_fd().as_raw_fd();
    sys::close_all_from(3);
    // With the flag that lock files have too.
    let mut options = File::options();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = file.expect("opens");
    assert_eq!(file.as_raw_fd(), number);
    file.try_lock().expect("free");
    let child = sys::fork(|| i32::from(file.metadata().is_err() || !is_file(number)));
    assert_eq!(child.wait(), 0, "a child has lost the host's file");
    guard.release().expect_err("it is lost");
    drop(lost);
    assert!(is_locked(path), "a stranger was unlocked");
}

fn is_file(number: i32) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok_and(|link| link != Path::new("/"))
}

fn closed_while_waiting_and_opened(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    drop(lock.lock().expect("locked"));
    let holder = Command::new("flock")
        .arg(path)
        .arg("cat")
        .stdin(Stdio::piped())
        .spawn();
    let mut holder = holder.expect("flock starts");
    queue::eventually("it is held", || is_locked(path));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let guard = lock.lock().expect("locked");
            assert!(is_locked(path), "the lock is not held");
            drop(guard);
        });
        queue::wait_for(path, std::process::id());
        let input = holder.stdin.take().expect("piped").into_raw_fd();
        let ours = number_of_lock(path);
        sys::cover(ours, &File::open("/dev/null").expect("opens"));
        sys::close(ours);
        let other = FileLock::open(path).expect("opens");
        sys::close(input);
        waiter.join().expect("no panic");
        drop(other);
    });
    holder.wait().expect("ends");
}

/// The lowest descriptor that is the lock file.
fn number_of_lock(path: &Path) -> i32 {
    let link = |number: &i32| std::fs::read_link(format!("/proc/self/fd/{number}")).ok();
    let path = std::fs::canonicalize(path).expect("there");
    let mut numbers = 3..100;
    numbers
        .find(|number| link(number).as_ref() == Some(&path))
        .expect("open")
}

/// A guard that has lost its lock is no reason to refuse its thread the lock by another object.
fn closed_and_asked_for_again(path: &Path) {
    let lost = FileLock::open(path).expect("opens");
    let lost_guard = lost.lock().expect("locked");
    sys::cover(lost_guard.as_fd().as_raw_fd(), &stranger(path));
    let holder = File::open(path).expect("opens");
    sys::flock(&holder, libc::LOCK_EX).expect("free");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            queue::wait_for(path, std::process::id());
            sys::flock(&holder, libc::LOCK_UN).expect("unlocked");
        });
        let lock = FileLock::open(path).expect("opens");
        drop(lock.lock().expect("no deadlock"));
    });
}
