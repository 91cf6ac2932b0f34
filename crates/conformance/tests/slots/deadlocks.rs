//! Threads that wait for what they hold themselves.

use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use holdlock::{Error, FileLock, Request, Semaphore, inspect};
use holdlock_conformance::{Scratch, queue, sys, watchdog};

use crate::actors::{actor, holders, must_wait_at_head, slot, slot_in};

#[test]
fn a_thread_that_holds_all_slots_is_told() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 2).expect("opens");
    let again = Semaphore::open(scratch.lock(), 2).expect("opens");
    let one = semaphore.lock().expect("free");
    let two = again.lock().expect("free");
    assert!(matches!(semaphore.lock(), Err(Error::Deadlock { .. })));
    let whole = FileLock::open(scratch.lock()).expect("opens");
    assert!(matches!(whole.lock(), Err(Error::Deadlock { .. })));
    drop(one);
    let three = semaphore.lock().expect("one is free");
    drop((two, three));
    let _whole = whole.lock().expect("free");
    assert!(matches!(semaphore.lock(), Err(Error::Deadlock { .. })));
}

#[test]
fn a_thread_that_holds_a_slot_may_wait_for_another_one() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let semaphore = Semaphore::open(&path, 2).expect("opens");
    let mut other = actor(&path, 2);
    assert_eq!(slot(&mut other, "lock"), 0);
    let one = semaphore.lock().expect("free");
    let mut began = |_| ControlFlow::Continue(());
    thread::scope(|scope| {
        scope.spawn(|| {
            queue::eventually("the thread waits", || queue::length(&path) == 2);
            // Longer than it takes to look for deadlocks.
            sys::sleep(Duration::from_millis(700));
            other.must("release");
        });
        let request = Request::exclusive()
            .notice_deadlocks(true)
            .on_wait(&mut began);
        let two = semaphore.acquire(request).expect("the other one releases");
        assert_eq!((one.slot(), two.slot()), (1, 0));
    });
}

/// Each of two processes waits for what the other one has, but there is a second slot.
#[test]
fn a_cycle_through_a_slot_is_no_deadlock_while_another_holder_may_release() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 2);
    let other = format!("also {}", scratch.path("other.lock").display());
    let mut waiter = actor(&path, 2);
    waiter.must(&other);
    must_wait_at_head(&mut waiter, "lock", &path, 2);
    holders[0].tell(&other);
    queue::wait_for(&scratch.path("other.lock"), holders[0].pid());
    // Longer than it takes to look for deadlocks, a few times.
    sys::sleep(Duration::from_millis(1800));
    // Other programs may have theirs.
    let pids = [waiter.pid(), holders[0].pid()];
    let cycles = inspect::host().expect("readable").deadlocks();
    let mut waiters = cycles
        .iter()
        .flat_map(|cycle| &cycle.steps)
        .map(|step| step.waiter.pid);
    assert!(!waiters.any(|pid| pids.contains(&pid)), "{cycles:?}");
    holders[1].must("release");
    assert_eq!(slot_in(&waiter.answer()), 1);
    waiter.must("release-also");
    assert_eq!(holders[0].answer(), "ok");
}

#[test]
fn a_request_of_a_callback_for_the_same_semaphore_is_a_deadlock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 1).expect("opens");
    let held = semaphore.lock_owned().expect("free");
    let again = Semaphore::open(scratch.lock(), 1).expect("opens");
    let mut seen = Vec::new();
    let request = Request::exclusive().on_wait(|_| {
        for other in [&semaphore, &again] {
            seen.push(
                other
                    .lock()
                    .err()
                    .map(|error| matches!(error, Error::Deadlock { .. })),
            );
        }
        ControlFlow::Break(())
    });
    assert!(matches!(
        semaphore.acquire(request),
        Err(Error::Cancelled { .. })
    ));
    drop(held);
    assert_eq!(seen, [Some(true), Some(true)]);
}
