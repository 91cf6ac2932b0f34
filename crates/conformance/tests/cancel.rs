//! Cancellation is prompt, and never leaves or loses a lock.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, FileLock, Request};
use holdlock_conformance::{Actor, Scratch, queue, skipped, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

#[test]
fn a_token_ends_all_waits_it_was_given_to_and_no_others() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    let token = CancelToken::new();
    let other = CancelToken::new();
    let cancelled = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        for number in 0..20 {
            let (path, token, other) = (&path, &token, &other);
            let cancelled = &cancelled;
            let tell = tell.clone();
            scope.spawn(move || {
                let lock = FileLock::open(path).expect("opens");
                let token = if number == 0 { other } else { token };
                let mut began = |_| {
                    tell.send(()).expect("heard");
                    std::ops::ControlFlow::Continue(())
                };
                let request = Request::exclusive().cancel(token).on_wait(&mut began);
                match lock.acquire(request) {
                    Ok(_) => assert_eq!(number, 0),
                    Err(Error::Cancelled { .. }) => {
                        assert_ne!(number, 0);
                        cancelled.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => panic!("{error}"),
                }
            });
        }
        (0..20).for_each(|_| told.recv().expect("a wait began"));
        token.cancel();
        queue::eventually("nineteen ended", || cancelled.load(Ordering::SeqCst) == 19);
        holder.must("release");
    });
}

/// The signal that ends the wait wakes a thread that the cancelling thread cannot preempt. If the
/// waiter did not sleep until the cancelling thread had done its part, it would use up all the time
/// that the kernel grants such threads: most of a second for each wait.
#[test]
fn a_real_time_thread_does_not_hinder_the_thread_that_cancels_its_wait() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    sys::on_the_last_cpu(|| {
        let mut least = Duration::MAX;
        for _ in 0..5 {
            let token = CancelToken::new();
            let took = std::thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    if !sys::become_real_time() {
                        return None;
                    }
                    let before = sys::thread_cpu();
                    let waited = lock.acquire(Request::exclusive().cancel(&token)).map(drop);
                    assert!(matches!(waited, Err(Error::Cancelled { .. })), "{waited:?}");
                    Some(sys::thread_cpu() - before)
                });
                queue::eventually("the thread waits", || {
                    waiter.is_finished() || queue::length(&scratch.lock()) == 1
                });
                token.cancel();
                waiter.join().expect("no panic")
            });
            let Some(took) = took else {
                return skipped("needs the right to real-time threads");
            };
            least = least.min(took);
        }
        assert!(least < Duration::from_millis(200), "{least:?}");
    });
}

#[test]
fn a_token_that_is_cancelled_already_ends_a_wait_at_once_but_spares_a_free_lock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut holder = Actor::start(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let token = CancelToken::new();
    token.cancel();
    assert!(token.is_cancelled());
    drop(
        lock.acquire(Request::exclusive().cancel(&token))
            .expect("free"),
    );
    holder.must("lock");
    let ended = lock.acquire(Request::exclusive().cancel(&token));
    assert!(matches!(ended, Err(Error::Cancelled { .. })));
}

/// A busy machine does not reach the last round of a race.
const AT_MOST: Duration = Duration::from_secs(40);

/// Ten thousand times a holder releases while the waiter is cancelled, and more often until each
/// came first at least once. Whichever comes first, the lock is free afterwards, or the waiter
/// holds it and knows.
fn race(holder: &FileLock, waiter: &FileLock, referee: &FileLock) {
    const ROUNDS: u32 = 10_000;
    let start = Barrier::new(3);
    let end = Barrier::new(3);
    let over = AtomicBool::new(false);
    let mut rounds = 0;
    let token = Mutex::new(CancelToken::new());
    let (won, lost) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                start.wait();
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let token = token.lock().expect("a token").clone();
                match waiter.acquire(Request::exclusive().cancel(&token)) {
                    Ok(guard) => {
                        assert!(referee.try_lock().is_err(), "two have the lock");
                        drop(guard);
                        won.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(Error::Cancelled { .. }) => {
                        lost.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => panic!("{error}"),
                }
                end.wait();
            }
        });
        scope.spawn(|| {
            loop {
                start.wait();
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let token = token.lock().expect("a token").clone();
                linger();
                token.cancel();
                end.wait();
            }
        });
        let began = Instant::now();
        let is_missing = |outcome: &AtomicU32| outcome.load(Ordering::SeqCst) == 0;
        while (rounds < ROUNDS && began.elapsed() < AT_MOST)
            || is_missing(&won)
            || is_missing(&lost)
        {
            rounds += 1;
            *token.lock().expect("a token") = CancelToken::new();
            let guard = holder.lock().expect("locked");
            start.wait();
            linger();
            drop(guard);
            end.wait();
            let free = referee.try_lock();
            assert!(free.is_ok(), "round {rounds}: {}", free.expect_err("held"));
        }
        over.store(true, Ordering::SeqCst);
        start.wait();
    });
    let (won, lost) = (won.into_inner(), lost.into_inner());
    println!("{won} acquired, {lost} cancelled");
    assert_eq!(won + lost, rounds);
}

