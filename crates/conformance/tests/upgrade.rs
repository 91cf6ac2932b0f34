//! The right to upgrade: one of many readers has it, and its upgrade is atomic.

use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use holdlock::{
    CancelToken, Continuity, Error, Family, FileLock, LockOptions, Mode, Request, Waiting, inspect,
};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

fn options() -> LockOptions {
    LockOptions::new().upgradeable(true)
}

fn open(scratch: &Scratch) -> FileLock {
    options().open(scratch.lock()).expect("opens")
}

fn actor(scratch: &Scratch) -> Actor {
    Actor::start_with(ACTOR, &scratch.lock(), &["upgradeable"])
}

/// A process that knows nothing of upgrades.
fn plain(scratch: &Scratch) -> Actor {
    Actor::start(ACTOR, &scratch.lock())
}

fn forever() -> Request {
    Request::exclusive()
}

/// Waits until a request for bytes of this lock sleeps.
fn wait_for_request(path: &Path) {
    queue::eventually("a request sleeps", || queue::length(path) > 0);
}

#[test]
fn readers_share_with_one_that_may_upgrade() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let (mut reader, mut other) = (actor(&scratch), actor(&scratch));
    reader.must("lock-shared");
    let guard = lock.lock_upgradeable().expect("shared");
    assert_eq!(guard.mode(), Mode::Shared);
    other.must("lock-shared");
    other.must("release");
    for refused in ["try-upgradeable", "try"] {
        assert!(other.ask(refused).starts_with("WouldBlock"), "{refused}");
    }
    assert!(plain(&scratch).ask("try").starts_with("WouldBlock"));
    guard.release().expect("released");
    other.must("try-upgradeable");
    assert!(matches!(
        lock.try_lock_upgradeable(),
        Err(Error::WouldBlock(_))
    ));
    other.kill();
    drop(lock.lock_upgradeable().expect("the holder has died"));
}

#[test]
fn an_upgrade_waits_for_the_readers_alone_and_passes_writers_that_wait() {
    let _dog = watchdog::watch(60);
    for fair in [false, true] {
        let scratch = Scratch::new();
        let lock = options().fair(fair).open(scratch.lock()).expect("opens");
        let mut names = vec!["upgradeable"];
        names.extend(fair.then_some("fair"));
        let mut reader = Actor::start_with(ACTOR, &scratch.lock(), &names);
        let mut writers = [
            Actor::start_with(ACTOR, &scratch.lock(), &names),
            plain(&scratch),
        ];
        reader.must("lock-shared");
        let mut guard = lock.lock_upgradeable().expect("shared");
        for writer in &mut writers {
            writer.must_block("lock", &scratch.lock());
        }
        let waiting = queue::length(&scratch.lock());
        let error = guard
            .upgrade(forever().try_once())
            .expect_err("a reader is there");
        assert!(matches!(error, Error::WouldBlock(_)), "{error}");
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let (reader, path) = (&mut reader, scratch.lock());
            scope.spawn(move || {
                told.recv().expect("the upgrade begins");
                queue::eventually("the upgrade sleeps", || queue::length(&path) > waiting);
                reader.must("release");
            });
            let request = forever().on_wait(|_| {
                tell.send(()).expect("heard");
                ControlFlow::Continue(())
            });
            guard.upgrade(request).expect("upgraded");
        });
        assert_eq!(guard.mode(), Mode::Exclusive);
        // Both still wait. They get the lock one after the other.
        assert!(reader.ask("try-shared").starts_with("WouldBlock"));
        assert!(plain(&scratch).ask("try-shared").starts_with("WouldBlock"));
        assert_eq!(queue::length(&scratch.lock()), waiting);
        drop(guard);
        for writer in &mut writers {
            writer.tell("release");
        }
        let answers = writers.map(|mut writer| [writer.answer(), writer.answer()]);
        assert_eq!(answers.concat(), ["ok"; 4]);
    }
}

