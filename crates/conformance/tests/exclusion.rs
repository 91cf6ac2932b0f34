//! Two exclusive guards of one lock never overlap.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use holdlock::{Error, FileLock, Mode, Request};
use holdlock_conformance::peers::Peer;
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

#[test]
fn every_peer_excludes_between_processes_and_shares_where_asked() {
    let _dog = watchdog::watch(60);
    for peer in Peer::ALL {
        let scratch = Scratch::new();
        let path = scratch.lock();
        let program = env!("CARGO_BIN_EXE_peer");
        let other = |shared: &str| {
            let output = Command::new(program)
                .args([peer.name(), shared])
                .arg(&path)
                .stdin(Stdio::null())
                .output()
                .expect("the peer runs");
            String::from_utf8(output.stdout).expect("utf-8")
        };
        let inside = peer
            .locked(&path, false, true, || {
                assert_eq!(other("exclusive"), "busy\n", "{peer:?}");
                assert_eq!(other("shared"), "busy\n", "{peer:?}");
            })
            .expect("no error");
        assert!(inside.is_some());
        let inside = peer
            .locked(&path, true, true, || {
                assert_eq!(other("exclusive"), "busy\n", "{peer:?}");
                assert_eq!(other("shared"), "inside\n", "{peer:?}");
            })
            .expect("no error");
        assert!(inside.is_some());
        assert_eq!(other("exclusive"), "inside\n", "{peer:?}");
    }
}

#[test]
fn the_flock_family_and_its_users_exclude_each_other_across_libraries() {
    let _dog = watchdog::watch(60);
    let flockers = [Peer::Holdlock, Peer::Std, Peer::Fs4, Peer::FdLock];
    for ours in flockers {
        for theirs in flockers {
            let scratch = Scratch::new();
            let busy = ours
                .locked(&scratch.lock(), false, true, || {
                    theirs.locked(&scratch.lock(), false, false, || ())
                })
                .expect("no error")
                .expect("free");
            assert!(busy.expect("no error").is_none(), "{ours:?} {theirs:?}");
        }
    }
}

#[test]
fn two_threads_on_one_file_lock_exclude_each_other() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let inside = AtomicU32::new(0);
    // Counted by a separate load and store, so that an overlap loses counts.
    let counted = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..20_000_u32 {
                    let _guard = match round % 3 {
                        0 => lock.lock(),
                        1 => lock.try_lock_for(std::time::Duration::from_secs(60)),
                        _ => lock.acquire(Request::exclusive()),
                    }
                    .expect("locked");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    let before = counted.load(Ordering::Relaxed);
                    counted.store(before + 1, Ordering::Relaxed);
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(counted.into_inner(), 8 * 20_000);
}

#[test]
fn threads_of_a_busy_process_let_other_processes_in() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _guard = lock.lock().expect("locked");
                    // Long enough that the other threads always queue.
                    std::thread::sleep(std::time::Duration::from_micros(100));
                }
            });
        }
        let mut actor = Actor::start(ACTOR, &path);
        for _ in 0..5 {
            actor.must("lock");
            actor.must("release");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn shared_guards_of_one_file_lock_are_counted() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    let mut actor = Actor::start(ACTOR, &path);
    let first = lock.lock_shared().expect("locked");
    let second = lock
        .lock_shared()
        .expect("a second share for the same thread");
    assert_eq!(second.mode(), Mode::Shared);
    std::thread::scope(|scope| {
        scope.spawn(|| drop(lock.lock_shared().expect("a share for another thread")));
    });
    drop(first);
    assert!(actor.ask("try").starts_with("WouldBlock"));
    actor.must("try-shared");
    actor.must("release");
    drop(second);
    actor.must("try");
}