/// For as long as a waiter needs to get to sleep, or less.
fn linger() {
    let began = Instant::now();
    let time = Duration::from_micros(fastrand::u64(..200));
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn cancellations_that_race_releases_never_lose_or_double_a_lock() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let open = || FileLock::open(scratch.lock()).expect("opens");
    race(&open(), &open(), &open());
}

#[test]
fn cancellations_that_race_releases_between_threads_never_lose_or_double_a_lock() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let open = || FileLock::open(scratch.lock()).expect("opens");
    let common = open();
    race(&common, &common, &open());
}

#[test]
fn timeouts_that_race_releases_never_lose_or_double_a_lock() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let open = || FileLock::open(scratch.lock()).expect("opens");
    let (holder, referee) = (open(), open());
    let (own, common) = (open(), &holder);
    let step = Barrier::new(2);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u32.. {
                step.wait();
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let waiter = if round % 2 == 0 { &own } else { common };
                let timeout = Duration::from_micros(fastrand::u64(1..200));
                match waiter.try_lock_for(timeout) {
                    Ok(_guard) => assert!(referee.try_lock().is_err(), "two have the lock"),
                    Err(error) => assert!(error.is_conflict(), "{error}"),
                }
                step.wait();
            }
        });
        let began = Instant::now();
        let mut rounds = 0;
        while rounds < 4000 && began.elapsed() < AT_MOST {
            rounds += 1;
            let guard = holder.lock().expect("locked");
            step.wait();
            std::thread::sleep(Duration::from_micros(fastrand::u64(1..200)));
            drop(guard);
            step.wait();
            drop(referee.try_lock().expect("nobody has it"));
        }
        over.store(true, Ordering::SeqCst);
        step.wait();
    });
}

#[test]
fn a_descriptor_is_written_to_only_where_that_neither_blocks_nor_kills() {
    let _dog = watchdog::watch(60);
    // A full pipe.
    let (reader, mut full) = std::io::pipe().expect("a pipe");
    let flags = sys::set_nonblocking(&full, true);
    while full.write(&[0; 4096]).is_ok() {}
    sys::set_nonblocking(&full, flags);
    let token = CancelToken::new();
    let _to_full = token.write_to(full.into());
    // A pipe without a reader.
    let (gone, alone) = std::io::pipe().expect("a pipe");
    drop(gone);
    let _to_alone = token.write_to(alone.into());
    // One that has room, and another waiter behind them.
    let (mut ready, writer) = std::io::pipe().expect("a pipe");
    let _to_ready = token.write_to(writer.into());
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    std::thread::scope(|scope| {
        let request = Request::exclusive().cancel(&token);
        let waiter = scope.spawn(|| lock.acquire(request).map(drop));
        queue::wait_for(&scratch.lock(), std::process::id());
        sys::with_default_sigpipe(|| token.cancel());
        let ended = waiter.join().expect("no panic");
        assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
    });
    let mut written = [0; 8];
    ready.read_exact(&mut written).expect("written");
    assert_eq!(u64::from_ne_bytes(written), 1);
    drop(reader);
}

#[test]
fn a_forgotten_notice_writes_to_no_other_file() {
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let number = writer.as_raw_fd();
    let token = CancelToken::new();
    std::mem::forget(token.write_to(writer.into()));
    let scratch = Scratch::new();
    let theirs = std::fs::File::create(scratch.path("theirs")).expect("created");
    assert_ne!(theirs.as_raw_fd(), number);
    token.cancel();
    assert_eq!(theirs.metadata().expect("open").len(), 0);
}
