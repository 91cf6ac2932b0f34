//! A request searches for the holder of a removed lock file, and other code of the process closes
//! the directory of /proc that the search lists: `listing-closed LOCK`.

use std::path::PathBuf;

use holdlock::FileLock;
use holdlock_conformance::sys;

fn main() {
    sys::die_with_parent();
    let path = PathBuf::from(std::env::args_os().nth(1).expect("a path"));
    let lock = FileLock::open(&path).expect("opens");
    // On a slow machine a search may end before its directory was found.
    let was_closed = (0..20).any(|_| search(&lock));
    assert!(was_closed, "no directory was listed");
}

/// One search. Returns whether its directory was closed meanwhile.
fn search(lock: &FileLock) -> bool {
    let mut was_closed = false;
    let result = std::thread::scope(|scope| {
        let request = scope.spawn(|| lock.try_lock().map(drop));
        while !was_closed && !request.is_finished() {
            if let Some(number) = listing() {
                sys::close(number);
                was_closed = true;
            }
        }
        request.join().expect("no panic")
    });
    let error = result.expect_err("the holder is still inside");
    assert!(error.is_conflict(), "{error}");
    assert!(
        !lock.path().exists(),
        "a file was created beside the holder's"
    );
    was_closed
}

/// The descriptor by which this process lists the descriptors of another one. The process has few
/// open, and each look takes a while under a tracer.
fn listing() -> Option<i32> {
    let is_listing = |number: &i32| {
        let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
        link.is_ok_and(|link| link.starts_with("/proc") && link.ends_with("fd"))
    };
    (3..16).find(is_listing)
}
