//! Very many waiters, very many locks: right, and in a time that can be waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdlock::{FileLock, inspect};
use holdlock_conformance::{Actor, Scratch, queue, watchdog};

use crate::tools::{holder_pids, look, one_file, stranger, turns};

/// Far more than is needed: this is about growth, not about a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[track_caller]
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let took = start.elapsed();
    println!("{what}: {took:?}");
    assert!(took < PATIENCE, "{what}: {took:?}");
    result
}

#[test]
fn two_thousand_waiters_are_told_in_their_order() {
    let _dog = watchdog::watch(300);
    let scratch = Scratch::in_memory();
    let path = scratch.lock();
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    let mut forks = stranger(&[&path]);
    let pids: Vec<u32> = forks
        .ask("queue 0 2000")
        .split(' ')
        .map(|pid| pid.parse().expect("a pid"))
        .collect();
    assert_eq!(pids.len(), 2000);
    let file = timed("inspect::file with 2000 waiters", || one_file(&path));
    let expected: Vec<(u32, u32)> = pids.into_iter().zip(1..).collect();
    let found = turns(&file);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(holder_pids(&file), [holder.pid()]);
    let snapshot = timed("inspect::host with them", inspect::host);
    let deadlocks = timed("deadlocks of them", || snapshot.expect("looks").deadlocks());
    let of_theirs =
        |ring: &inspect::Deadlock| ring.steps.iter().any(|step| step.place == file.place);
    assert!(!deadlocks.iter().any(of_theirs));
}

#[test]
fn a_long_queue_is_found_while_others_come_and_go() {
    const WAITERS: usize = 200;
    let _dog = watchdog::watch(300);
    let scratch = Scratch::in_memory();
    let path = scratch.lock();
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    let mut forks = stranger(&[&path]);
    forks.ask(format!("queue 0 {WAITERS}"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..40 {
            let other = FileLock::open(scratch.path(&format!("other-{number}"))).expect("opens");
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let guard = other.lock().expect("free");
                    std::thread::sleep(Duration::from_micros(100));
                    drop(guard);
                }
            });
        }
        let looks: Vec<usize> = (0..20)
            .map(|_| {
                let files = look(&path).files;
                files.first().map_or(0, |file| file.waiters.len())
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(looks, [WAITERS; 20]);
    });
}

#[test]
fn ten_thousand_locks_are_all_told() {
    const PROCESSES: usize = 20;
    const EACH: u64 = 500;
    let _dog = watchdog::watch(300);
    let scratch = Scratch::in_memory();
    let path = scratch.lock();
    let mut holders: Vec<Actor> = (0..PROCESSES).map(|_| stranger(&[&path])).collect();
    for (number, holder) in holders.iter_mut().enumerate() {
        let start = 2 * EACH * number as u64;
        holder.must(&format!("many 0 {EACH} {start}"));
    }
    // A table that is read in pieces may miss a lock when others are released meanwhile.
    let mut file = timed("inspect::file with 10 000 locks", || one_file(&path));
    queue::eventually("all of them are told", || {
        file = one_file(&path);
        file.locks.len() == PROCESSES * EACH as usize
    });
    for (number, holder) in holders.iter().enumerate() {
        let start = 2 * EACH * number as u64;
        let lock = file.locks.iter().find(|lock| lock.range.start == start);
        let lock = lock.expect("its first lock");
        assert_eq!(lock.holders.len(), 1);
        assert_eq!(lock.holders[0].process.pid, holder.pid());
    }
    let snapshot = timed("inspect::host with them", inspect::host).expect("looks");
    assert!(snapshot.files.iter().any(|other| other.place == file.place));
    timed("deadlocks of them", || snapshot.deadlocks());
}
