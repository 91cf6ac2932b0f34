//! Scenes with fork(2), each in a process of its own with a single thread:
//! `forker SCENE LOCK`. Exits with 0 if the scene went as promised.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use holdlock::{CancelToken, Error, FileLock, LockOptions, Request};
use holdlock_conformance::sys::{self, Child, bare_fork, fork};
use holdlock_conformance::{hot, queue};

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
        "placeholder" => placeholder(&path),
        "no-descriptor-left" => no_descriptor_left(&path),
        "above-the-limit" => above_the_limit(&path),
        "hand-over" => handed_over(&path, false),
        "hand-over-shared" => handed_over(&path, true),
        "hand-over-fails" => hand_over_fails(&path),
        "slow-open" => slow_open(&path),
        "slow-look" => slow_look(&path),
        "chain" => assert_eq!(chain(&path, 0), 0),
        "future" => future_of_the_parent(&path),
        other => panic!("{other}"),
    }
}

/// Whether the lock is free, according to a lock object of its own.
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
        // The child does not own it: there is nothing to release, and no error.
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

/// The child does not have the timer of its parent's thread.
fn child_waits(path: &Path) {
    let short = Duration::from_millis(20);
    let lock = FileLock::open(path).expect("opens");
    let other = FileLock::open(path).expect("opens");
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

/// In a child the number of the guard's descriptor is not given to a file that the child opens.
fn placeholder(path: &Path) {
    let lock = LockOptions::new().fair(true).open(path).expect("opens");
    let guard = lock.lock().expect("locked");
    let number = guard.as_fd().as_raw_fd();
    let child = fork(|| {
        let log = File::create(path.with_extension("log")).expect("created");
        assert_ne!(log.as_raw_fd(), number);
        let mut copy = File::from(guard.as_fd().try_clone_to_owned().expect("copied"));
        assert!(copy.write_all(b"meant for the lock file").is_err());
        assert!(sys::flock(&copy, libc::LOCK_UN).is_err());
        let shown = format!("{guard:?}");
        assert!(shown.contains("held: false"), "{shown}");
        assert!(!guard.is_current().expect("no error"));
        drop(guard);
        drop(log);
        i32::from(
            std::fs::metadata(path.with_extension("log"))
                .expect("there")
                .len()
                != 0,
        )
    });
    assert_eq!(child.wait(), 0);
    assert!(!is_free(path));
}

/// The program has lowered its limit of open files below the number of the lock file.
fn above_the_limit(path: &Path) {
    let below: Vec<File> = (0..40)
        .map(|_| File::open("/dev/null").expect("opens"))
        .collect();
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.lock().expect("locked");
    let number = guard.as_fd().as_raw_fd();
    assert!(number > 30, "{number}");
    drop(below);
    sys::limit(libc::RLIMIT_NOFILE, 30);
    let child = fork(|| i32::from(Path::new(&format!("/proc/self/fd/{number}")).exists()));
    assert_eq!(child.wait(), 0, "the child has a copy");
    assert!(!is_free(path));
}

/// If no descriptor is left for the placeholder, the descriptor of a lock is used.
fn no_descriptor_left(path: &Path) {
    let second = path.with_extension("second");
    let lock = FileLock::open(path).expect("opens");
    let other = FileLock::open(&second).expect("opens");
    let guard = lock.lock().expect("locked");
    let other_guard = other.lock().expect("locked");
    sys::limit(libc::RLIMIT_NOFILE, 64);
    let mut all = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        all.push(file);
    }
    let child = fork(|| {
        let open = |number: i32| std::fs::read_link(format!("/proc/self/fd/{number}"));
        let numbers = [&guard, &other_guard].map(|guard| guard.as_fd().as_raw_fd());
        all.truncate(all.len() - 2);
        for number in numbers {
            let now = open(number).expect("something is there");
            assert_eq!(now, Path::new("/"));
        }
        0
    });
    assert_eq!(child.wait(), 0);
}

