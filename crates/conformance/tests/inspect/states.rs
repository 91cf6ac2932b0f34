//! Holders that are stopped, dead, or that end before they are examined.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdlock::inspect::{self, Process, State};
use holdlock::{Error, FileLock};
use holdlock_conformance::{Scratch, queue, sys, watchdog};

use crate::tools::{look, one_file, one_holder, stranger};

#[test]
fn a_stopped_holder_is_shown_as_stopped() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    sys::kill(holder.pid(), libc::SIGSTOP);
    queue::eventually("it is stopped", || {
        one_holder(&one_file(&path)).process.state == Some(State::Stopped)
    });
    let error = FileLock::open(&path)
        .expect("opens")
        .try_lock()
        .expect_err("held");
    assert!(error.to_string().contains(", stopped"), "{error}");
    sys::kill(holder.pid(), libc::SIGCONT);
    queue::eventually("it goes on", || {
        one_holder(&one_file(&path)).process.state != Some(State::Stopped)
    });
}

#[test]
fn a_zombie_holds_nothing() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut parent = stranger(&[&path]);
    let zombie: u32 = parent.ask("zombie 0").parse().expect("a pid");
    queue::eventually("its child has ended", || {
        Process::of(zombie).is_some_and(|process| process.state == Some(State::Zombie))
    });
    assert_eq!(look(&path).files, []);
    // Its lock is free for others.
    parent.must("flock 0 ex");
    assert_eq!(one_holder(&one_file(&path)).process.pid, parent.pid());
}

#[test]
fn a_process_whose_first_thread_has_ended_is_still_a_holder() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    holder.must("leave");
    queue::eventually("its first thread has ended", || {
        Process::of(holder.pid()).is_some_and(|process| process.state == Some(State::Zombie))
    });
    let file = one_file(&path);
    let found = one_holder(&file);
    assert_eq!(found.process.pid, holder.pid());
    assert!(found.descriptor.is_some());
    assert_eq!(file.path.as_deref(), Some(&*path));

    std::fs::remove_file(&path).expect("removed");
    let refused = FileLock::open(&path).and_then(|lock| lock.try_lock().map(drop));
    let error = refused.expect_err("it holds the lock on the removed file");
    assert!(matches!(error, Error::RemovedWhileHeld(_)), "{error}");
    assert_eq!(one_holder(&one_file(&path)).process.pid, holder.pid());
}

/// Takes the lock and ends, again and again.
fn come_and_go(path: &Path, end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        let path = path.to_owned();
        let child = sys::fork(move || {
            let mut options = std::fs::File::options();
            let file = options.write(true).create(true).truncate(false).open(path);
            let taken = file.and_then(|file| {
                sys::flock(&file, libc::LOCK_EX)?;
                // Long enough to be seen sometimes.
                sys::sleep(Duration::from_millis(1));
                Ok(())
            });
            i32::from(taken.is_err())
        });
        assert_eq!(child.wait(), 0);
    }
}

#[test]
fn processes_that_vanish_during_the_search_cause_no_error() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let paths = ["one", "two"].map(|name| scratch.path(name));
    let mut steady = stranger(&[&scratch.path("three")]);
    steady.must("ofd 0 ex");
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for path in paths.iter().cycle().take(4) {
            scope.spawn(|| come_and_go(path, &end));
        }
        let (mut seen, mut rounds) = (0, 0);
        let began = Instant::now();
        // A busy machine does not get that far.
        let enough = |rounds| rounds >= 150 || began.elapsed() > Duration::from_secs(20);
        while !enough(rounds) || seen == 0 {
            rounds += 1;
            let snapshot = inspect::host().expect("no error");
            snapshot.deadlocks();
            for path in &paths {
                let files = inspect::file(path).expect("no error").files;
                seen += files
                    .iter()
                    .filter(|file| !file.holders().is_empty())
                    .count();
            }
        }
        end.store(true, Ordering::Relaxed);
    });
    assert_eq!(
        one_holder(&one_file(&scratch.path("three"))).process.pid,
        steady.pid()
    );
}
