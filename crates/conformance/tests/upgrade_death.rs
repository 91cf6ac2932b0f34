//! Readers that die while an upgrade waits for them.

use std::fs::File;
use std::time::{Duration, Instant};

use holdlock::{Error, LockOptions, Request};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

/// What each reader shares (`bytes.rs`).
const READERS: (u64, u64) = ((1 << 62) + (1 << 22), 1);

#[test]
fn an_upgrade_goes_on_when_the_last_reader_is_killed() {
    let _dog = watchdog::watch(120);
    // Not so in the rare case that the dying reader loses its processor between its two locks.
    let upgraded = (0..10).any(|_| match upgrade_beside_a_killed_reader() {
        Err(Error::NotAtomic(_)) => false,
        ended => ended.map(|()| true).expect("upgraded"),
    });
    assert!(upgraded);
}

fn upgrade_beside_a_killed_reader() -> Result<(), Error> {
    let scratch = Scratch::new();
    let lock = LockOptions::new().upgradeable(true).open(scratch.lock());
    let lock = lock.expect("opens");
    let program = env!("CARGO_BIN_EXE_holdlock-actor");
    let mut reader = Actor::start_with(program, &scratch.lock(), &["upgradeable"]);
    reader.must("lock-shared");
    std::thread::scope(|scope| {
        let upgraded = scope.spawn(|| {
            let mut guard = lock.lock_upgradeable().expect("shared");
            guard.upgrade(Request::exclusive())
        });
        queue::eventually("the upgrade waits", || queue::length(&scratch.lock()) > 0);
        reader.kill();
        upgraded.join().expect("no panic")
    })
}

/// The kernel frees the byte of a reader that dies before its share of flock(2).
#[test]
fn an_upgrade_gives_a_dying_reader_a_moment() {
    const ROUNDS: u32 = 100;
    // In a round that takes longer, this thread has lost its processor between the two.
    const AT_MOST: Duration = Duration::from_micros(120);
    let _dog = watchdog::watch(300);
    let scratch = Scratch::in_memory();
    let lock = LockOptions::new().upgradeable(true).open(scratch.lock());
    let lock = lock.expect("opens");
    let reader = File::options().read(true).write(true).open(scratch.lock());
    let reader = reader.expect("opens");
    let byte = |kind| sys::fcntl_lock(&reader, libc::F_OFD_SETLK, kind, READERS);
    let (mut rounds, mut early) = (0, 0);
    for _ in 0..10 * ROUNDS {
        if rounds == ROUNDS {
            break;
        }
        byte(libc::F_RDLCK).expect("no upgrade");
        sys::flock(&reader, libc::LOCK_SH).expect("no writer");
        std::thread::scope(|scope| {
            let upgrade = scope.spawn(|| {
                let mut guard = lock.lock_upgradeable().expect("shared");
                guard.upgrade(Request::exclusive())
            });
            queue::eventually("the upgrade waits", || queue::length(&scratch.lock()) > 0);
            let dies = Instant::now();
            byte(libc::F_UNLCK).expect("unlocked");
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(60) {
                std::hint::spin_loop();
            }
            sys::flock(&reader, libc::LOCK_UN).expect("unlocked");
            let counts = dies.elapsed() <= AT_MOST;
            rounds += u32::from(counts);
            match upgrade.join().expect("no panic") {
                Ok(()) => {}
                Err(Error::NotAtomic(_)) => early += u32::from(counts),
                Err(error) => panic!("{error}"),
            }
        });
    }
    assert_eq!(rounds, ROUNDS, "this machine is too slow");
    assert!(early <= ROUNDS / 10, "{early} of {ROUNDS}");
}
