//! Requests that are errors: deadlocks, and locks that were not opened for upgrades.

use holdlock::{Error, Family, FileLock};
use holdlock_conformance::{Scratch, watchdog};

use crate::actors::{actor, forever, open, options};

#[test]
fn a_thread_that_would_wait_for_its_own_share_gets_an_error() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let shared = lock.lock_shared().expect("shared");
    let mut guard = lock.lock_upgradeable().expect("shared");
    // At once, and not only when a deadlock has been searched for.
    let error = guard.upgrade(forever()).expect_err("this thread reads");
    assert!(
        matches!(error, Error::Deadlock { cycle: None, .. }),
        "{error}"
    );
    drop(shared);
    guard.upgrade(forever()).expect("upgraded");
    for error in [
        lock.lock_shared().map(drop).expect_err("exclusive"),
        lock.lock().map(drop).expect_err("exclusive"),
        lock.lock_upgradeable()
            .map(drop)
            .expect_err("one at a time"),
    ] {
        assert!(matches!(error, Error::Deadlock { .. }), "{error}");
    }
    guard.downgrade().expect("downgraded");
    drop(lock.lock_shared().expect("shared"));
    drop(guard);
    // Another holder has the right, and its upgrade would wait for this thread.
    let mut other = actor(&scratch);
    other.must("lock-upgradeable");
    let _shared = lock.lock_shared().expect("shared");
    let error = lock.lock_upgradeable().map(drop).expect_err("a deadlock");
    assert!(
        matches!(error, Error::Deadlock { cycle: None, .. }),
        "{error}"
    );
}

#[test]
fn a_lock_that_was_not_opened_for_it_says_so() {
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let error = lock
        .try_lock_upgradeable()
        .map(drop)
        .expect_err("not upgradeable");
    assert!(
        error.to_string().contains("LockOptions::upgradeable"),
        "{error}"
    );
    let error = options().family(Family::Ofd).open(scratch.lock());
    let error = error.map(drop).expect_err("another family");
    assert!(error.to_string().contains("upgradeable"), "{error}");
}
