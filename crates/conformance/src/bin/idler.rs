//! Scenes with idle locks, each in a process of its own: `idler SCENE DIRECTORY`. Exits with 0 if
//! the scene went as promised.

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use holdlock::{Error, Family, FileLock, LockOptions, Request};
use holdlock_conformance::{hot, queue, sys};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let scene = arguments.next().expect("a scene");
    let directory = PathBuf::from(arguments.next().expect("a directory"));
    match scene.to_str().expect("utf-8") {
        "many" => many(&directory),
        "after" => after_every_end(&directory),
        "cycles" => cycles(&directory),
        "unmount" => unmount(&directory, false),
        "unmount-hot" => unmount(&directory, true),
        "held" => held(&directory),
        "forked" => forked(&directory),
        other => panic!("{other}"),
    }
}

fn open(directory: &Path, name: impl std::fmt::Display) -> FileLock {
    FileLock::open(directory.join(format!("{name}.lock"))).expect("opens")
}

/// How many descriptors of this process are files below `directory`.
fn open_below(directory: &Path) -> usize {
    let directory = std::fs::canonicalize(directory).expect("there");
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("readable");
    let links = descriptors
        .flatten()
        .flat_map(|entry| std::fs::read_link(entry.path()));
    links
        .filter(|link| link.starts_with(&directory) && *link != directory)
        .count()
}

fn many(directory: &Path) {
    sys::limit(libc::RLIMIT_NOFILE, 256);
    let opened = (0..5000).map(|number| {
        // The lock would search for holders of a removed file, which takes long on a busy host.
        std::fs::write(directory.join(format!("{number}.lock")), "").expect("created");
        open(directory, number)
    });
    let locks: Vec<FileLock> = opened.collect();
    for lock in &locks {
        drop(lock.lock().expect("free"));
    }
    assert_eq!(open_below(directory), 0);
    // In use, all of them, again and again.
    for _ in 0..40 {
        for lock in &locks[..300] {
            drop(lock.lock().expect("free"));
        }
    }
}

/// However a request ends, the lock is idle afterwards.
fn after_every_end(directory: &Path) {
    let kinds = [
        LockOptions::new(),
        LockOptions::new().family(Family::Ofd),
        LockOptions::new().fair(true),
        LockOptions::new().writable(true),
        LockOptions::new().delete_on_release(true),
        LockOptions::new().signals(false),
        LockOptions::new().upgradeable(true),
    ];
    for (number, options) in kinds.iter().enumerate() {
        let path = directory.join(format!("{number}.lock"));
        let lock = options.open(&path).expect("opens");
        let is_closed = |when: &str| assert_eq!(open_below(directory), 0, "{when}, {options:?}");
        is_closed("opened");
        drop(lock.lock().expect("free"));
        is_closed("released");
        drop((
            lock.lock_shared().expect("free"),
            lock.lock_shared().expect("shared"),
        ));
        is_closed("released twice");
        let guard = lock.lock().expect("free").downgrade().expect("shared");
        guard.release().expect("released");
        is_closed("released after the downgrade");
        if number == 6 {
            let mut guard = lock.lock_upgradeable().expect("free");
            guard.upgrade(Request::exclusive()).expect("no readers");
            guard.release().expect("released");
            is_closed("released after the upgrade");
        }
        let guard = lock.lock().expect("free");
        std::thread::scope(|scope| {
            // It sleeps at the gate.
            let late = scope.spawn(|| lock.try_lock_for(Duration::from_millis(20)).map(drop));
            late.join().expect("no panic").expect_err("held");
        });
        let mut future = pin!(lock.lock_async());
        let mut context = Context::from_waker(Waker::noop());
        assert!(future.as_mut().poll(&mut context).is_pending());
        drop(guard);
        queue::eventually("the future has the lock", || {
            future.as_mut().poll(&mut context).is_ready()
        });
        queue::eventually("the waiting thread is gone", || open_below(directory) == 0);
        // Held by a stranger.
        let file = File::options()
            .append(true)
            .create(true)
            .open(&path)
            .expect("opens");
        if number != 1 {
            sys::flock(&file, libc::LOCK_EX).expect("free");
            lock.try_lock().expect_err("held");
            lock.try_lock_for(Duration::from_millis(20))
                .expect_err("held");
            if number != 5 {
                // A helper thread may still look at the lock.
                let what = format!("nothing but the stranger's own is open, {options:?}");
                queue::eventually(&what, || open_below(directory) == 1);
            }
        }
        drop(file);
        queue::eventually("no helper thread waits", || open_below(directory) == 0);
        let handed = lock.lock().expect("free").hand_over().expect("handed over");
        queue::eventually("one is left", || open_below(directory) == 1);
        drop(handed);
        queue::eventually("all are closed", || open_below(directory) == 0);
    }
}

