//! Processes that wait for one another in a cycle, and what only looks like it.

use std::process::Command;

use holdlock::inspect::{self, Deadlock, Kind};
use holdlock_conformance::{Actor, Scratch, has, queue, watchdog};

use crate::tools::{Orphan, STRANGER, stranger};

/// The cycles with one of these processes. Other tests have cycles of their own.
fn cycles_of(pids: &[u32]) -> Vec<Deadlock> {
    let cycles = inspect::host().expect("looks").deadlocks().into_iter();
    let is_part = |cycle: &Deadlock| {
        let mut steps = cycle.steps.iter();
        steps.any(|step| pids.contains(&step.waiter.pid) || pids.contains(&step.holder.pid))
    };
    cycles.filter(is_part).collect()
}

/// The only cycle of these processes. Searches more than once: a table that is read in pieces may
/// miss a lock if others are released at the same time.
#[track_caller]
fn the_cycle_of(pids: &[u32]) -> Deadlock {
    let mut cycles = Vec::new();
    queue::eventually("the deadlock is seen", || {
        cycles = cycles_of(pids);
        !cycles.is_empty()
    });
    assert_eq!(cycles.len(), 1, "{cycles:#?}");
    cycles.remove(0)
}

#[track_caller]
fn no_cycle_of(pids: &[u32]) {
    for _ in 0..5 {
        assert_eq!(cycles_of(pids), []);
    }
}

/// The waiters of a cycle, from the smallest pid on.
fn waiters(cycle: &Deadlock) -> Vec<u32> {
    let mut pids: Vec<u32> = cycle.steps.iter().map(|step| step.waiter.pid).collect();
    let smallest = (0..pids.len()).min_by_key(|at| pids[*at]).expect("a step");
    pids.rotate_left(smallest);
    pids
}

/// Each is kept by the next.
#[track_caller]
fn is_closed(cycle: &Deadlock) {
    let next = cycle.steps.iter().cycle().skip(1);
    for (step, next) in cycle.steps.iter().zip(next) {
        assert_eq!(step.holder.pid, next.waiter.pid, "{cycle}");
    }
}

#[test]
fn two_processes_in_a_cycle() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (a, b) = (scratch.path("a"), scratch.path("b"));
    let mut pair = [stranger(&[&a, &b]), stranger(&[&a, &b])];
    let pids = pair.each_ref().map(Actor::pid);
    pair[0].must("flock 0 ex");
    pair[1].must("flock 1 ex");
    pair[0].must_block("flock 1 ex", &b);
    no_cycle_of(&pids);
    pair[1].must_block("flock 0 ex", &a);
    let cycle = the_cycle_of(&pids);
    assert!(cycle.certain);
    is_closed(&cycle);
    assert_eq!(cycle.steps.len(), 2);
    for step in &cycle.steps {
        let first = step.waiter.pid == pids[0];
        let waits_for = if first { &b } else { &a };
        assert_eq!(step.path.as_ref(), Some(waits_for));
        assert_eq!(step.kind, Kind::Flock);
    }
    let text = cycle.to_string();
    for path in [&a, &b] {
        assert!(text.contains(path.to_str().expect("utf-8")), "{text}");
    }
    for pid in pids {
        assert!(text.contains(&format!("pid {pid} ")), "{text}");
    }
}

#[test]
fn three_processes_in_a_cycle_and_one_behind_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let paths = ["a", "b", "c"].map(|name| scratch.path(name));
    let files = paths.each_ref().map(|path| &**path);
    let mut three = [stranger(&files), stranger(&files), stranger(&files)];
    let mut behind = stranger(&files);
    for (number, process) in three.iter_mut().enumerate() {
        process.must(&format!("flock {number} ex"));
    }
    for (number, process) in three.iter_mut().enumerate() {
        let next = (number + 1) % 3;
        process.must_block(&format!("flock {next} ex"), &paths[next]);
    }
    behind.must_block("flock 1 ex", &paths[1]);
    let mut pids = three.each_ref().map(Actor::pid);
    let cycle = the_cycle_of(&pids);
    assert!(cycle.certain);
    is_closed(&cycle);
    pids.sort_unstable();
    let mut found = waiters(&cycle);
    found.sort_unstable();
    assert_eq!(found, pids, "and not {}", behind.pid());
}

