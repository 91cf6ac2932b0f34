//! Locks that are lost or replaced: no upgrade of them succeeds.

use std::os::fd::AsRawFd;
use std::time::Duration;

use holdlock::Error;
use holdlock_conformance::{Scratch, sys, watchdog};

use crate::actors::{actor, forever, open, plain, wait_for_request};

#[test]
fn a_program_that_knows_nothing_of_upgrades_and_shares_the_lock_makes_one_fail() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut stranger = plain(&scratch);
    stranger.must("lock-shared");
    let mut guard = lock.lock_upgradeable().expect("shared");
    let error = guard
        .upgrade(forever())
        .expect_err("it would not be atomic");
    let Error::NotAtomic(conflict) = &error else {
        panic!("{error}");
    };
    assert_eq!(conflict.holders()[0].pid, stranger.pid(), "{error}");
    assert!(!guard.is_current().expect("looked at"));
    assert!(guard.upgrade(forever()).is_err() && guard.downgrade().is_err());
    // The lock is lost, and the right with it.
    let mut other = actor(&scratch);
    other.must("try-upgradeable");
    other.must("release");
    stranger.must("release");
    other.must("try");
    other.must("release");
    drop(guard);
    let mut guard = lock.try_lock_upgradeable().expect("free");
    guard.upgrade(forever()).expect("upgraded");
}

#[test]
fn a_descriptor_that_a_stranger_closed_is_noticed() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut guard = lock.lock_upgradeable().expect("shared");
    sys::close(guard.file().as_raw_fd());
    assert!(!guard.is_current().expect("looked at"));
    let error = guard.upgrade(forever()).expect_err("the lock is lost");
    assert!(matches!(error, Error::System { .. }), "{error}");
    assert!(guard.release().is_ok(), "nothing is left to release");
    // A child that another test forks has a copy of the descriptor for a moment.
    let limit = Duration::from_secs(30);
    let guard = lock.try_lock_upgradeable_for(limit);
    let mut guard = guard.expect("opened anew");
    guard.upgrade(forever()).expect("upgraded");
}

#[test]
fn a_child_of_fork_has_no_right() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut guard = lock.lock_upgradeable().expect("shared");
    let child = sys::fork(|| {
        let refused = guard.upgrade(forever()).is_err();
        let busy = matches!(lock.try_lock_upgradeable(), Err(Error::WouldBlock(_)));
        drop(guard);
        i32::from(!(refused && busy))
    });
    assert_eq!(child.wait(), 0);
    assert!(
        actor(&scratch)
            .ask("try-upgradeable")
            .starts_with("WouldBlock")
    );
}

#[test]
fn a_replaced_file_is_noticed_during_the_wait_for_the_right() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut other = actor(&scratch);
    other.must("lock-upgradeable");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let guard = lock.lock_upgradeable().expect("acquired");
            assert!(guard.is_current().expect("looked at"));
            assert!(
                actor(&scratch)
                    .ask("try-upgradeable")
                    .starts_with("WouldBlock")
            );
        });
        wait_for_request(&scratch.lock());
        std::fs::rename(scratch.lock(), scratch.path("old")).expect("renamed");
        std::fs::write(scratch.lock(), "").expect("made anew");
        other.must("release");
        waiting.join().expect("no panic");
    });
}