/// For a test that counts the system calls. Prints how many cycles took 50 ms or more: of two
/// cycles beside a pause of 100 ms, after which the lock is idle, at least one does.
fn cycles(directory: &Path) {
    let lock = open(directory, "hot");
    let mut released_at = Instant::now();
    let is_late = |_: &i32| {
        drop(lock.lock().expect("free"));
        let before = std::mem::replace(&mut released_at, Instant::now());
        released_at - before >= Duration::from_millis(50)
    };
    println!("{}", (0..300).filter(is_late).count());
}

/// `directory` is a file system of its own.
fn unmount(directory: &Path, is_hot: bool) {
    let lock = open(directory, "a");
    let umount = || {
        Command::new("umount")
            .arg(directory)
            .status()
            .expect("umount runs")
    };
    if is_hot {
        hot(&lock);
        queue::eventually("the lock is idle", || umount().success());
    } else {
        drop(lock.lock().expect("free"));
        assert!(umount().success());
    }
    // The lock lives on, and finds nothing where its directory was.
    drop(lock.lock().expect("there is a directory below"));
}

fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("readable");
    let names = tasks
        .flatten()
        .flat_map(|task| std::fs::read_to_string(task.path().join("comm")));
    names.map(|name| name.trim().to_owned()).collect()
}

/// The helper thread closes what is idle and nothing else, and then ends.
fn held(directory: &Path) {
    let (held, idle) = (open(directory, "held"), open(directory, "idle"));
    hot(&held);
    let guard = held.lock().expect("free");
    queue::eventually("the idle lock keeps its file open", || {
        hot(&idle);
        open_below(directory) == 2 && threads().contains(&"holdlock-idle".to_owned())
    });
    queue::eventually("the idle lock is closed", || open_below(directory) == 1);
    assert!(guard.is_current().expect("no error"));
    // This thread still has the lock, as the process knows by the open file.
    let other = FileLock::open(held.path()).expect("opens");
    let again = other.try_lock_for(Duration::from_secs(20));
    assert!(matches!(again, Err(Error::Deadlock { .. })), "{again:?}");
    drop(guard);
    drop(idle.lock().expect("free"));
    queue::eventually("the helper thread ends", || threads().len() == 1);
    assert_eq!(open_below(directory), 0);
    // And starts again.
    queue::eventually("the helper thread runs", || {
        hot(&idle);
        open_below(directory) == 1 && threads().len() == 2
    });
}

/// A child has neither the helper thread nor the open file, and a hot lock of its own.
fn forked(directory: &Path) {
    let lock = open(directory, "a");
    hot(&lock);
    let child = sys::fork(|| {
        let before = open_below(directory);
        queue::eventually("the child's own helper thread runs", || {
            hot(&lock);
            open_below(directory) == 1 && threads().len() == 2
        });
        i32::from(before != 0)
    });
    assert_eq!(child.wait(), 0);
    drop(lock.lock().expect("free"));
}