#[test]
fn readers_that_come_during_an_upgrade_wait_for_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = options().fair(true).open(scratch.lock()).expect("opens");
    let with = ["upgradeable", "fair"];
    let mut reader = Actor::start_with(ACTOR, &scratch.lock(), &with);
    let mut late = Actor::start_with(ACTOR, &scratch.lock(), &with);
    reader.must("lock-shared");
    let mut guard = lock.lock_upgradeable().expect("shared");
    let path = scratch.lock();
    let mut asked = false;
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let (reader, late, path) = (&mut reader, &mut late, &path);
        scope.spawn(move || {
            told.recv().expect("the upgrade begins");
            wait_for_request(path);
            late.tell("lock-shared");
            queue::eventually("the late reader sleeps", || queue::length(path) > 1);
            reader.must("release");
        });
        let request = forever().on_wait(|event| {
            if event == Waiting::Began {
                tell.send(()).expect("heard");
                asked = true;
            }
            ControlFlow::Continue(())
        });
        guard.upgrade(request).expect("upgraded");
    });
    assert!(asked);
    assert_eq!(guard.mode(), Mode::Exclusive);
    // It comes in with the downgrade, which keeps the right.
    guard.downgrade().expect("downgraded");
    assert_eq!(late.answer(), "ok");
    assert!(reader.ask("try-upgradeable").starts_with("WouldBlock"));
    assert!(reader.ask("try").starts_with("WouldBlock"));
    late.must("release");
    guard.upgrade(forever().try_once()).expect("upgraded again");
    drop(guard);
    reader.must("try");
}

#[test]
fn an_upgrade_that_ends_early_still_shares_the_lock() {
    let _dog = watchdog::watch(60);
    for signals in [true, false] {
        let scratch = Scratch::new();
        let lock = options()
            .signals(signals)
            .open(scratch.lock())
            .expect("opens");
        let (mut reader, mut writer) = (actor(&scratch), plain(&scratch));
        reader.must("lock-shared");
        let mut guard = lock.lock_upgradeable().expect("shared");
        let still_shares = |writer: &mut Actor, other: &mut Actor| {
            assert!(writer.ask("try").starts_with("WouldBlock"));
            other.must("try-shared");
            other.must("release");
            assert!(other.ask("try-upgradeable").starts_with("WouldBlock"));
        };
        let mut other = actor(&scratch);
        let began = Instant::now();
        let limit = Duration::from_millis(50);
        let error = guard
            .upgrade(forever().timeout(limit))
            .expect_err("a reader is there");
        assert!(matches!(error, Error::TimedOut(_)), "{error}");
        assert!(began.elapsed() >= limit);
        let holders = error.conflict().expect("a conflict").holders();
        assert!(
            holders.iter().any(|holder| holder.pid == reader.pid()),
            "{error}"
        );
        still_shares(&mut writer, &mut other);
        let token = CancelToken::new();
        std::thread::scope(|scope| {
            let path = scratch.lock();
            let token = &token;
            scope.spawn(move || {
                if signals {
                    wait_for_request(&path);
                }
                token.cancel();
            });
            let error = guard
                .upgrade(forever().cancel(token))
                .expect_err("cancelled");
            assert!(matches!(error, Error::Cancelled { .. }), "{error}");
        });
        still_shares(&mut writer, &mut other);
        assert_eq!(guard.mode(), Mode::Shared);
        reader.must("release");
        guard.upgrade(forever()).expect("upgraded");
        drop(guard);
        writer.must("try");
    }
}

/// What a process reads under the lock stays as it is until it writes. Readers, writers with and
/// without an upgrade, and writers that know nothing of upgrades.
#[test]
fn what_was_read_is_still_there_after_the_upgrade() {
    let _dog = watchdog::watch(120);
    for fair in [false, true] {
        let scratch = Scratch::new();
        let path = scratch.lock();
        let data = scratch.path("data");
        std::fs::write(&data, 0_u64.to_ne_bytes()).expect("written");
        let children: Vec<sys::Child> = (0..6)
            .map(|kind| {
                sys::fork(|| {
                    let data = std::fs::File::options().read(true).write(true).open(&data);
                    let data = data.expect("opens");
                    let lock = match kind {
                        0 => LockOptions::new().open(&path),
                        _ => options().fair(fair).open(&path),
                    };
                    let lock = lock.expect("opens");
                    i32::from(!(0..400).all(|_| one_step(kind, &lock, &data)))
                })
            })
            .collect();
        for child in children {
            assert_eq!(child.wait(), 0, "a change was lost (fair: {fair})");
        }
        let data = std::fs::read(&data).expect("read");
        let written = u64::from_ne_bytes(data.try_into().expect("a number"));
        // Two writers, and two that upgrade half of the time.
        assert_eq!(written, 400 + 400 + 200 + 200);
    }
}

