//! One reader at a time may upgrade, and what it has read stays as it is until it writes.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use holdlock::{Error, FileLock, LockOptions, Mode, Request};
use holdlock_conformance::{Scratch, sys, watchdog};

use crate::actors::{actor, forever, open, options, plain};

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

/// The byte by which an upgrade keeps readers out is free before the next holder has the lock.
#[test]
fn a_holder_can_downgrade_right_after_the_upgrade_of_another_process() {
    let _dog = watchdog::watch(60);
    for fair in [false, true] {
        let scratch = Scratch::new();
        let path = scratch.lock();
        let open = || options().fair(fair).open(&path).expect("opens");
        let upgrading = sys::fork(|| {
            let lock = open();
            for _ in 0..400 {
                let mut guard = lock.lock_upgradeable().expect("shared");
                guard.upgrade(Request::exclusive()).expect("upgraded");
            }
            0
        });
        let lock = open();
        for _ in 0..400 {
            let guard = lock.lock().expect("locked");
            drop(guard.downgrade().expect("downgraded"));
        }
        assert_eq!(upgrading.wait(), 0);
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
    let _dog = watchdog::watch(60);
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
