//! Other code has closed the descriptor of a lock that is held; another thread opens the same lock
//! file and gets its number. `number-taken LOCK`, under a tracer that makes fstat(2) of the lock
//! file slow: the library calls that right after open(2), and not when it releases a lock. Exits
//! with 0 if the first lock is known to be lost and leaves the second one alone.

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use holdlock::FileLock;
use holdlock_conformance::{queue, sys};

fn main() {
    sys::die_with_parent();
    let path = PathBuf::from(std::env::args_os().nth(1).expect("a path"));
    let lost = FileLock::open(&path).expect("opens");
    let other = FileLock::open(&path).expect("opens");
    let lost_guard = lost.lock().expect("free");
    let number = lost_guard.as_fd().as_raw_fd();
    let is_open = || std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok();
    sys::close(number);
    assert!(!is_open());
    std::thread::scope(|scope| {
        let other = scope.spawn(|| other.lock_owned().expect("free"));
        queue::eventually("the other thread has opened the file", is_open);
        lost_guard.release().expect_err("it is lost");
        let guard = other.join().expect("no panic");
        assert_eq!(guard.as_fd().as_raw_fd(), number);
        assert!(guard.is_current().expect("no error"), "closed or unlocked");
        assert!(lost.try_lock().is_err(), "two holders");
        guard.release().expect("held until now");
    });
}
