//! Callbacks of waiting requests that request locks themselves.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Once, mpsc};
use std::thread;

use holdlock::{Error, FileLock, LockOptions, Request, Waiting};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

fn open(path: &Path, fair: bool) -> FileLock {
    LockOptions::new().fair(fair).open(path).expect("opens")
}

/// Waits for `lock`, which is held. When `asleep` sees that the thread sleeps, a signal makes the
/// callback call `ask`; then `release` is called. Returns the result of `ask`.
fn ask_in_callback<T: Send>(
    lock: &FileLock,
    owned: bool,
    asleep: impl Fn(i32),
    release: impl FnOnce(),
    ask: impl Fn() -> T + Send,
) -> T {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| sys::count_signals(libc::SIGUSR1, 0));
    let (tell, told) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    thread::scope(|scope| {
        let waiter = scope.spawn(move || {
            let mut callback = |what| {
                match what {
                    Waiting::Began => tell.send(sys::thread_id()).expect("heard"),
                    _ => answer.send(ask()).expect("heard"),
                }
                ControlFlow::Continue(())
            };
            let request = Request::exclusive().on_wait(&mut callback);
            if owned {
                drop(lock.acquire_owned(request).expect("its turn comes"));
            } else {
                drop(lock.acquire(request).expect("its turn comes"));
            }
        });
        let thread = told.recv().expect("the wait began");
        asleep(thread);
        sys::kill_thread(thread, libc::SIGUSR1);
        let answer = answers.recv().expect("asked");
        release();
        waiter.join().expect("no panic");
        answer
    })
}

fn is_told(lock: &FileLock) -> bool {
    let told = |request: Result<_, Error>| matches!(request, Err(Error::Deadlock { .. }));
    assert!(matches!(lock.try_lock(), Err(Error::WouldBlock(_))));
    told(lock.lock().map(drop))
        && told(lock.lock_shared().map(drop))
        && told(lock.acquire_owned(Request::exclusive()).map(drop))
        && told(
            lock.try_lock_for(std::time::Duration::from_secs(60))
                .map(drop),
        )
}

#[test]
fn a_callback_that_asks_for_the_lock_its_thread_waits_for_gets_an_error() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    for (fair, owned) in [(false, false), (false, true), (true, false), (true, true)] {
        let (lock, other) = (open(&path, fair), open(&path, fair));
        // In the queue of the threads of this process.
        for asked in [&lock, &other] {
            let held = lock.lock().expect("free");
            let asked = asked.clone();
            let told = ask_in_callback(
                &lock,
                owned,
                queue::wait_for_thread,
                || drop(held),
                move || is_told(&asked),
            );
            assert!(told, "threads, fair: {fair}, owned: {owned}");
        }
        // In the kernel's queue.
        for asked in [&lock, &other] {
            let mut holder = Actor::holding(ACTOR, &path);
            let asked = asked.clone();
            let told = ask_in_callback(
                &lock,
                owned,
                |_| queue::wait_for(&path, std::process::id()),
                || holder.must("release"),
                move || is_told(&asked),
            );
            assert!(told, "kernel, fair: {fair}, owned: {owned}");
        }
    }
}

#[test]
fn a_callback_may_wait_for_another_lock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (path, other) = (scratch.lock(), scratch.path("other.lock"));
    let lock = open(&path, false);
    let mut holder = Actor::holding(ACTOR, &path);
    let mut holder_of_other = Actor::holding(ACTOR, &other);
    let waits = open(&other, false);
    let others_path = other.clone();
    thread::scope(|scope| {
        scope.spawn(move || {
            queue::wait_for(&others_path, std::process::id());
            holder_of_other.must("release");
        });
        let came = ask_in_callback(
            &lock,
            false,
            |_| queue::wait_for(&path, std::process::id()),
            || holder.must("release"),
            move || waits.lock().map(drop).is_ok(),
        );
        assert!(came);
    });
}

#[test]
fn a_callback_may_take_the_lock_it_waits_for_once_that_is_free() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let (lock, other) = (open(&path, false), open(&path, false));
    let mut holder = Actor::holding(ACTOR, &path);
    let (free, freed) = mpsc::channel();
    let freed = std::sync::Mutex::new(freed);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            told.recv().expect("asked");
            holder.must("release");
            free.send(()).expect("heard");
        });
        let came = ask_in_callback(
            &lock,
            false,
            |_| queue::wait_for(&path, std::process::id()),
            || {},
            move || {
                tell.send(()).expect("heard");
                freed.lock().expect("one asks").recv().expect("freed");
                other.try_lock().map(drop).is_ok()
            },
        );
        assert!(came);
    });
}