#[test]
fn a_second_request_of_the_same_thread_is_an_error_and_no_hang() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let other = FileLock::open(scratch.lock()).expect("opens");
    let held = lock.lock().expect("locked");
    assert!(matches!(lock.lock(), Err(Error::Deadlock { .. })));
    assert!(matches!(lock.lock_shared(), Err(Error::Deadlock { .. })));
    assert!(matches!(other.lock(), Err(Error::Deadlock { .. })));
    let a_while = std::time::Duration::from_secs(30);
    assert!(matches!(
        other.try_lock_for(a_while),
        Err(Error::Deadlock { .. })
    ));
    assert!(matches!(lock.try_lock(), Err(Error::WouldBlock(_))));
    drop(held);
    let shared = lock.lock_shared().expect("locked");
    assert!(matches!(lock.lock(), Err(Error::Deadlock { .. })));
    drop(other.lock_shared().expect("shared with ourselves"));
    drop(shared);
    drop(lock.lock().expect("free again"));
}

#[test]
fn an_owned_guard_that_stays_is_known_to_be_this_threads() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let ours = || Request::exclusive().stays_in_thread();
    let held = lock.acquire_owned(ours()).expect("free");
    assert!(matches!(
        lock.acquire_owned(ours()),
        Err(Error::Deadlock { .. })
    ));
    assert!(matches!(lock.lock(), Err(Error::Deadlock { .. })));
    // But another thread releases it.
    std::thread::spawn(move || drop(held))
        .join()
        .expect("no panic");
    let mut actor = Actor::start(ACTOR, lock.path());
    actor.must("try");
    actor.must("release");
    drop(lock.acquire_owned(ours()).expect("free again"));
    let shared = Request::shared().stays_in_thread();
    let shared = lock.acquire_owned(shared).expect("free");
    assert!(matches!(lock.lock(), Err(Error::Deadlock { .. })));
    std::thread::spawn(move || drop(shared))
        .join()
        .expect("no panic");
    drop(lock.lock().expect("free again"));
}

#[test]
fn an_owned_guard_moves_and_its_thread_may_wait_for_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let guard = lock.lock_owned().expect("locked");
    let (sender, receiver) = std::sync::mpsc::channel();
    let pid = std::process::id();
    let dropper = std::thread::spawn(move || {
        let guard: holdlock::OwnedGuard = receiver.recv().expect("a guard");
        // A second object on the file queues in the kernel: an event to wait for.
        queue::wait_for(guard.path(), pid);
        drop(guard);
    });
    let other = FileLock::open(scratch.lock()).expect("opens");
    sender.send(guard).expect("sent");
    drop(
        other
            .lock()
            .expect("no deadlock: the guard is released elsewhere"),
    );
    dropper.join().expect("no panic");
}

#[test]
fn sleeping_threads_of_one_process_are_served_in_order() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let order = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let held = lock.lock().expect("locked");
        for number in 0..50 {
            let (lock, order) = (&lock, &order);
            let (tell, told) = std::sync::mpsc::channel();
            scope.spawn(move || {
                let mut began = |_| {
                    let _ = tell.send(sys::thread_id());
                    std::ops::ControlFlow::Continue(())
                };
                let _guard = lock
                    .acquire(Request::exclusive().on_wait(&mut began))
                    .expect("locked");
                order.lock().expect("order").push(number);
            });
            let thread = told.recv().expect("the wait began");
            queue::wait_for_thread(thread);
        }
        drop(held);
    });
    assert_eq!(*order.lock().expect("order"), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_kept_lock_whose_file_its_last_holder_removed_is_taken_anew() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    for meddle in [
        |path: &std::path::Path| std::fs::remove_file(path),
        |path: &std::path::Path| std::fs::rename(path, path.with_extension("aside")),
    ] {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let guard = lock.lock().expect("locked");
            scope.spawn(|| {
                let mut began = |_| {
                    tell.send(sys::thread_id()).expect("heard");
                    std::ops::ControlFlow::Continue(())
                };
                let guard = lock
                    .acquire(Request::exclusive().on_wait(&mut began))
                    .expect("locked");
                assert!(guard.is_current().expect("no error"));
                let mut actor = Actor::start(ACTOR, &path);
                assert!(actor.ask("try").starts_with("WouldBlock"));
            });
            // Once it sleeps, the lock is handed to it without the kernel.
            queue::wait_for_thread(told.recv().expect("the wait began"));
            meddle(&path).expect("done");
            drop(guard);
        });
    }
}
