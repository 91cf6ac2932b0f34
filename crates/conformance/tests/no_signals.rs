//! The same promises without signals: every real-time signal of this test program has a handler of
//! other code.

use std::ops::ControlFlow;
use std::sync::{Once, mpsc};
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, FileLock, LockOptions, Request, Waiting};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

fn take_all_signals() {
    static TAKEN: Once = Once::new();
    TAKEN.call_once(|| {
        for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
            sys::count_signals(signal, libc::SA_RESTART);
        }
    });
    assert_eq!(holdlock::wait_signal(), None);
}

#[test]
fn a_deadline_is_kept_and_the_late_thread_gives_the_lock_back() {
    take_all_signals();
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    let lock = FileLock::open(&path).expect("opens");
    let timeout = Duration::from_millis(50);
    let started = Instant::now();
    let error = lock.try_lock_for(timeout).expect_err("held");
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    assert!((timeout..Duration::from_secs(10)).contains(&started.elapsed()));
    // The thread still queues for us; it must not keep the lock.
    queue::wait_for(&path, std::process::id());
    holder.must("release");
    let mut other = Actor::holding(ACTOR, &path);
    assert!(matches!(lock.try_lock(), Err(Error::WouldBlock(_))));
    other.must("release");
    drop(lock.lock().expect("free"));
}

#[test]
fn a_lock_that_becomes_free_in_time_is_ours() {
    take_all_signals();
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    let lock = FileLock::open(&path).expect("opens");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let guard = lock.try_lock_for(Duration::from_secs(60)).expect("locked");
            let mut other = Actor::start(ACTOR, &path);
            assert!(other.ask("try").starts_with("WouldBlock"));
            guard.release().expect("released");
            other.must("try");
        });
        queue::wait_for(&path, std::process::id());
        holder.must("release");
        waiter.join().expect("no panic");
    });
}

#[test]
fn a_cancelled_wait_ends() {
    take_all_signals();
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let _holder = Actor::holding(ACTOR, &path);
    let lock = FileLock::open(&path).expect("opens");
    let token = CancelToken::new();
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut began = |_| {
                let _ = tell.send(());
                ControlFlow::Continue(())
            };
            let request = Request::exclusive().cancel(&token).on_wait(&mut began);
            lock.acquire(request).map(drop)
        });
        told.recv().expect("the wait began");
        token.cancel();
        let ended = waiter.join().expect("no panic");
        assert!(matches!(ended, Err(Error::Cancelled { .. })));
    });
}

#[test]
fn signals_of_the_host_are_reported_where_a_request_asks_again_and_again() {
    take_all_signals();
    let _dog = watchdog::watch(30);
    sys::count_signals(libc::SIGUSR1, 0);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let fair = |path| Actor::start_with(ACTOR, path, &["fair"]);
    let (mut holder, mut first) = (fair(&path), fair(&path));
    holder.must("lock");
    first.must_block("lock", &path);
    // The place at the head is taken, and nothing could end a wait for it in the queue.
    let options = LockOptions::new().fair(true);
    let lock = options.open(&path).expect("opens");
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let mut interrupted = |what| match what {
                Waiting::Interrupted => ControlFlow::Break(()),
                _ => {
                    tell.send(sys::thread_id()).expect("heard");
                    ControlFlow::Continue(())
                }
            };
            let request = Request::exclusive()
                .timeout(Duration::from_secs(60))
                .on_wait(&mut interrupted);
            lock.acquire(request).map(drop)
        });
        let thread = told.recv().expect("the wait began");
        queue::eventually("the callback was called", || {
            sys::kill_thread(thread, libc::SIGUSR1);
            waiter.is_finished()
        });
        let ended = waiter.join().expect("no panic");
        assert!(matches!(ended, Err(Error::Cancelled { .. })));
    });
}
