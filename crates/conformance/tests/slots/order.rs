//! Requests are served in the order in which they arrive.

use std::collections::VecDeque;
use std::path::Path;

use holdlock::{Semaphore, inspect};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

use crate::actors::{actor, holders, must_queue, must_wait_at_head, slot, slot_in};

#[test]
fn a_released_slot_goes_to_the_first_waiter() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 3);
    let mut first = actor(&path, 3);
    must_wait_at_head(&mut first, "lock", &path, 3);
    let mut second = actor(&path, 3);
    must_queue(&mut second, "lock");
    let mut third = actor(&path, 3);
    must_queue(&mut third, "lock");
    // A new request does not pass them.
    assert!(actor(&path, 3).ask("try").starts_with("WouldBlock"));
    holders[1].must("release");
    assert_eq!(slot_in(&first.answer()), 1);
    holders[2].must("release");
    assert_eq!(slot_in(&second.answer()), 2);
    // The number is used again at once.
    first.must("release");
    assert_eq!(slot_in(&third.answer()), 1);
    holders[0].must("release");
    assert_eq!(slot(&mut holders[1], "lock"), 0);
}

#[test]
fn waiters_are_served_in_the_order_of_arrival() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 2);
    let mut waiters = Vec::new();
    for number in 0..8 {
        let mut waiter = actor(&path, 2);
        if number == 0 {
            must_wait_at_head(&mut waiter, "lock", &path, 2);
        } else {
            must_queue(&mut waiter, "lock");
        }
        waiters.push(waiter);
    }
    let pids: Vec<u32> = waiters.iter().map(Actor::pid).collect();
    queue::eventually("all are shown in their order", || {
        pids_of_waiters(&path) == pids
    });
    let mut last = holders.remove(1);
    for (number, mut waiter) in waiters.into_iter().enumerate() {
        last.must("release");
        assert_eq!(slot_in(&waiter.answer()), 1, "waiter {number}");
        last = waiter;
    }
}

/// Whoever has been served comes again, as the last one.
#[test]
fn waiters_that_come_again_are_served_in_the_order_of_arrival_in_every_round() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders: VecDeque<Actor> = holders(&path, 2).into();
    let mut waiters: VecDeque<Actor> = (0..8).map(|_| actor(&path, 2)).collect();
    must_wait_at_head(&mut waiters[0], "lock", &path, 2);
    for waiter in waiters.iter_mut().skip(1) {
        must_queue(waiter, "lock");
    }
    for turn in 0..12 {
        let mut last = holders.pop_front().expect("two");
        last.must("release");
        must_queue(&mut last, "lock");
        waiters.push_back(last);
        // The only answer: the others wait.
        let mut first = waiters.pop_front().expect("eight");
        slot_in(&first.answer());
        let queued: Vec<u32> = waiters.iter().map(Actor::pid).collect();
        queue::eventually(&format!("turn {turn}: the others are in the queue"), || {
            pids_of_waiters(&path) == queued
        });
        holders.push_back(first);
    }
}

fn pids_of_waiters(path: &Path) -> Vec<u32> {
    let semaphore = Semaphore::open(path, 2).expect("opens");
    let waiters = semaphore.waiters().expect("readable");
    waiters.iter().map(|waiter| waiter.pid).collect()
}

/// A stopped process does not sleep in the kernel's queue, but has its place in ours.
#[test]
fn a_newcomer_does_not_pass_a_waiter_that_is_stopped_although_a_slot_is_free() {
    let _dog = watchdog::watch(60);
    for at_head in [true, false] {
        let scratch = Scratch::new();
        let path = scratch.lock();
        let mut holders = holders(&path, 3);
        let mut first = actor(&path, 3);
        must_wait_at_head(&mut first, "lock", &path, 3);
        let mut second = actor(&path, 3);
        must_queue(&mut second, "lock");
        let stopped = if at_head { first.pid() } else { second.pid() };
        sys::kill(stopped, libc::SIGSTOP);
        queue::eventually("it is stopped", || is_stopped(stopped));
        if !at_head {
            holders[0].must("release");
            assert_eq!(slot_in(&first.answer()), 0);
        }
        holders[1].must("release");
        // One slot is free.
        let mut newcomer = actor(&path, 3);
        let refused = newcomer.ask("try");
        assert!(
            refused.starts_with("WouldBlock") && refused.contains("before this one"),
            "{refused}"
        );
        must_queue(&mut newcomer, "lock");
        holders[2].must("release");
        sys::kill(stopped, libc::SIGCONT);
        if at_head {
            slot_in(&first.answer());
        }
        slot_in(&second.answer());
        if at_head {
            holders[0].must("release");
        }
        slot_in(&newcomer.answer());
    }
}

