//! Waits: bounded, without polling, in order.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use holdlock::{Error, FileLock, LockOptions, Request, Waiting, inspect};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

#[test]
fn a_deadline_is_kept() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let timeout = Duration::from_millis(20);
    let late = |wait: &dyn Fn()| {
        let started = Instant::now();
        wait();
        let late = started.elapsed().checked_sub(timeout);
        late.expect("not before the deadline")
    };
    let waits = || {
        let error = lock.try_lock_for(timeout).expect_err("held");
        assert!(matches!(error, Error::TimedOut(_)), "{error}");
    };
    // The bench measures the exact delay. Here the machine may be busy, and the kernel delays each
    // lock call while another process reads /proc/locks. Both affect a sleep and a try as well.
    let sleeps = || {
        std::thread::sleep(timeout);
        assert!(lock.try_lock().is_err());
    };
    let rounds = (0..25).map(|_| (late(&waits), late(&sleeps)));
    let (mut ours, mut sleeps): (Vec<_>, Vec<_>) = rounds.unzip();
    ours.sort();
    sleeps.sort();
    let limit = Duration::from_millis(5) + 3 * sleeps[12];
    assert!(ours[12] < limit, "{ours:?}, a sleep {sleeps:?}");
}

#[test]
fn very_short_deadlines_are_never_lost() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    // Some timers expire just before the system call begins. If that signal is lost, the timer
    // expires again after ten milliseconds.
    let took = |wait: &dyn Fn(Duration)| {
        let timeout = Duration::from_nanos(fastrand::u64(1..20_000));
        let started = Instant::now();
        wait(timeout);
        started.elapsed()
    };
    let wait = |timeout| assert!(lock.try_lock_for(timeout).is_err());
    let rounds = (0..4000).map(|_| (took(&wait), took(&std::thread::sleep)));
    let (mut ours, mut sleeps): (Vec<_>, Vec<_>) = rounds.unzip();
    ours.sort();
    sleeps.sort();
    // If signals are lost, half of them are. On a busy machine a sleep takes longer as well.
    let limit = Duration::from_millis(5) + 3 * sleeps[3000];
    assert!(ours[3000] < limit, "{:?}, {limit:?}", ours[3000]);
}

#[test]
fn a_deadline_that_has_passed_still_gives_a_free_lock() {
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    drop(lock.try_lock_until(Instant::now()).expect("free"));
    drop(lock.try_lock_for(Duration::ZERO).expect("free"));
    drop(lock.try_lock_for(Duration::MAX).expect("free"));
}

#[test]
fn a_request_with_a_limit_times_out_also_where_it_is_zero() {
    let scratch = Scratch::new();
    let _holder = Actor::holding(ACTOR, &scratch.lock());
    for options in [LockOptions::new(), LockOptions::new().fair(true)] {
        let lock = options.open(scratch.lock()).expect("opens");
        for limit in [Duration::ZERO, Duration::from_nanos(1)] {
            let error = lock.try_lock_for(limit).expect_err("held");
            assert!(matches!(error, Error::TimedOut(_)), "{error}");
        }
        let error = lock.try_lock_until(Instant::now()).expect_err("held");
        assert!(matches!(error, Error::TimedOut(_)), "{error}");
        let error = lock.try_lock().expect_err("held");
        assert!(matches!(error, Error::WouldBlock(_)), "{error}");
    }
}

#[test]
fn a_far_deadline_is_no_overflow() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::start(ACTOR, &path);
    for timeout in [Duration::MAX, Duration::from_secs(1 << 40)] {
        holder.must("lock");
        let lock = FileLock::open(&path).expect("opens");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| lock.try_lock_for(timeout).map(drop));
            queue::wait_for(&path, std::process::id());
            holder.must("release");
            waiter.join().expect("no panic").expect("locked");
        });
    }
}

#[test]
fn a_timed_waiter_gets_the_lock_when_it_becomes_free() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::start(ACTOR, &path);
    let mut waiter = Actor::start(ACTOR, &path);
    holder.must("lock");
    waiter.must_block("for 60000", &path);
    holder.must("release");
    assert_eq!(waiter.answer(), "ok");
}

#[test]
fn a_wait_that_timed_out_never_has_the_lock_later() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::start(ACTOR, &path);
    let mut waiter = Actor::start(ACTOR, &path);
    let mut third = Actor::start(ACTOR, &path);
    holder.must("lock");
    assert!(waiter.ask("for 30").starts_with("TimedOut"));
    assert_eq!(queue::waiters(&path), []);
    holder.must("release");
    third.must("try");
}

#[test]
fn timed_waiters_of_a_stopped_holder_time_out_and_name_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    sys::kill(holder.pid(), libc::SIGSTOP);
    let lock = FileLock::open(&path).expect("opens");
    let error = lock
        .try_lock_for(Duration::from_millis(50))
        .expect_err("held");
    let conflict = error.conflict().expect("a conflict");
    assert_eq!(conflict.holders()[0].pid, holder.pid());
    assert!(conflict.waited() >= Duration::from_millis(50));
    let message = error.to_string();
    for part in [
        path.to_str().expect("utf-8"),
        &format!("pid {}", holder.pid()),
        "holdlock-actor",
    ] {
        assert!(message.contains(part), "{message}");
    }
    sys::kill(holder.pid(), libc::SIGCONT);
    holder.must("release");
    drop(lock.lock().expect("locked"));
}

