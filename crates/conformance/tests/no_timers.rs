//! The same promises without timers: this test program may have no pending signals of its own, so
//! the kernel grants it no timer.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use holdlock::{Error, FileLock};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");
/// The number in the documentation of `wait_signal`.
const MOST_THREADS: usize = 16;

/// The tests count the threads of this process, so they run one after the other.
fn alone_without_timers() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    sys::limit(libc::RLIMIT_SIGPENDING, 0);
    alone
}

fn helper_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
    let names = tasks
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("comm")));
    names
        .filter(|name| {
            name.as_ref()
                .is_ok_and(|name| name.starts_with("waiter-holdlock"))
        })
        .count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

#[track_caller]
fn times_out(lock: &FileLock, milliseconds: u64) {
    let error = lock
        .try_lock_for(Duration::from_millis(milliseconds))
        .expect_err("held");
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
}

fn threads_end(path: &Path) {
    queue::eventually("the threads have ended", || {
        helper_threads() == 0 && queue::waiters(path).is_empty()
    });
}

#[test]
fn waits_that_time_out_leave_one_thread_which_the_next_wait_takes_over() {
    let _alone = alone_without_timers();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    let lock = FileLock::open(&path).expect("opens");
    let other = FileLock::open(&path).expect("opens");
    times_out(&lock, 2);
    let open = descriptors();
    for _ in 0..300 {
        times_out(&lock, 1);
        times_out(&other, 1);
    }
    // A thread gives itself its name.
    queue::eventually("one thread is left", || helper_threads() == 1);
    // Both locks are in constant use now, and a note tells of the thread that closes their files.
    assert!(descriptors() <= open + 3, "{} after {open}", descriptors());
    // Its place in the queue is before that of a request that comes now.
    queue::wait_for(&path, std::process::id());
    let mut late = Actor::start(ACTOR, &path);
    late.must_block("lock", &path);
    let (name, named) = mpsc::channel();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            name.send(sys::thread_id()).expect("heard");
            let guard = lock.try_lock_for(Duration::from_secs(60)).expect("locked");
            queue::eventually("only the late one queues", || {
                queue::waiters(&path) == [late.pid()]
            });
            drop(guard);
        });
        queue::wait_for_thread(named.recv().expect("named"));
        holder.must("release");
        waiter.join().expect("no panic");
    });
    assert_eq!(late.answer(), "ok");
    threads_end(&path);
}

#[test]
fn a_thread_that_comes_too_late_gives_the_lock_back() {
    let _alone = alone_without_timers();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    let lock = FileLock::open(&path).expect("opens");
    times_out(&lock, 5);
    queue::wait_for(&path, std::process::id());
    let mut next = Actor::start(ACTOR, &path);
    next.must_block("lock", &path);
    holder.must("release");
    assert_eq!(next.answer(), "ok");
    threads_end(&path);
    next.must("release");
    drop(lock.try_lock().expect("free"));
}

#[test]
fn threads_and_descriptors_are_bounded_and_requests_beyond_them_are_served() {
    const LOCKS: usize = 3 * MOST_THREADS;
    let _alone = alone_without_timers();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = |number: usize| scratch.path(&format!("{number}.lock"));
    let mut holders: Vec<Actor> = (0..LOCKS)
        .map(|number| Actor::holding(ACTOR, &path(number)))
        .collect();
    let locks: Vec<FileLock> = (0..LOCKS)
        .map(|number| FileLock::open(path(number)).expect("opens"))
        .collect();
    let before = descriptors();
    for lock in &locks {
        times_out(lock, 1);
    }
    queue::eventually("as many threads as there may be are left", || {
        helper_threads() == MOST_THREADS
    });
    // The files, which are open since the first request, and one more for each thread.
    assert!(descriptors() <= before + LOCKS + MOST_THREADS);
    let (lock, holder) = (&locks[LOCKS - 1], &mut holders[LOCKS - 1]);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.try_lock_for(Duration::from_secs(60)).map(drop));
        holder.must("release");
        waiter.join().expect("no panic").expect("locked");
    });
    for holder in &mut holders[..LOCKS - 1] {
        holder.must("release");
    }
    for number in 0..LOCKS {
        threads_end(&path(number));
    }
}

#[test]
fn a_thread_that_is_left_in_the_queue_is_no_wait_of_its_process() {
    let _alone = alone_without_timers();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (a, b) = (scratch.path("a.lock"), scratch.path("b.lock"));
    // Each a process with one thread of its own.
    let runs_on = sys::fork(|| {
        sys::die_with_parent();
        let held = FileLock::open(&a).expect("opens");
        let _held = held.lock().expect("free");
        let lock = FileLock::open(&b).expect("opens");
        queue::eventually("the other has its lock", || lock.try_lock().is_err());
        times_out(&lock, 5);
        sys::sleep_until_killed()
    });
    let waits = sys::fork(|| {
        sys::die_with_parent();
        let held = FileLock::open(&b).expect("opens");
        let _held = held.lock().expect("free in a moment");
        queue::wait_for(&b, runs_on.pid());
        let lock = FileLock::open(&a).expect("opens");
        // Long enough for the deadlock watcher to read twice.
        match lock.try_lock_for(Duration::from_secs(3)) {
            Err(Error::TimedOut(_)) => 0,
            Err(Error::Deadlock { .. }) => 1,
            _ => 2,
        }
    });
    assert_eq!(waits.wait(), 0);
    sys::kill(runs_on.pid(), libc::SIGKILL);
    runs_on.wait();
}
