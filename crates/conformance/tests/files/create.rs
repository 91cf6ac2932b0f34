//! Lock files that are created: with which permissions, and where they cannot be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use holdlock::{FileLock, LockOptions};
use holdlock_conformance::{Scratch, watchdog};

use crate::{mode, refused, set_mode};

#[test]
fn a_missing_file_is_created_empty_with_the_umasks_permissions() {
    let scratch = Scratch::new();
    drop(
        FileLock::open(scratch.lock())
            .expect("opens")
            .lock()
            .expect("locked"),
    );
    let metadata = fs::metadata(scratch.lock()).expect("created");
    assert_eq!(metadata.len(), 0);
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let umask = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:\t"))
        .and_then(|mask| u32::from_str_radix(mask, 8).ok())
        .expect("a umask");
    assert_eq!(mode(&scratch.lock()), 0o666 & !umask);
}

#[test]
fn an_explicit_mode_is_exact_and_nobody_ever_sees_another() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let seen = std::sync::atomic::AtomicU32::new(0);
    let on = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        let observer = scope.spawn(|| {
            while !stop.load(on) {
                if let Ok(metadata) = fs::metadata(&path) {
                    assert_eq!(metadata.permissions().mode() & 0o7777, 0o666);
                    seen.fetch_add(1, on);
                }
            }
        });
        let mut rounds = 0;
        // Until the observer has seen enough files, which takes longer on one processor. It ends
        // early if it has seen a wrong one.
        while (rounds < 300 || seen.load(on) < 300) && !observer.is_finished() {
            let lock = LockOptions::new()
                .permissions(0o666)
                .open(&path)
                .expect("opens");
            drop(lock.lock().expect("locked"));
            fs::remove_file(&path).expect("removed");
            rounds += 1;
        }
        stop.store(true, on);
        observer.join().expect("always the same mode");
    });
}

#[test]
fn an_explicit_mode_does_not_change_a_file_that_exists() {
    let scratch = Scratch::new();
    fs::write(scratch.lock(), "").expect("written");
    set_mode(&scratch.lock(), 0o640);
    let lock = LockOptions::new()
        .permissions(0o666)
        .open(scratch.lock())
        .expect("opens");
    drop(lock.lock().expect("locked"));
    assert_eq!(mode(&scratch.lock()), 0o640);
}

#[test]
fn a_missing_directory_is_an_error_or_is_made() {
    let scratch = Scratch::new();
    let path = scratch.path("x/y/a.lock");
    let message = refused(FileLock::open(&path));
    assert!(message.contains("create its directory"), "{message}");
    let lock = LockOptions::new()
        .create_parents(true)
        .open(&path)
        .expect("opens");
    drop(lock.lock().expect("locked"));
    fs::remove_dir_all(scratch.path("x")).expect("removed");
    drop(lock.lock().expect("made anew"));
    assert!(path.exists());
}

/// There the kernel says that the file is missing, or that permission is denied, even to root.
#[test]
fn where_the_kernel_creates_no_files_the_message_says_so_at_once() {
    let _dog = watchdog::watch(30);
    let (proc, sys) = ("/proc/self/a.lock", "/sys/a.lock");
    for (path, makes_parents, file_system) in [
        (proc, false, "proc"),
        (proc, true, "proc"),
        (sys, false, "sysfs"),
        (sys, true, "sysfs"),
        ("/proc/self/x/y/a.lock", true, "proc"),
        ("/sys/x/y/a.lock", true, "sysfs"),
    ] {
        let options = LockOptions::new().create_parents(makes_parents);
        let before = Instant::now();
        let message = refused(options.open(path));
        let expected = format!(
            "{path}: cannot open the lock file: no file can be created there (file system: \
             {file_system}); use another directory"
        );
        assert_eq!(message, expected);
        // A request that blames other programs tries for ten seconds.
        assert!(before.elapsed() < Duration::from_secs(8), "{path}");
    }
}