#[test]
fn a_waiter_that_was_stopped_at_its_limit_ends_when_it_continues() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    let mut waiter = Actor::start(ACTOR, &path);
    waiter.tell("for 300");
    // It waits by now, or on a slow machine not yet, or not any longer: it always ends.
    std::thread::sleep(Duration::from_millis(100));
    sys::kill(waiter.pid(), libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(400));
    sys::kill(waiter.pid(), libc::SIGCONT);
    let answer = waiter.answer();
    assert!(answer.starts_with("TimedOut"), "{answer}");
    holder.must("release");
    waiter.must("try");
}

#[test]
fn fifty_waiting_processes_are_served_in_order() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    let mut waiters: Vec<Actor> = (0..50).map(|_| Actor::start(ACTOR, &path)).collect();
    for (number, waiter) in waiters.iter_mut().enumerate() {
        // Requests with a deadline queue like requests without.
        let order = if number % 2 == 0 {
            "lock"
        } else {
            "for 100000"
        };
        waiter.must_block(order, &path);
    }
    holder.must("release");
    // A process that was passed does not answer, because the other keeps the lock; then the
    // watchdog ends the test.
    for waiter in &mut waiters {
        assert_eq!(waiter.answer(), "ok");
        waiter.must("release");
    }
}

#[test]
fn a_waiter_costs_no_processor_time() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let _holder = Actor::holding(ACTOR, &path);
    let lock = FileLock::open(&path).expect("opens");
    let two_seconds = Duration::from_secs(2);
    assert!(lock.try_lock_for(Duration::from_millis(1)).is_err()); // makes the timer
    costs_nothing(|| {
        let error = lock.try_lock_for(two_seconds).expect_err("held");
        assert!(error.conflict().expect("a conflict").waited() >= two_seconds);
    });
}

/// The best of three: interrupts of a busy machine count as time of the thread.
#[track_caller]
fn costs_nothing(wait: impl Fn()) {
    let cost = || {
        let before = sys::thread_cpu();
        wait();
        sys::thread_cpu() - before
    };
    let is_cheap = |cost: &Duration| *cost < Duration::from_millis(1);
    assert!((0..3).any(|_| is_cheap(&cost())), "more than 1 ms");
}

#[test]
fn a_thread_that_waits_for_another_thread_costs_no_processor_time() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let _held = lock.lock().expect("locked");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            assert!(lock.try_lock_for(Duration::from_millis(1)).is_err());
            costs_nothing(|| assert!(lock.try_lock_for(Duration::from_secs(2)).is_err()));
        });
        waiter.join().expect("no panic");
    });
}

#[test]
fn the_callback_hears_of_the_wait_once_and_may_end_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut holder = Actor::start(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let mut told = Vec::new();
    let mut note = |what| {
        told.push(what);
        ControlFlow::Continue(())
    };
    drop(
        lock.acquire(Request::exclusive().on_wait(&mut note))
            .expect("free"),
    );
    holder.must("lock");
    let request = Request::exclusive()
        .timeout(Duration::from_millis(10))
        .on_wait(&mut note);
    assert!(lock.acquire(request).is_err());
    assert_eq!(told, [Waiting::Began]);

    let mut end = |_| ControlFlow::Break(());
    let ended = lock.acquire(Request::exclusive().on_wait(&mut end));
    assert!(matches!(ended, Err(Error::Cancelled { .. })));
    holder.must("release");
    drop(lock.try_lock().expect("free"));
}

#[test]
fn a_callback_that_panics_leaves_the_lock_usable() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let mut holder = Actor::holding(ACTOR, &scratch.lock());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let panicked = std::panic::catch_unwind(|| {
        let mut panics = |_| panic!("on purpose");
        drop(lock.acquire(Request::exclusive().on_wait(&mut panics)));
    });
    assert!(panicked.is_err());
    holder.must("release");
    drop(lock.try_lock().expect("free"));
}

#[test]
fn holders_and_waiters_are_listed() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    assert_eq!(lock.holders().expect("proc"), []);
    let mut holder = Actor::start(ACTOR, &path);
    let mut first = Actor::start(ACTOR, &path);
    let mut second = Actor::start(ACTOR, &path);
    holder.must("lock-shared");
    first.must_block("lock", &path);
    second.must_block("lock", &path);
    // The kernel's table may miss a lock while others change it.
    let mut holders = Vec::new();
    queue::eventually("the holder is shown", || {
        holders = lock.holders().expect("proc");
        holders.len() == 1
    });
    assert_eq!(holders[0].pid, holder.pid());
    queue::eventually("the lock is shown", || {
        let seen = inspect::file(&path).expect("proc").files;
        let lock = seen.first().and_then(|file| file.locks.first());
        lock.is_some_and(|lock| lock.mode == holdlock::Mode::Shared)
    });
    assert!(
        holders[0]
            .command
            .as_deref()
            .expect("a command")
            .contains("actor")
    );
    assert!(holders[0].user.is_some());
    queue::eventually("the waiters are shown", || {
        let waiters = lock.waiters().expect("proc");
        let waiters: Vec<u32> = waiters.iter().map(|waiter| waiter.pid).collect();
        waiters == [first.pid(), second.pid()]
    });
}
