//! What other guards, other processes and `inspect` see of the right.

use std::ops::ControlFlow;
use std::time::Duration;

use holdlock::{Continuity, Mode, Request, inspect};
use holdlock_conformance::{Scratch, queue, watchdog};

use crate::actors::{actor, forever, open, options, plain, wait_for_request};

#[test]
fn guards_of_other_kinds_convert_beside_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let guard = lock.lock().expect("exclusive").downgrade().expect("shared");
    let mut other = actor(&scratch);
    other.must("lock-upgradeable");
    // The downgraded guard is a reader as any other.
    assert!(other.ask("try-upgrade").starts_with("WouldBlock"));
    drop(guard);
    other.must("try-upgrade");
    other.must("release");
    let guard = lock.lock_shared().expect("shared");
    let (guard, kept) = guard.upgrade_not_atomic(forever()).expect("alone");
    assert_eq!(kept, Continuity::Kept);
    assert!(other.ask("try-shared").starts_with("WouldBlock"));
    drop(guard);
    // Nothing is left behind.
    other.must("lock-upgradeable");
    other.must("try-upgrade");
}

#[test]
fn only_the_lock_of_flock_is_shown() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut reader = actor(&scratch);
    reader.must("lock-shared");
    let mut guard = lock.lock_upgradeable().expect("shared");
    let shown = |mode: Mode| {
        let snapshot = inspect::file(scratch.lock()).expect("looked at");
        let locks = snapshot.files.iter().flat_map(|file| &file.locks);
        let locks: Vec<_> = locks.map(|lock| (lock.kind, lock.mode)).collect();
        assert!(
            locks
                .iter()
                .all(|lock| *lock == (inspect::Kind::Flock, mode)),
            "{locks:?}"
        );
        locks.len()
    };
    // The kernel's table may miss a lock while others change it.
    queue::eventually("two locks are shown", || shown(Mode::Shared) == 2);
    queue::eventually("two holders are shown", || {
        lock.holders().expect("looked at").len() == 2
    });
    reader.must("release");
    guard.upgrade(forever()).expect("upgraded");
    queue::eventually("one lock is shown", || shown(Mode::Exclusive) == 1);
    reader.tell("lock-shared");
    wait_for_request(&scratch.lock());
    queue::eventually("the reader is shown as a waiter", || {
        let snapshot = inspect::file(scratch.lock()).expect("looked at");
        let waiters = snapshot.files.iter().flat_map(|file| &file.waiters);
        let waiters: Vec<_> = waiters.map(|waiter| (waiter.kind, waiter.mode)).collect();
        waiters == [(inspect::Kind::Flock, Mode::Shared)]
    });
    drop(guard);
    assert_eq!(reader.answer(), "ok");
}

/// Without signals a helper thread gets the lock, by another open file.
#[test]
fn without_signals_readers_and_the_right_are_seen_by_others() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = options()
        .signals(false)
        .open(scratch.lock())
        .expect("opens");
    let limit = Duration::from_secs(60);
    for upgradeable in [false, true] {
        let (mut writer, mut other) = (plain(&scratch), actor(&scratch));
        writer.must("lock");
        let release = |_| {
            writer.must("release");
            ControlFlow::Continue(())
        };
        let request = Request::shared().timeout(limit).on_wait(release);
        if upgradeable {
            let mut guard = lock.acquire_upgradeable(request).expect("acquired");
            assert!(other.ask("try-upgradeable").starts_with("WouldBlock"));
            guard.upgrade(forever()).expect("upgraded");
        } else {
            let guard = lock.acquire(request).expect("acquired");
            other.must("lock-upgradeable");
            assert!(other.ask("try-upgrade").starts_with("WouldBlock"));
            drop(guard);
            other.must("try-upgrade");
        }
    }
}
