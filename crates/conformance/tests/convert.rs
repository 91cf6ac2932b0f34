//! Downgrade and upgrade: what is atomic and what is not.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use holdlock::{Continuity, Error, Family, FileLock, LockOptions, Mode, Request, Waiting};
use holdlock_conformance::{Actor, Scratch, queue, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

#[test]
fn a_downgrade_lets_readers_in_and_keeps_writers_out() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    let mut reader = Actor::start(ACTOR, &path);
    let mut writer = Actor::start(ACTOR, &path);
    let guard = lock.lock().expect("locked");
    assert!(reader.ask("try-shared").starts_with("WouldBlock"));
    let guard = guard.downgrade().expect("downgraded");
    assert_eq!(guard.mode(), Mode::Shared);
    reader.must("try-shared");
    assert!(writer.ask("try").starts_with("WouldBlock"));
    std::thread::scope(|scope| {
        scope.spawn(|| drop(lock.lock_shared().expect("another thread shares")));
    });
    drop(guard);
    reader.must("release");
    writer.must("try");
}

/// Writers that wait in the kernel's queue never get in during a downgrade.
#[test]
fn no_writer_gets_in_during_a_downgrade() {
    let _dog = watchdog::watch(60);
    for family in [Family::Flock, Family::Ofd] {
        let scratch = Scratch::new();
        let open = || {
            LockOptions::new()
                .family(family)
                .open(scratch.lock())
                .expect("opens")
        };
        let lock = open();
        let written = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let lock = open();
                    while !stop.load(Ordering::Relaxed) {
                        let _guard = lock.lock().expect("locked");
                        written.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let mut changes = 0;
            let mut last = 0;
            let mut rounds = 0;
            // Until the writers have waited often enough for the trial to be meaningful.
            let started = Instant::now();
            while (rounds < 5_000 || changes < 50) && started.elapsed() < Duration::from_secs(20) {
                rounds += 1;
                let guard = lock.lock().expect("locked");
                let before = written.load(Ordering::SeqCst);
                let guard = guard.downgrade().expect("downgraded");
                assert_eq!(before, written.load(Ordering::SeqCst), "{family:?}");
                drop(guard);
                changes += u32::from(before != last);
                last = before;
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
            assert!(changes > 0, "no writer was there in {rounds} rounds");
        });
    }
}

#[test]
fn an_upgrade_without_other_holders_keeps_the_lock() {
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let guard = lock.lock_shared().expect("locked");
    let (guard, continuity) = guard
        .upgrade_not_atomic(Request::exclusive())
        .expect("upgraded");
    assert_eq!(
        (guard.mode(), continuity),
        (Mode::Exclusive, Continuity::Kept)
    );
    let mut other = Actor::start(ACTOR, &scratch.lock());
    assert!(other.ask("try-shared").starts_with("WouldBlock"));
}

#[test]
fn an_upgrade_that_had_to_wait_says_that_the_lock_was_lost() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    let mut reader = Actor::start(ACTOR, &path);
    reader.must("lock-shared");
    std::thread::scope(|scope| {
        let upgrading = scope.spawn(|| {
            let guard = lock.lock_shared().expect("locked");
            let (guard, continuity) = guard
                .upgrade_not_atomic(Request::exclusive())
                .expect("upgraded");
            assert_eq!(guard.mode(), Mode::Exclusive);
            continuity
        });
        queue::wait_for(&path, std::process::id());
        reader.must("release");
        assert_eq!(upgrading.join().expect("no panic"), Continuity::Lost);
    });
}

#[test]
fn an_upgrade_beside_another_thread_is_not_kept_either() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let mine = lock.lock_shared().expect("locked");
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let (leave, left) = mpsc::channel::<()>();
        let lock = &lock;
        scope.spawn(move || {
            let theirs = lock.lock_shared().expect("locked");
            tell.send(()).expect("heard");
            left.recv().expect("told to leave");
            drop(theirs);
        });
        told.recv().expect("they share");
        let mut began = |_| {
            leave.send(()).expect("heard");
            ControlFlow::Continue(())
        };
        let (guard, continuity) = mine
            .upgrade_not_atomic(Request::exclusive().on_wait(&mut began))
            .expect("upgraded");
        assert_eq!(
            (guard.mode(), continuity),
            (Mode::Exclusive, Continuity::Lost)
        );
    });
}

#[test]
fn an_upgrade_that_fails_leaves_no_lock_behind() {
    let _dog = watchdog::watch(60);
    for family in [Family::Flock, Family::Ofd] {
        let scratch = Scratch::new();
        let open = || {
            LockOptions::new()
                .family(family)
                .open(scratch.lock())
                .expect("opens")
        };
        let (lock, reader, writer) = (open(), open(), open());
        let theirs = reader.lock_shared().expect("locked");
        let guard = lock.lock_shared().expect("locked");
        // The other share belongs to this thread, so a wait would be a deadlock; a try is not.
        let error = guard
            .upgrade_not_atomic(Request::exclusive().try_once())
            .expect_err("not free");
        assert!(matches!(error, Error::WouldBlock(_)), "{error}");
        drop(theirs);
        drop(writer.try_lock().expect("nobody has it"));
        drop(lock.try_lock().expect("and the lock is usable"));
    }
}

#[test]
fn an_upgrade_keeps_its_time_limit() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut reader = Actor::start(ACTOR, &scratch.lock());
    reader.must("lock-shared");
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let limit = Request::exclusive().timeout(Duration::from_millis(20));
    let error = lock
        .lock_shared()
        .expect("locked")
        .upgrade_not_atomic(limit)
        .expect_err("held");
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    reader.must("release");
    drop(lock.try_lock().expect("free"));
}

#[test]
fn two_upgrades_at_once_both_succeed() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let kept = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let lock = FileLock::open(scratch.lock()).expect("opens");
                for _ in 0..2000 {
                    let guard = lock.lock_shared().expect("locked");
                    let before = kept.load(Ordering::SeqCst);
                    let (_guard, continuity) = guard
                        .upgrade_not_atomic(Request::exclusive())
                        .expect("upgraded");
                    let after = kept.fetch_add(1, Ordering::SeqCst);
                    // Kept means that nobody was exclusive in between.
                    assert!(continuity == Continuity::Lost || before == after);
                }
            });
        }
    });
}

#[test]
fn a_thread_that_waits_for_an_upgrade_keeps_no_lock_that_is_handed_over() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let shared = lock.lock_shared().expect("free");
    let (waits, is_waiting) = mpsc::channel();
    std::thread::scope(|scope| {
        let lock = &lock;
        scope.spawn(move || {
            let shared = lock.lock_shared().expect("shares");
            let limits = Request::exclusive().timeout(Duration::from_secs(50));
            let upgraded = shared.upgrade_not_atomic(limits.on_wait(|what| {
                if what == Waiting::Began {
                    waits.send(()).expect("the test waits");
                }
                ControlFlow::Continue(())
            }));
            drop(upgraded.expect("the lock is free in the end"));
        });
        is_waiting.recv().expect("it waits");
        let upgraded = shared.upgrade_not_atomic(Request::exclusive());
        let (guard, continuity) = upgraded.expect("it is the only one");
        assert_eq!(continuity, Continuity::Kept);
        let handed = guard.hand_over().expect("handed over");
        queue::wait_for(lock.path(), std::process::id());
        drop(handed);
    });
}
