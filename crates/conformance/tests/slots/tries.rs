//! Requests for a slot that must not wait: they fail only for a reason.

use std::fs::File;
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use holdlock::inspect::Range;
use holdlock::{Error, LockOptions, Semaphore};
use holdlock_conformance::{Scratch, queue, sys, watchdog};

/// How often this thread of this process has gone to sleep.
fn sleeps(thread: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

/// Another request is at the head for longer than a quick one, as if it got no processor.
#[test]
fn a_request_that_passes_the_head_does_not_make_a_try_fail_while_a_slot_is_free() {
    let _dog = watchdog::watch(60);
    // A slow machine may be late.
    assert!((0..10).any(|_| a_try_outlasts_one_that_passes()));
}

/// Whether that was shown. It was not if the head was occupied for longer than a try looks.
fn a_try_outlasts_one_that_passes() -> bool {
    const LOOKS_FOR: Duration = Duration::from_millis(500);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 2).expect("opens");
    let _taken = semaphore.try_lock().expect("free");
    let file = File::options().write(true).open(scratch.lock());
    let head = file.expect("opens");
    let queue = (Range::QUEUE.start, 3);
    sys::fcntl_lock(&head, libc::F_OFD_SETLK, libc::F_WRLCK, queue).expect("no request is there");
    let (tell, told) = mpsc::channel();
    let began = Instant::now();
    let (slot, tried_for) = std::thread::scope(|scope| {
        let trying = scope.spawn(|| {
            tell.send(sys::thread_id()).expect("heard");
            let slot = semaphore.try_lock().map(|guard| guard.slot());
            (slot, began.elapsed())
        });
        let thread = told.recv().expect("a thread");
        // It sleeps ten times in each millisecond.
        queue::eventually("the request has looked for more than a millisecond", || {
            trying.is_finished() || sleeps(thread).is_some_and(|sleeps| sleeps > 15)
        });
        sys::fcntl_lock(&head, libc::F_OFD_SETLK, libc::F_UNLCK, queue).expect("unlocked");
        trying.join().expect("no panic")
    });
    match slot {
        Ok(slot) => {
            assert_eq!(slot, 1);
            true
        }
        Err(error) => {
            assert!(tried_for >= LOOKS_FOR, "a slot is free: {error}");
            false
        }
    }
}

/// As above. The thread of a runtime also serves other tasks, and the task waits anyway.
#[test]
fn the_first_poll_of_a_task_does_not_look_for_long() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 2).expect("opens");
    let file = File::options().write(true).open(scratch.lock());
    let head = file.expect("opens");
    let queue = (Range::QUEUE.start, 3);
    sys::fcntl_lock(&head, libc::F_OFD_SETLK, libc::F_WRLCK, queue).expect("no request is there");
    let mut context = Context::from_waker(Waker::noop());
    let mut task = pin!(semaphore.lock_async());
    let thread = sys::thread_id();
    let before = sleeps(thread).expect("a number");
    assert!(task.as_mut().poll(&mut context).is_pending());
    // A look takes a tenth of a millisecond.
    let slept = sleeps(thread).expect("a number") - before;
    assert!(slept < 100, "{slept}");
    sys::fcntl_lock(&head, libc::F_OFD_SETLK, libc::F_UNLCK, queue).expect("unlocked");
    let mut taken = None;
    queue::eventually("the task has a slot", || {
        if let Poll::Ready(answer) = task.as_mut().poll(&mut context) {
            taken = Some(answer.map(|guard| guard.slot()));
        }
        taken.is_some()
    });
    assert_eq!(taken.expect("an answer").expect("free"), 0);
}

/// There are always slots that nobody has, and no request waits.
#[test]
fn tries_do_not_fail_while_there_are_more_slots_than_threads() {
    const THREADS: u32 = 32;
    const SLOTS: u32 = 256;
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), SLOTS).expect("opens");
    let end = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while Instant::now() < end {
                    drop(semaphore.try_lock().expect("a free slot"));
                }
            });
        }
    });
}

#[test]
fn a_try_behind_an_exclusive_request_fails_at_once_and_does_not_blame_the_slots() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 2).expect("opens");
    let taken = semaphore.try_lock_owned().expect("free");
    std::thread::scope(|scope| {
        let exclusive = scope.spawn(|| {
            let lock = LockOptions::new().fair(true).open(scratch.lock());
            drop(lock.expect("opens").lock().expect("acquired"));
        });
        queue::eventually("the request is at the head", || {
            queue::length(&scratch.lock()) > 0
        });
        let thread = sys::thread_id();
        for _ in 0..10 {
            let before = sleeps(thread).expect("a number");
            let Err(Error::WouldBlock(conflict)) = semaphore.try_lock() else {
                panic!("it passes the exclusive request");
            };
            assert_eq!(conflict.slots(), None, "one slot is free");
            // Each takes a tenth of a millisecond, or as long as others need the processor.
            let slept = sleeps(thread).expect("a number") - before;
            assert!(slept < 100, "{slept}");
        }
        drop(taken);
        exclusive.join().expect("no panic");
    });
}
