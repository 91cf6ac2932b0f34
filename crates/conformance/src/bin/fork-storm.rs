//! Many forks while other threads work: `fork-storm SCENE LOCK`. Exits with 0 if the scene went as
//! promised.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use holdlock::{FileLock, LockOptions, Request};
use holdlock_conformance::sys::{self, fork};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let scene = arguments.next().expect("a scene");
    let path = PathBuf::from(arguments.next().expect("a path"));
    match scene.to_str().expect("utf-8") {
        "locks" => storm(&path),
        "closing" => closing(&path),
        "reading" => reading(&path),
        "threads" => threads(&path),
        other => panic!("{other}"),
    }
}

/// Threads fork all the time. Each fork takes a mutex that the opening threads want as well. No
/// child keeps a lock, no thread hangs, and no thread gets an error.
fn storm(path: &Path) {
    sys::take_a_mutex_at_fork();
    let directory = path.with_extension("d");
    std::fs::create_dir(&directory).expect("made");
    let stop = AtomicBool::new(false);
    let leaks = AtomicU32::new(0);
    let children = AtomicU32::new(0);
    let running = || !stop.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while running() {
                    let child = fork(|| sys::locked_descriptors_below(&directory) as i32);
                    leaks.fetch_add(child.wait() as u32, Ordering::Relaxed);
                    children.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for kind in 0..3 {
            let (directory, running) = (&directory, &running);
            scope.spawn(move || {
                let path = directory.join(format!("{kind}"));
                while running() {
                    let open = || match kind {
                        0 => FileLock::open(&path),
                        1 => LockOptions::new().permissions(0o600).open(&path),
                        _ => LockOptions::new().delete_on_release(true).open(&path),
                    };
                    // Every other time with the mutex, so that a fork that has begun cannot
                    // continue.
                    let lock = sys::while_forks_wait(open).expect("opens");
                    drop(open().expect("opens"));
                    let guard = lock.lock().expect("locked");
                    sys::sleep(Duration::from_micros(300));
                    drop(guard);
                    if kind == 1 {
                        let _ = std::fs::remove_file(&path);
                    }
                }
            });
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(1)
            || children.load(Ordering::Relaxed) < 200 && began.elapsed() < Duration::from_secs(40)
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let leaks = leaks.into_inner();
    assert_eq!(leaks, 0, "of {} children", children.into_inner());
}

/// Forks so many children while threads repeat `work`. In each child, `is_right` has to be true.
fn beside(number: usize, work: impl Fn() + Sync, children: u32, is_right: impl Fn() -> bool) {
    let stop = AtomicBool::new(false);
    let (mut forked, mut wrong) = (0, 0);
    std::thread::scope(|scope| {
        for _ in 0..number {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        let began = Instant::now();
        while forked < children && wrong == 0 && began.elapsed() < Duration::from_secs(30) {
            wrong = fork(|| i32::from(!is_right())).wait();
            forked += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(wrong, 0, "the last of {forked} children");
}

/// Other threads close lock files.
fn closing(path: &Path) {
    let directory = path.parent().expect("a directory");
    let work = || drop(FileLock::open(path).expect("opens"));
    beside(2, work, 2000, || {
        sys::descriptors_below(directory).count() == 0
    });
}

/// Other threads read the kernel's list of locks.
fn reading(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let _guard = lock.lock().expect("free");
    let work = || drop(holdlock::inspect::file(path).expect("there"));
    beside(2, work, 500, || !sys::is_open(Path::new("/proc/locks")));
}

/// Other threads start threads. A wait of a task in the child needs a thread, too.
fn threads(path: &Path) {
    let lock = FileLock::open(path).expect("opens");
    let _guard = lock.lock().expect("free");
    let work = || std::thread::spawn(|| {}).join().expect("no panic");
    beside(8, work, 1500, || wait_of_a_task_ends(path));
}

/// Whether a wait with a limit ends.
fn wait_of_a_task_ends(path: &Path) -> bool {
    let lock = FileLock::open(path).expect("opens");
    let request = Request::exclusive().timeout(Duration::from_millis(1));
    let mut wait = Box::pin(lock.acquire_async(request));
    let mut context = Context::from_waker(Waker::noop());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if wait.as_mut().poll(&mut context).is_ready() {
            return true;
        }
        sys::sleep(Duration::from_millis(1));
    }
    false
}
