//! Scenes with fork(2), each in a process of its own with a single thread:
//! `forker SCENE LOCK`. Exits with 0 when the scene went as promised.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdlock::{CancelToken, Error, FileLock, Request};
use holdlock_conformance::sys::{self, Child, bare_fork, fork};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let scene = arguments.next().expect("a scene");
    let path = PathBuf::from(arguments.next().expect("a path"));
    match scene.to_str().expect("utf-8") {
        "drop" => dropped(&path, fork),
        "drop-bare" => dropped(&path, bare_fork),
        "release" => released(&path),
        "child-locks" => child_locks(&path, fork),
        "child-locks-bare" => child_locks(&path, bare_fork),
        "grandchild" => grandchild(&path),
        "parent-killed" => parent_ends(&path, true),
        "parent-exits" => parent_ends(&path, false),
        "shared" => shared(&path),
        "child-waits" => child_waits(&path),
        other => panic!("{other}"),
    }
}

/// Whether the lock is free, asked by a lock of its own.
fn is_free(path: &Path) -> bool {
    FileLock::open(path).expect("opens").try_lock().is_ok()
}

fn dropped(path: &Path, fork: impl Fn(Box<dyn FnOnce() -> i32>) -> Child) {
    let lock: &'static FileLock = Box::leak(Box::new(FileLock::open(path).expect("opens")));
    let guard = lock.lock().expect("locked");
    let theirs = path.to_owned();
    let child = fork(Box::new(move || {
        drop(guard);
        i32::from(is_free(&theirs))
    }));
    assert_eq!(child.wait(), 0, "the child's drop unlocked");
    assert!(!is_free(path), "the child's drop unlocked");
}

fn released(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.lock().expect("locked");
    let child = fork(|| {
        // Not owned here: nothing to release, nothing to complain of.
        let current = guard.is_current().expect("no error");
        i32::from(current || guard.release().is_err() || is_free(path))
    });
    assert_eq!(child.wait(), 0);
    assert!(!is_free(path));
}

fn child_locks(path: &Path, fork: impl Fn(Box<dyn FnOnce() -> i32>) -> Child) {
    let lock: &'static FileLock = Box::leak(Box::new(FileLock::open(path).expect("opens")));
    let guard = lock.lock().expect("locked");
    let child = fork(Box::new(|| {
        // Busy, by the kernel's word: not a success through the inherited description, and no
        // deadlock error either, since the child does not hold it.
        i32::from(!matches!(lock.try_lock(), Err(Error::WouldBlock(_))))
    }));
    assert_eq!(child.wait(), 0);
    drop(guard);
    let child = fork(Box::new(|| match lock.lock() {
        // Released by exit alone.
        Ok(guard) => {
            std::mem::forget(guard);
            0
        }
        Err(_) => 1,
    }));
    assert_eq!(child.wait(), 0);
    drop(lock.try_lock().expect("free again"));
}

fn grandchild(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.lock().expect("locked");
    let child = fork(|| {
        let grandchild = fork(|| {
            drop(guard);
            i32::from(is_free(path) || lock.try_lock().is_ok())
        });
        grandchild.wait()
    });
    assert_eq!(child.wait(), 0);
    assert!(!is_free(path));
}

/// The parent ends while it holds the lock, and its child lives on.
fn parent_ends(path: &Path, by_signal: bool) {
    let (mut hears, mut tells) = std::io::pipe().expect("a pipe");
    let (mut parent_hears, mut tells_parent) = std::io::pipe().expect("a pipe");
    let parent = fork(|| {
        let lock = FileLock::open(path).expect("opens");
        let _guard = lock.lock().expect("locked");
        let child = fork(|| {
            tells.write_all(b"x").expect("told");
            std::thread::sleep(Duration::from_secs(30));
            0
        });
        let mut byte = [0];
        parent_hears.read_exact(&mut byte).expect("told to end");
        std::process::exit(i32::from(child.pid() == 0));
    });
    let mut byte = [0];
    hears.read_exact(&mut byte).expect("the child lives");
    assert!(!is_free(path));
    if by_signal {
        sys::kill(parent.pid(), libc::SIGKILL);
    } else {
        tells_parent.write_all(b"x").expect("told");
    }
    parent.wait();
    assert!(is_free(path), "the child keeps its parent's lock");
}

fn shared(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.lock_shared().expect("locked");
    let child = fork(|| {
        let not_ours = lock.try_lock().is_err();
        let joins = lock.try_lock_shared().is_ok();
        drop(guard);
        i32::from(!(not_ours && joins && lock.try_lock().is_err()))
    });
    assert_eq!(child.wait(), 0);
    assert!(!is_free(path));
}

/// The timer of the parent's thread is not the child's.
fn child_waits(path: &Path) {
    let short = Duration::from_millis(20);
    let lock = FileLock::open(path).expect("opens");
    let other = std::sync::Arc::new(FileLock::open(path).expect("opens"));
    let _held = other.lock_owned().expect("locked");
    assert!(matches!(lock.try_lock_for(short), Err(Error::TimedOut(_))));
    let child = fork(|| {
        let token = CancelToken::new();
        let timed_out = matches!(lock.try_lock_for(short), Err(Error::TimedOut(_)));
        let canceller = token.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(short);
            canceller.cancel();
        });
        let waited = lock.acquire(Request::exclusive().cancel(&token)).map(drop);
        let cancelled = matches!(waited, Err(Error::Cancelled { .. }));
        thread.join().expect("no panic");
        i32::from(!(timed_out && cancelled))
    });
    assert_eq!(child.wait(), 0);
}
