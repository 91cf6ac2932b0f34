//! Every request ends by its limit, whatever other processes do to the path during the wait.

use std::fs::File;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, FileLock, LockOptions, Request};
use holdlock_conformance::{Actor, Scratch, queue, skipped, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

/// Far more than any of the limits here, and far less than the waits that were seen without limits
/// (30 s).
const AT_ONCE: Duration = Duration::from_secs(20);

#[test]
fn a_lease_on_the_lock_file_is_waited_for_within_the_limit() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let file = File::create(&path).expect("created");
    // The kernel asks for the lease by SIGIO.
    sys::count_signals(libc::SIGIO, libc::SA_RESTART);
    if !sys::lease(&file) {
        return skipped("this file system grants no leases");
    }
    let began = Instant::now();
    let lock = FileLock::open(&path).expect("opens");
    let tried = lock.try_lock();
    assert!(matches!(tried, Err(Error::WouldBlock(_))), "{tried:?}");
    let timed = lock.try_lock_for(Duration::from_millis(50));
    assert!(matches!(timed, Err(Error::TimedOut(_))), "{timed:?}");
    let token = CancelToken::new();
    token.cancel();
    let cancelled = lock.acquire(Request::exclusive().cancel(&token));
    assert!(
        matches!(cancelled, Err(Error::Cancelled { .. })),
        "{cancelled:?}"
    );
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.lock().expect("locked").is_current());
        queue::eventually("the waiter waits for the lease", || {
            let open = std::fs::read_dir("/proc/self/task").expect("proc");
            open.flatten().any(|task| {
                let wchan = std::fs::read_to_string(task.path().join("wchan"));
                wchan.is_ok_and(|wchan| wchan.contains("break_lease"))
            })
        });
        sys::unlease(&file);
        assert!(waiter.join().expect("no panic").expect("no error"));
    });
}

/// The process has no file open for the lock then.
#[test]
fn requests_behind_one_that_opens_the_file_name_the_holder() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let file = File::create(scratch.lock()).expect("created");
    sys::flock(&file, libc::LOCK_EX).expect("free");
    sys::count_signals(libc::SIGIO, libc::SA_RESTART);
    if !sys::lease(&file) {
        return skipped("this file system grants no leases");
    }
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let names_holder = |error: Error| {
        let Error::TimedOut(conflict) = error else {
            panic!("{error:?}");
        };
        assert_eq!(conflict.holders()[0].pid, std::process::id());
    };
    let mut context = Context::from_waker(Waker::noop());
    let mut first = lock.lock_async();
    assert!(Pin::new(&mut first).poll(&mut context).is_pending());
    let limit = Duration::from_millis(50);
    let mut task = lock.lock_async().timeout(limit);
    let mut ended = None;
    queue::eventually("the task ends by its limit", || {
        if let Poll::Ready(answer) = Pin::new(&mut task).poll(&mut context) {
            ended = Some(answer);
        }
        ended.is_some()
    });
    names_holder(ended.expect("an answer").expect_err("held"));
    names_holder(lock.try_lock_for(limit).expect_err("held"));
    sys::unlease(&file);
}

/// The request asks for the lease again and again, which is not an attempt that failed because
/// others create and remove the file.
#[test]
fn a_long_lease_is_waited_for_up_to_the_limit_without_signals() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let file = File::create(&path).expect("created");
    sys::count_signals(libc::SIGIO, libc::SA_RESTART);
    if !sys::lease(&file) {
        return skipped("this file system grants no leases");
    }
    let lock = LockOptions::new().signals(false).open(&path);
    // Longer than requests that meet such files wait at least, and shorter than the kernel waits.
    let timed = lock
        .expect("opens")
        .try_lock_for(Duration::from_secs(13))
        .map(drop);
    assert!(matches!(timed, Err(Error::TimedOut(_))), "{timed:?}");
}

/// A request that met the lease looks at the path again, where the FIFO is by then.
#[test]
fn a_fifo_in_place_of_a_leased_file_is_no_error() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let path = scratch.lock();
    sys::count_signals(libc::SIGIO, libc::SA_RESTART);
    let probe = File::create(scratch.path("probe")).expect("created");
    if !sys::lease(&probe) {
        return skipped("this file system grants no leases");
    }
    let fifo = scratch.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo").success());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let next = scratch.path("next");
            while !stop.load(Ordering::Relaxed) {
                let leased = File::create(&next).expect("created");
                // Refused while a child of another test has the file open.
                let _ = sys::lease(&leased);
                std::fs::rename(&next, &path).expect("renamed");
                std::fs::hard_link(&fifo, &next).expect("linked");
                std::fs::rename(&next, &path).expect("renamed");
            }
        });
        let lock = FileLock::open(&path).expect("opens");
        let end = Instant::now() + Duration::from_secs(3);
        let mut locked = Ok(());
        while Instant::now() < end && !swapping.is_finished() && locked.is_ok() {
            locked = lock.try_lock_for(Duration::from_secs(60)).map(drop);
        }
        stop.store(true, Ordering::Relaxed);
        locked.expect("locked");
    });
}

/// Puts another file at the path, again and again.
fn replace_all_the_time(path: &Path, stop: &AtomicBool) {
    let fresh = path.with_extension("fresh");
    while !stop.load(Ordering::Relaxed) {
        File::create(&fresh).expect("created");
        std::fs::rename(&fresh, path).expect("renamed");
    }
}

fn remove_all_the_time(path: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn a_path_that_others_keep_changing_does_not_prolong_a_wait() {
    let _dog = watchdog::watch(120);
    for meddle in [replace_all_the_time, remove_all_the_time] {
        let scratch = Scratch::new();
        let path = scratch.lock();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| meddle(&path, &stop));
            scope.spawn(|| {
                // Held only for a moment at a time, so that only the path is in the way.
                let lock = FileLock::open(&path).expect("opens");
                while !stop.load(Ordering::Relaxed) {
                    drop(lock.try_lock());
                }
            });
            let lock = LockOptions::new()
                .permissions(0o600)
                .open(&path)
                .expect("opens");
            for _ in 0..300 {
                let began = Instant::now();
                let timed = lock.try_lock_for(Duration::from_millis(3));
                let in_time = began.elapsed() < AT_ONCE;
                let fits = match &timed {
                    Ok(_) | Err(Error::TimedOut(_)) => true,
                    Err(error) => matches!(error, Error::RemovedWhileHeld(_)),
                };
                assert!(fits && in_time, "{timed:?} after {:?}", began.elapsed());
                drop(timed);
                match lock.try_lock() {
                    Ok(_) | Err(Error::WouldBlock(_) | Error::RemovedWhileHeld(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

/// Like a cache directory that is removed and created again.
#[test]
fn a_directory_that_others_remove_is_made_again() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let directory = scratch.path("cache");
    let path = directory.join("deep/index.lock");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = std::fs::remove_dir_all(&directory);
                }
            });
        }
        let options = LockOptions::new().create_parents(true);
        for _ in 0..500 {
            let lock = options.open(&path).expect("opens");
            drop(lock.lock().expect("locked"));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// The kernel ends a process by SIGXFSZ if it makes a file larger than its limit (ulimit -f).
#[test]
fn a_process_that_may_write_no_files_waits_like_any_other() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    let guard = lock.lock().expect("free");
    let mut limited = Actor::start_with(ACTOR, &path, &["file-size=0"]);
    let answer = limited.ask("for 200");
    assert!(answer.starts_with("TimedOut"), "{answer}");
    limited.must_block("lock", &path);
    drop(guard);
    assert_eq!(limited.answer(), "ok");
}
