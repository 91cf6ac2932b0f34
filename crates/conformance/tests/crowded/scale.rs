//! Thousands of waiters and locks: the answers are right and come in reasonable time.

use std::collections::HashSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdlock::FileLock;
use holdlock::inspect::{self, FileId, HostWatch, LockedFile};
use holdlock_conformance::{Actor, Scratch, in_container, queue, skipped, sys, watchdog};

use crate::alone;
use crate::tools::{LOOK, holder_pids, look, one_file, stranger, turns};

/// Processor time, far more than is needed: this is about growth, not about a slow machine.
const MOST: Duration = Duration::from_secs(20);

#[track_caller]
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = sys::process_cpu();
    let result = work();
    let took = sys::process_cpu() - start;
    println!("{what}: {took:?}");
    assert!(took < MOST, "{what}: {took:?}");
    result
}

#[test]
fn two_thousand_waiters_are_shown_in_their_order() {
    let _alone = alone();
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
        |cycle: &inspect::Deadlock| cycle.steps.iter().any(|step| step.file_id == file.file_id);
    assert!(!deadlocks.iter().any(of_theirs));
}

/// Calls `inside` while forty other files are locked and unlocked.
fn while_other_locks_come_and_go(scratch: &Scratch, inside: impl FnOnce()) {
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
        let inside = panic::catch_unwind(AssertUnwindSafe(inside));
        done.store(true, Ordering::Relaxed);
        if let Err(panicked) = inside {
            panic::resume_unwind(panicked);
        }
    });
}

#[test]
fn a_long_queue_is_found_while_other_locks_come_and_go() {
    const WAITERS: usize = 200;
    const LOOKS: usize = 20;
    let _alone = alone();
    let _dog = watchdog::watch(300);
    let scratch = Scratch::in_memory();
    let path = scratch.lock();
    // /proc/locks goes from processor to processor: on the last one, most other locks come first.
    let mut holder = sys::on_the_last_cpu(|| stranger(&[&path]));
    holder.must("flock 0 ex");
    let mut forks = stranger(&[&path]);
    forks.ask(format!("queue 0 {WAITERS}"));
    let file_id = FileId::of(&path).expect("there");
    let length = |files: &[LockedFile]| {
        let found = files.iter().find(|file| file.file_id == file_id);
        found.map_or(0, |file| file.waiters.len())
    };
    while_other_locks_come_and_go(&scratch, || {
        // For one file: always. For the host, in one reading: nearly always.
        let one: Vec<usize> = (0..LOOKS).map(|_| length(&look(&path).files)).collect();
        let all = (0..LOOKS).map(|_| {
            let mut watch = HostWatch::new();
            watch.look_at_all().expect("readable");
            length(&watch.snapshot().files)
        });
        let all: Vec<usize> = all.collect();
        println!("{all:?}");
        assert_eq!(one, [WAITERS; LOOKS]);
        let missed = all.iter().filter(|length| **length != WAITERS).count();
        assert!(missed <= LOOKS / 4, "{all:?}");
    });
}

#[test]
fn all_locks_on_a_file_are_found_while_other_locks_come_and_go() {
    // More than the kernel returns in one piece.
    const LOCKS: usize = 200;
    const LOOKS: usize = 200;
    let _alone = alone();
    let _dog = watchdog::watch(300);
    let scratch = Scratch::in_memory();
    let path = scratch.lock();
    let mut holder = sys::on_the_last_cpu(|| stranger(&[&path]));
    holder.must(&format!("many 0 {LOCKS} 0"));
    while_other_locks_come_and_go(&scratch, || {
        let found = (0..LOOKS).map(|_| one_file(&path).locks.len());
        let found: Vec<usize> = found.collect();
        println!("{found:?}");
        // If a read stands still between two pieces, very many locks may go meanwhile.
        let missed = found.iter().filter(|locks| **locks != LOCKS).count();
        assert!(missed <= LOOKS / 20, "{found:?}");
    });
}

#[test]
fn ten_thousand_locks_are_all_shown() {
    const PROCESSES: usize = 20;
    const EACH: u64 = 500;
    let _alone = alone();
    let _dog = watchdog::watch(300);
    let scratch = Scratch::in_memory();
    let path = scratch.lock();
    let mut holders: Vec<Actor> = (0..PROCESSES).map(|_| stranger(&[&path])).collect();
    for (number, holder) in holders.iter_mut().enumerate() {
        let start = 2 * EACH * number as u64;
        holder.must(&format!("many 0 {EACH} {start}"));
    }
    // A table that is read in pieces may miss a lock or show it twice if other locks are released
    // at the same time, as other tests and programs do.
    let all = PROCESSES * EACH as usize;
    let nearly = all * 99 / 100..=all;
    let mut file = timed("inspect::file with 10 000 locks", || one_file(&path));
    queue::eventually("all of them are told", || {
        file = one_file(&path);
        nearly.contains(&file.locks.len())
    });
    for (number, holder) in holders.iter().enumerate() {
        let start = 2 * EACH * number as u64;
        let its = start..start + 2 * EACH;
        let locks = file.locks.iter();
        let locks = locks.filter(|lock| its.contains(&lock.range.start));
        let holders: HashSet<Vec<u32>> = locks
            .map(|lock| lock.holders.iter().map(|it| it.process.pid).collect())
            .collect();
        assert_eq!(holders, HashSet::from([vec![holder.pid()]]));
    }
    let snapshot = timed("inspect::host with them", inspect::host).expect("looks");
    assert!(
        snapshot
            .files
            .iter()
            .any(|other| other.file_id == file.file_id)
    );
    timed("deadlocks of them", || snapshot.deadlocks());
}

/// The processes whose descriptors `look` reads to answer for a path.
fn looked_at(path: &Path) -> Option<HashSet<u32>> {
    let trace = path.with_extension("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-s", "100", "-e", "trace=openat", "-o"]);
    strace.arg(&trace).arg(LOOK).arg(path);
    if !strace.output().is_ok_and(|output| output.status.success()) {
        skipped("needs strace and the right to trace");
        return None;
    }
    let trace = fs::read_to_string(&trace).expect("a trace");
    let pid = |line: &str| {
        let (pid, _) = line.split_once("\"/proc/")?.1.split_once("/fd\"")?;
        pid.parse().ok()
    };
    Some(trace.lines().filter_map(pid).collect())
}

#[test]
fn a_lock_elsewhere_without_a_named_holder_causes_no_search_of_all_processes() {
    if in_container() {
        return skipped("in a container there is another reason: not all locks are listed");
    }
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::in_memory();
    let (path, other) = (scratch.lock(), scratch.path("other"));
    fs::write(&path, "").expect("written");
    // If the process numbers wrap around, the last process may have a lower one.
    queue::eventually("only those are looked at that were started last", || {
        let idle: Vec<Actor> = (0..20).map(|_| stranger(&[&path])).collect();
        let mut holder = stranger(&[&other]);
        holder.must("ofd 0 ex");
        let Some(seen) = looked_at(&path) else {
            return true;
        };
        let seen = idle.iter().filter(|it| seen.contains(&it.pid())).count();
        println!("{seen} of {} idle ones", idle.len());
        seen == 0
    });
}
