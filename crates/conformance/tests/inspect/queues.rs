//! The waiters, in the order in which they will be served.

use holdlock::Mode;
use holdlock::inspect::{Kind, Range};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

use crate::tools::{ACTOR, one_file, stranger, turns};

#[test]
fn exclusive_waiters_are_shown_in_their_order() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let holder = Actor::holding(ACTOR, &path);
    let mut waiters: Vec<Actor> = Vec::new();
    for _ in 0..4 {
        let mut waiter = Actor::start(ACTOR, &path);
        waiter.must_block("lock", &path);
        waiters.push(waiter);
    }
    let expected: Vec<_> = waiters.iter().map(Actor::pid).zip(1..).collect();
    let file = one_file(&path);
    assert_eq!(turns(&file), expected);
    for waiter in &file.waiters {
        let what = (waiter.kind, waiter.mode, waiter.range);
        assert_eq!(what, (Kind::Flock, Mode::Exclusive, Range::WHOLE));
    }
    assert_eq!(file.locks.len(), 1);
    // They are served in this order.
    drop(holder);
    for waiter in &mut waiters {
        assert_eq!(waiter.answer(), "ok");
        waiter.must("release");
    }
    assert_eq!(crate::tools::look(&path).files, []);
}

#[test]
fn shared_waiters_have_one_turn() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    let mut waiters: Vec<Actor> = Vec::new();
    for mode in ["sh", "sh", "ex", "sh", "ex"] {
        let mut waiter = stranger(&[&path]);
        waiter.must_block(&format!("flock 0 {mode}"), &path);
        waiters.push(waiter);
    }
    let file = one_file(&path);
    let turn_of = |number: usize| {
        let found = turns(&file)
            .into_iter()
            .find(|(pid, _)| *pid == waiters[number].pid());
        found.expect("it waits").1
    };
    // The third shared one passes the exclusive one that came before it.
    let found: Vec<u32> = (0..5).map(turn_of).collect();
    assert_eq!(found, [1, 1, 2, 1, 3]);
    let in_order: Vec<u32> = file.waiters.iter().map(|waiter| waiter.turn).collect();
    assert_eq!(in_order, [1, 1, 1, 2, 3]);
    let modes: Vec<Mode> = file.waiters.iter().map(|waiter| waiter.mode).collect();
    use Mode::{Exclusive as E, Shared as S};
    assert_eq!(modes, [S, S, S, E, E]);
    // The kernel serves them as predicted.
    holder.must("flock 0 un");
    for number in [0, 1, 3] {
        assert_eq!(waiters[number].answer(), "ok");
    }
    assert_eq!(one_file(&path).locks.len(), 3);
}

#[test]
fn record_locks_queue_for_their_bytes() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = stranger(&[&path]);
    holder.must("posix 0 ex 0 100");
    let (mut low, mut high, mut both) =
        (stranger(&[&path]), stranger(&[&path]), stranger(&[&path]));
    low.must_block("posix 0 ex 0 10", &path);
    high.must_block("posix 0 sh 50 10", &path);
    both.must_block("posix 0 ex 5 50", &path);
    let file = one_file(&path);
    let mut found = turns(&file);
    found.sort_by_key(|(_, turn)| *turn);
    assert_eq!(found.len(), 3);
    // The last one also waits for one of the others.
    assert_eq!(found[2], (both.pid(), 2));
    let of = |pid: u32| {
        let waiter = file.waiters.iter().find(|waiter| {
            waiter
                .process
                .as_ref()
                .is_some_and(|process| process.pid == pid)
        });
        let waiter = waiter.expect("it waits");
        (
            waiter.kind,
            waiter.mode,
            waiter.range.start,
            waiter.range.end,
        )
    };
    assert_eq!(of(low.pid()), (Kind::Posix, Mode::Exclusive, 0, Some(9)));
    assert_eq!(of(high.pid()), (Kind::Posix, Mode::Shared, 50, Some(59)));
}

#[test]
fn waiters_that_the_kernel_does_not_name_are_found_by_their_requests() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = stranger(&[&path]);
    holder.must("ofd 0 ex");
    let mut waiters: Vec<Actor> = Vec::new();
    for (number, order) in ["ofd 0 ex 20 10", "ofd 0 sh 20 10", "ofd 0 ex 0 5"]
        .iter()
        .enumerate()
    {
        let mut waiter = stranger(&[&path]);
        waiter.tell(order);
        queue::eventually("it queues", || queue::length(&path) == number + 1);
        sys::wait_until_queued(waiter.pid(), &[libc::SYS_fcntl]);
        waiters.push(waiter);
    }
    let file = one_file(&path);
    let by = |start: u64, mode: Mode| {
        let mut waiters = file.waiters.iter();
        let waiter = waiters.find(|waiter| waiter.range.start == start && waiter.mode == mode);
        let waiter = waiter.expect("a waiter");
        assert_eq!((waiter.kind, waiter.descriptor), (Kind::Ofd, Some(3)));
        let process = waiter.process.as_ref().expect("found");
        (process.pid, waiter.turn)
    };
    assert_eq!(by(20, Mode::Exclusive), (waiters[0].pid(), 1));
    assert_eq!(by(20, Mode::Shared), (waiters[1].pid(), 2));
    assert_eq!(by(0, Mode::Exclusive), (waiters[2].pid(), 1));
    assert_eq!(file.locks[0].holders[0].process.pid, holder.pid());
}

#[test]
fn a_waiter_of_another_file_is_not_shown() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (one, two) = (scratch.path("one"), scratch.path("two"));
    let mut holder = stranger(&[&one, &two]);
    holder.must("ofd 0 ex");
    holder.must("ofd 1 ex");
    let (mut first, mut second) = (stranger(&[&one]), stranger(&[&two]));
    for (waiter, path) in [(&mut first, &one), (&mut second, &two)] {
        waiter.tell("ofd 0 ex");
        queue::eventually("it queues", || queue::length(path) == 1);
        sys::wait_until_queued(waiter.pid(), &[libc::SYS_fcntl]);
    }
    assert_eq!(turns(&one_file(&one)), [(first.pid(), 1)]);
    assert_eq!(turns(&one_file(&two)), [(second.pid(), 1)]);
}