#[test]
fn a_waiter_behind_a_deadlock_with_a_lock_of_its_own_is_not_part_of_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let paths = ["a", "b", "c"].map(|name| scratch.path(name));
    let files = paths.each_ref().map(|path| &**path);
    let mut pair = [stranger(&files), stranger(&files)];
    let (mut behind, mut last) = (stranger(&files), stranger(&files));
    pair[0].must("flock 0 ex");
    pair[1].must("flock 1 ex");
    behind.must("flock 2 ex");
    behind.must_block("flock 0 ex", &paths[0]);
    last.must_block("flock 2 ex", &paths[2]);
    no_cycle_of(&[behind.pid(), last.pid()]);
    pair[0].must_block("flock 1 ex", &paths[1]);
    pair[1].must_block("flock 0 ex", &paths[0]);
    let cycle = the_cycle_of(&pair.each_ref().map(Actor::pid));
    assert_eq!(cycle.steps.len(), 2);
    no_cycle_of(&[behind.pid(), last.pid()]);
}

/// Two commands, each under one lock, wait for the lock of the other command. Their supervisors
/// hold these locks, whether or not the commands inherit them.
#[test]
fn a_cycle_through_supervisors_that_wait_for_their_commands() {
    if !has("flock") {
        return;
    }
    let _dog = watchdog::watch(60);
    for options in [&[][..], &["--close"][..]] {
        let scratch = Scratch::new();
        let (a, b) = (scratch.path("a"), scratch.path("b"));
        let under = |lock, wanted| {
            let mut command = Command::new("flock");
            command.args(options).arg(lock).arg(STRANGER).arg(wanted);
            Actor::from_command(command)
        };
        let (mut first, mut second) = (under(&a, &b), under(&b, &a));
        first.tell("flock 0 ex");
        queue::eventually("it queues", || queue::length(&b) == 1);
        no_cycle_of(&[first.pid()]);
        second.tell("flock 0 ex");
        queue::eventually("it queues", || queue::length(&a) == 1);
        let pids = [first.pid(), second.pid()];
        queue::eventually("all members sleep", || the_cycle_of(&pids).certain);
        let cycle = the_cycle_of(&pids);
        assert_eq!(cycle.steps.len(), 2, "{cycle}");
        let mut parents: Vec<_> = cycle.steps.iter().map(|step| step.waiter.parent).collect();
        parents.sort_unstable();
        let mut expected = [Some(first.pid()), Some(second.pid())];
        expected.sort_unstable();
        assert_eq!(parents, expected);
        assert!(
            cycle.to_string().contains("waits for the end of"),
            "{cycle}"
        );
    }
}

#[test]
fn a_free_holder_of_a_shared_lock_does_not_open_a_cycle() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (a, b) = (scratch.path("a"), scratch.path("b"));
    let mut pair = [stranger(&[&a, &b]), stranger(&[&a, &b])];
    let mut free = stranger(&[&a, &b]);
    let pids = pair.each_ref().map(Actor::pid);
    // The free process is first in the table, and then last.
    free.must("flock 0 sh");
    pair[0].must("flock 0 sh");
    pair[1].must("flock 1 ex");
    pair[1].must_block("flock 0 ex", &a);
    no_cycle_of(&pids);
    pair[0].must_block("flock 1 ex", &b);
    let cycle = the_cycle_of(&pids);
    assert!(cycle.certain);
    assert_eq!(cycle.steps.len(), 2);
    is_closed(&cycle);
    assert!(waiters(&cycle).iter().all(|pid| *pid != free.pid()));
}

#[test]
fn a_request_that_only_the_free_one_keeps_waiting_is_no_cycle() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (a, b) = (scratch.path("a"), scratch.path("b"));
    let mut pair = [stranger(&[&a, &b]), stranger(&[&a, &b])];
    let mut free = stranger(&[&a, &b]);
    let pids = pair.each_ref().map(Actor::pid);
    // The second process waits for other bytes of a than the first one has.
    pair[0].must("posix 0 ex 0 10");
    free.must("posix 0 ex 10 10");
    pair[1].must("flock 1 ex");
    pair[1].must_block("posix 0 ex 10 10", &a);
    pair[0].must_block("flock 1 ex", &b);
    no_cycle_of(&pids);
}