/// The one that is killed is between them.
#[test]
fn a_waiter_whose_neighbour_is_killed_does_not_pass_one_that_is_stopped() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 2);
    let mut waiters: Vec<Actor> = (0..4).map(|_| actor(&path, 2)).collect();
    must_wait_at_head(&mut waiters[0], "lock", &path, 2);
    for waiter in waiters.iter_mut().skip(1) {
        must_queue(waiter, "lock");
    }
    let stopped = waiters[1].pid();
    sys::kill(stopped, libc::SIGSTOP);
    queue::eventually("it is stopped", || is_stopped(stopped));
    holders[0].must("release");
    assert_eq!(slot_in(&waiters[0].answer()), 0);
    // No request is at the head, and a slot is free.
    holders[1].must("release");
    let before = sleeps(waiters[3].pid());
    waiters.remove(2).kill();
    let mut last = waiters.remove(2);
    queue::eventually("the last one has looked again", || {
        sleeps(last.pid()) > before
    });
    sys::kill(stopped, libc::SIGCONT);
    assert_eq!(slot_in(&waiters[1].answer()), 1);
    waiters[1].must("release");
    assert_eq!(slot_in(&last.answer()), 1);
}

/// How often the process has gone to sleep.
fn sleeps(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let mut lines = status.lines();
    let number = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    number.expect("a line").trim().parse().expect("a number")
}

/// Whether all threads of the process are stopped.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().unwrap_or_default();
        state.starts_with('T')
    })
}

#[test]
fn the_order_is_kept_where_waiters_are_killed_or_give_up() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 1);
    let mut waiters: Vec<Actor> = (0..6).map(|_| actor(&path, 1)).collect();
    must_wait_at_head(&mut waiters[0], "lock", &path, 1);
    for waiter in waiters.iter_mut().skip(1) {
        must_queue(waiter, "lock");
    }
    // Two neighbours in the middle, and the first one.
    waiters.remove(3).kill();
    waiters.remove(2).kill();
    waiters.remove(0).kill();
    let left: Vec<u32> = waiters.iter().map(Actor::pid).collect();
    queue::eventually("the others are in the queue", || {
        pids_of_waiters(&path) == left
    });
    // A newcomer is the last one.
    waiters.push(actor(&path, 1));
    must_queue(&mut waiters[3], "lock");
    let mut last = holders.remove(0);
    for mut waiter in waiters {
        last.must("release");
        assert_eq!(slot_in(&waiter.answer()), 0);
        last = waiter;
    }
}

#[test]
fn a_killed_waiter_leaves_no_thread_and_no_slot_behind() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 3);
    for _ in 0..20 {
        let mut head = actor(&path, 3);
        must_wait_at_head(&mut head, "lock", &path, 3);
        let mut next = actor(&path, 3);
        must_queue(&mut next, "lock");
        head.kill();
        holders[0].must("release");
        assert_eq!(slot_in(&next.answer()), 0);
        holders[0] = next;
    }
}

#[test]
fn inspection_shows_which_slot_each_holder_has() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let holders = holders(&path, 2);
    let mut head = actor(&path, 2);
    must_wait_at_head(&mut head, "lock", &path, 2);
    let mut next = actor(&path, 2);
    must_queue(&mut next, "lock");
    let snapshot = inspect::file(&path).expect("readable");
    let file = &snapshot.files[0];
    assert_eq!(file.slots, Some(2));
    let mut seen: Vec<(Option<u32>, u32)> = file
        .locks
        .iter()
        .map(|lock| (lock.slot, lock.holders[0].process.pid))
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [(Some(0), holders[0].pid()), (Some(1), holders[1].pid())]
    );
    let waiting: Vec<(u32, u32, bool)> = file
        .waiters
        .iter()
        .map(|it| {
            (
                it.turn,
                it.process.as_ref().map_or(0, |it| it.pid),
                it.is_for_a_slot(),
            )
        })
        .collect();
    assert_eq!(waiting, [(1, head.pid(), true), (2, next.pid(), true)]);
    assert!(snapshot.deadlocks().is_empty());
}