fn one_step(kind: i32, lock: &FileLock, data: &std::fs::File) -> bool {
    static STEP: AtomicU64 = AtomicU64::new(0);
    let step = STEP.fetch_add(1, Ordering::Relaxed);
    let read = || {
        let mut bytes = [0; 8];
        data.read_exact_at(&mut bytes, 0).expect("read");
        u64::from_ne_bytes(bytes)
    };
    let write = |number: u64| {
        data.write_all_at(&number.to_ne_bytes(), 0)
            .expect("written")
    };
    match kind {
        0 | 1 => {
            let _guard = lock.lock().expect("locked");
            write(read() + 1);
        }
        2 | 3 => {
            let mut guard = lock.lock_upgradeable().expect("shared");
            let before = read();
            if step.is_multiple_of(2) {
                guard.upgrade(Request::exclusive()).expect("upgraded");
                if read() != before {
                    return false;
                }
                write(before + 1);
                guard.downgrade().expect("downgraded");
                return read() == before + 1;
            }
        }
        _ => {
            let _guard = lock.lock_shared().expect("shared");
            let before = read();
            std::thread::yield_now();
            return read() == before;
        }
    }
    true
}

#[test]
fn threads_upgrade_as_processes_do() {
    let _dog = watchdog::watch(20);
    for fair in [false, true] {
        let scratch = Scratch::new();
        let lock = options().fair(fair).open(scratch.lock()).expect("opens");
        let (value, inside) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let (lock, value, inside) = (&lock, &value, &inside);
                let alone = move || {
                    assert!(!inside.swap(true, Ordering::SeqCst));
                    value.fetch_add(1, Ordering::SeqCst);
                    inside.store(false, Ordering::SeqCst);
                };
                scope.spawn(move || {
                    for _ in 0..300 {
                        match thread {
                            0 => {
                                let _guard = lock.lock().expect("locked");
                                alone();
                            }
                            1 | 2 => {
                                let mut guard = lock.lock_upgradeable().expect("shared");
                                let before = value.load(Ordering::SeqCst);
                                guard.upgrade(forever()).expect("upgraded");
                                assert_eq!(value.load(Ordering::SeqCst), before);
                                alone();
                            }
                            _ => {
                                let _guard = lock.lock_shared().expect("shared");
                                let before = value.load(Ordering::SeqCst);
                                std::thread::yield_now();
                                assert!(!inside.load(Ordering::SeqCst));
                                assert_eq!(value.load(Ordering::SeqCst), before);
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(value.into_inner(), 900);
    }
}

#[test]
fn a_program_that_knows_nothing_of_upgrades_and_shares_the_lock_makes_one_fail() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut stranger = plain(&scratch);
    stranger.must("lock-shared");
    let mut guard = lock.lock_upgradeable().expect("shared");
    let error = guard
        .upgrade(forever())
        .expect_err("it would not be atomic");
    let Error::NotAtomic(conflict) = &error else {
        panic!("{error}");
    };
    assert_eq!(conflict.holders()[0].pid, stranger.pid(), "{error}");
    assert!(!guard.is_current().expect("looked at"));
    assert!(guard.upgrade(forever()).is_err() && guard.downgrade().is_err());
    // The lock is lost, and the right with it.
    let mut other = actor(&scratch);
    other.must("try-upgradeable");
    other.must("release");
    stranger.must("release");
    other.must("try");
    other.must("release");
    drop(guard);
    let mut guard = lock.try_lock_upgradeable().expect("free");
    guard.upgrade(forever()).expect("upgraded");
}

#[test]
fn a_thread_that_would_wait_for_its_own_share_gets_an_error() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let shared = lock.lock_shared().expect("shared");
    let mut guard = lock.lock_upgradeable().expect("shared");
    let error = guard.upgrade(forever()).expect_err("this thread reads");
    assert!(matches!(error, Error::Deadlock { .. }), "{error}");
    drop(shared);
    guard.upgrade(forever()).expect("upgraded");
    for error in [
        lock.lock_shared().map(drop).expect_err("exclusive"),
        lock.lock().map(drop).expect_err("exclusive"),
        lock.lock_upgradeable()
            .map(drop)
            .expect_err("one at a time"),
    ] {
        assert!(matches!(error, Error::Deadlock { .. }), "{error}");
    }
    guard.downgrade().expect("downgraded");
    drop(lock.lock_shared().expect("shared"));
    drop(guard);
    // Another holder has the right, and its upgrade would wait for this thread.
    let mut other = actor(&scratch);
    other.must("lock-upgradeable");
    let _shared = lock.lock_shared().expect("shared");
    let error = lock.lock_upgradeable().map(drop).expect_err("a deadlock");
    assert!(matches!(error, Error::Deadlock { .. }), "{error}");
}

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
    assert_eq!(shown(Mode::Shared), 2);
    let holders = lock.holders().expect("looked at");
    assert_eq!(holders.len(), 2);
    reader.must("release");
    guard.upgrade(forever()).expect("upgraded");
    assert_eq!(shown(Mode::Exclusive), 1);
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

#[test]
fn a_descriptor_that_a_stranger_closed_is_noticed() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut guard = lock.lock_upgradeable().expect("shared");
    sys::close(guard.file().as_raw_fd());
    assert!(!guard.is_current().expect("looked at"));
    let error = guard.upgrade(forever()).expect_err("the lock is lost");
    assert!(matches!(error, Error::System { .. }), "{error}");
    assert!(guard.release().is_ok(), "nothing is left to release");
    // A child that another test forks has a copy of the descriptor for a moment.
    let limit = Duration::from_secs(30);
    let guard = lock.try_lock_upgradeable_for(limit);
    let mut guard = guard.expect("opened anew");
    guard.upgrade(forever()).expect("upgraded");
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

#[test]
fn a_child_of_fork_has_no_right() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut guard = lock.lock_upgradeable().expect("shared");
    let child = sys::fork(|| {
        let refused = guard.upgrade(forever()).is_err();
        let busy = matches!(lock.try_lock_upgradeable(), Err(Error::WouldBlock(_)));
        drop(guard);
        i32::from(!(refused && busy))
    });
    assert_eq!(child.wait(), 0);
    assert!(
        actor(&scratch)
            .ask("try-upgradeable")
            .starts_with("WouldBlock")
    );
}

#[test]
fn a_replaced_file_is_noticed_during_the_wait_for_the_right() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut other = actor(&scratch);
    other.must("lock-upgradeable");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let guard = lock.lock_upgradeable().expect("acquired");
            assert!(guard.is_current().expect("looked at"));
            assert!(
                actor(&scratch)
                    .ask("try-upgradeable")
                    .starts_with("WouldBlock")
            );
        });
        wait_for_request(&scratch.lock());
        std::fs::rename(scratch.lock(), scratch.path("old")).expect("renamed");
        std::fs::write(scratch.lock(), "").expect("made anew");
        other.must("release");
        waiting.join().expect("no panic");
    });
}

#[test]
fn a_lock_that_was_not_opened_for_it_says_so() {
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let error = lock
        .try_lock_upgradeable()
        .map(drop)
        .expect_err("not upgradeable");
    assert!(
        error.to_string().contains("LockOptions::upgradeable"),
        "{error}"
    );
    let error = options().family(Family::Ofd).open(scratch.lock());
    let error = error.map(drop).expect_err("another family");
    assert!(error.to_string().contains("upgradeable"), "{error}");
}