#[test]
fn a_descriptor_that_a_free_child_has_inherited_makes_no_certain_cycle() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (a, b) = (scratch.path("a"), scratch.path("b"));
    for order in ["flock", "ofd"] {
        let mut pair = [stranger(&[&a, &b]), stranger(&[&a, &b])];
        let pids = pair.each_ref().map(Actor::pid);
        pair[0].must(&format!("{order} 0 ex"));
        pair[1].must(&format!("{order} 1 ex"));
        // LOCK_UN in the child would release it for both.
        let _child = Orphan::kept_by(&mut pair[0]);
        pair[0].tell(format_args!("{order} 1 ex"));
        queue::eventually("it queues", || queue::length(&b) == 1);
        pair[1].tell(format_args!("{order} 0 ex"));
        queue::eventually("it queues", || queue::length(&a) == 1);
        for _ in 0..5 {
            for cycle in cycles_of(&pids) {
                assert!(!cycle.certain, "{order}: {cycle}");
            }
        }
    }
}

#[test]
fn an_heir_that_waits_for_a_free_process_makes_no_certain_cycle() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let paths = ["a", "b", "c"].map(|name| scratch.path(name));
    let files = paths.each_ref().map(|path| &**path);
    let mut pair = [stranger(&files), stranger(&files)];
    let mut free = stranger(&files);
    let pids = pair.each_ref().map(Actor::pid);
    free.must("flock 2 ex");
    pair[0].must("flock 0 ex");
    pair[1].must("flock 1 ex");
    // It has inherited the lock on a, and continues when c is released.
    pair[0].ask("queue 2 1");
    pair[0].must_block("flock 1 ex", &paths[1]);
    pair[1].must_block("flock 0 ex", &paths[0]);
    for _ in 0..5 {
        for cycle in cycles_of(&pids) {
            assert!(!cycle.certain, "{cycle}");
        }
    }
}

#[test]
fn another_thread_may_release_so_the_cycle_is_only_possible() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (a, b) = (scratch.path("a"), scratch.path("b"));
    let mut pair = [stranger(&[&a, &b]), stranger(&[&a, &b])];
    let pids = pair.each_ref().map(Actor::pid);
    pair[0].must("thread");
    pair[0].must("flock 0 ex");
    pair[1].must("flock 1 ex");
    pair[0].must_block("flock 1 ex", &b);
    pair[1].must_block("flock 0 ex", &a);
    let cycle = the_cycle_of(&pids);
    assert!(!cycle.certain);
    is_closed(&cycle);
    assert_eq!(cycle.steps.len(), 2);
}

#[test]
fn a_process_with_two_descriptors_can_wait_for_itself() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    for order in ["flock", "ofd"] {
        let mut lonely = stranger(&[&path, &path]);
        lonely.must(&format!("{order} 0 ex"));
        lonely.tell(format_args!("{order} 1 ex"));
        queue::eventually("it queues", || queue::length(&path) == 1);
        let cycle = the_cycle_of(&[lonely.pid()]);
        assert!(cycle.certain);
        assert_eq!(cycle.steps.len(), 1, "{cycle}");
        assert_eq!(cycle.steps[0].waiter.pid, cycle.steps[0].holder.pid);
    }
}

#[test]
fn a_cycle_of_locks_whose_owners_the_kernel_does_not_name() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (a, b) = (scratch.path("a"), scratch.path("b"));
    let mut pair = [stranger(&[&a, &b]), stranger(&[&a, &b])];
    pair[0].must("ofd 0 ex");
    pair[1].must("ofd 1 ex");
    for (process, other, path) in [(0, 1, &b), (1, 0, &a)] {
        pair[process].tell(format_args!("ofd {other} ex"));
        queue::eventually("it queues", || queue::length(path) == 1);
    }
    let cycle = the_cycle_of(&pair.each_ref().map(Actor::pid));
    assert!(cycle.certain);
    is_closed(&cycle);
    assert!(cycle.steps.iter().all(|step| step.kind == Kind::Ofd));
}

#[test]
fn locks_of_two_families_make_no_cycle() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (a, b) = (scratch.path("a"), scratch.path("b"));
    let mut pair = [stranger(&[&a, &b]), stranger(&[&a, &b])];
    let mut free = stranger(&[&a, &b]);
    let pids = pair.each_ref().map(Actor::pid);
    pair[0].must("flock 0 ex");
    // The second process has b by fcntl(2), for which the first one does not wait.
    pair[1].must("posix 1 ex");
    free.must("flock 1 ex");
    pair[0].must_block("flock 1 ex", &b);
    pair[1].must_block("flock 0 ex", &a);
    no_cycle_of(&pids);
    free.must("flock 1 un");
    assert_eq!(pair[0].answer(), "ok");
}