fn handed_over(path: &Path, shared: bool) {
    let (mut hears, mut tells) = std::io::pipe().expect("a pipe");
    let parent = fork(|| {
        let lock = FileLock::open(path).expect("opens");
        let handed = if shared {
            // One of two sharers of the same description; the other one unlocks.
            let stays = lock.acquire_owned(Request::shared()).expect("locked");
            let guard = lock.lock_shared().expect("locked");
            let handed = guard.hand_over().expect("handed over");
            stays.release().expect("released");
            handed
        } else {
            let guard = lock.lock().expect("locked");
            guard.hand_over().expect("handed over")
        };
        assert!(matches!(lock.try_lock(), Err(Error::WouldBlock(_))));
        // Kept by a child of fork, and by what the child executes.
        let child = fork(|| {
            let mut sleeper = std::process::Command::new("sleep")
                .arg("60")
                .spawn()
                .expect("starts");
            drop(handed);
            tells.write_all(&sleeper.id().to_ne_bytes()).expect("told");
            i32::from(sleeper.wait().is_err())
        });
        std::process::exit(i32::from(child.pid() == 0));
    });
    let mut pid = [0; 4];
    hears.read_exact(&mut pid).expect("the child lives");
    assert_eq!(parent.wait(), 0);
    let lock = FileLock::open(path).expect("opens");
    assert!(lock.try_lock().is_err(), "the lock ended with the parent");
    assert_eq!(lock.try_lock_shared().is_ok(), shared);
    sys::kill(u32::from_ne_bytes(pid), libc::SIGKILL);
    drop(lock.try_lock_for(Duration::from_secs(30)).expect("free"));
}

fn hand_over_fails(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.lock().expect("locked");
    let child = fork(|| i32::from(guard.hand_over().is_ok()));
    assert_eq!(child.wait(), 0, "a child gave its parent's lock away");
    let guard = lock.try_lock();
    assert!(
        guard.is_err(),
        "the parent's guard was forgotten, not dropped"
    );
}

/// Forks while another thread is opening the lock file, which strace makes slow, and then locks it.
fn slow_open(path: &Path) {
    drop(File::create(path).expect("created"));
    let stop = AtomicBool::new(false);
    let leaks = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let directory = path.parent().expect("a directory");
                let child = fork(|| sys::locked_descriptors_below(directory) as i32);
                leaks.fetch_add(child.wait() as u32, Ordering::Relaxed);
            }
        });
        for _ in 0..10 {
            let lock = FileLock::open(path).expect("opens");
            let guard = lock.lock().expect("locked");
            sys::sleep(Duration::from_millis(5));
            drop(guard);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(leaks.into_inner(), 0);
}

/// Under a tracer that makes opening /proc/locks take time: a thread looks for the holders that an
/// error is to name, while another one forks.
fn slow_look(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let _guard = lock.lock().expect("free");
    let other = FileLock::open(path).expect("opens");
    let error = other.try_lock().expect_err("held");
    std::thread::scope(|scope| {
        scope.spawn(|| error.to_string());
        sys::sleep(Duration::from_millis(100));
        let child = fork(|| i32::from(!error.to_string().contains("locked by pid")));
        assert_eq!(child.wait(), 0);
    });
}

/// A server that replaces itself by a child of fork again and again, while it holds a lock. Its
/// ancestors leave one placeholder for each guard open, and nothing else.
fn chain(path: &Path, ancestors: u32) -> i32 {
    let lock = FileLock::open(path.with_extension(ancestors.to_string())).expect("opens");
    // The helper thread that closes idle files has a note.
    hot(&lock);
    let guard = lock.lock().expect("free");
    let entries = std::fs::read_dir("/proc/self/fd").expect("readable");
    let links = entries
        .flatten()
        .flat_map(|entry| std::fs::read_link(entry.path()));
    let links: Vec<PathBuf> = links.collect();
    let count = |what: &str| links.iter().filter(|link| *link == Path::new(what)).count();
    assert_eq!(count("/memfd:holdlock-note (deleted)"), 1, "{links:?}");
    assert_eq!(count("/"), ancestors as usize, "{links:?}");
    if ancestors == 3 {
        return 0;
    }
    fork(|| {
        drop(guard);
        chain(path, ancestors + 1)
    })
    .wait()
}

fn future_of_the_parent(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let guard = lock.lock().expect("free");
    let mut context = Context::from_waker(Waker::noop());
    let mut wait = Box::pin(lock.lock_async());
    assert!(wait.as_mut().poll(&mut context).is_pending());
    let child = fork(|| {
        let answer = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let is_told = matches!(&answer, Poll::Ready(Err(error)) if error.to_string().contains("child of fork"));
        i32::from(!is_told)
    });
    assert_eq!(child.wait(), 0);
    drop(guard);
    queue::eventually("the parent's wait goes on", || {
        wait.as_mut().poll(&mut context).is_ready()
    });
}
