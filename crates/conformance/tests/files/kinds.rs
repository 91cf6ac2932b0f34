//! What can be a lock file: data, symbolic links, FIFOs, directories, and names of every kind.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use holdlock::{Error, Family, FileLock, LockOptions};
use holdlock_conformance::{Actor, Scratch, watchdog};

use crate::{ACTOR, refused};

#[test]
fn a_files_content_and_times_are_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    fs::write(&path, "precious").expect("written");
    let before = fs::metadata(&path).expect("it exists");
    for family in [Family::Flock, Family::Ofd] {
        let lock = LockOptions::new()
            .family(family)
            .open(&path)
            .expect("opens");
        drop(lock.lock().expect("locked"));
        drop(lock.lock_shared().expect("locked"));
    }
    let after = fs::metadata(&path).expect("it exists");
    assert_eq!(fs::read(&path).expect("readable"), b"precious");
    let times = |m: &fs::Metadata| {
        (
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec(),
            m.mode(),
        )
    };
    assert_eq!(times(&before), times(&after));
}

#[test]
fn a_symbolic_link_is_refused_unless_asked_for() {
    let scratch = Scratch::new();
    fs::write(scratch.path("target"), "precious").expect("written");
    symlink(scratch.path("target"), scratch.lock()).expect("linked");
    let message = refused(FileLock::open(scratch.lock()));
    assert!(message.contains("symbolic link"), "{message}");
    let followed = LockOptions::new().follow_symlinks(true);
    let guard_of = followed.open(scratch.lock()).expect("opens");
    let guard = guard_of.lock().expect("locked");
    assert!(guard.is_current().expect("no error"));
    // The target is the lock.
    let mut other = Actor::start(ACTOR, &scratch.path("target"));
    assert!(other.ask("try").starts_with("WouldBlock"));
    assert_eq!(
        fs::read(scratch.path("target")).expect("readable"),
        b"precious"
    );
}

#[test]
fn a_dangling_link_creates_its_target_only_when_followed() {
    let scratch = Scratch::new();
    symlink("sub/target", scratch.lock()).expect("linked");
    fs::create_dir(scratch.path("sub")).expect("made");
    refused(FileLock::open(scratch.lock()));
    assert!(!scratch.path("sub/target").exists());
    let lock = LockOptions::new()
        .follow_symlinks(true)
        .open(scratch.lock());
    drop(lock.expect("opens").lock().expect("locked"));
    assert!(scratch.path("sub/target").exists());
    // A cycle of links is an error and does not hang.
    symlink(scratch.path("cycle"), scratch.path("cycle")).expect("linked");
    refused(
        LockOptions::new()
            .follow_symlinks(true)
            .open(scratch.path("cycle")),
    );
}

#[test]
fn a_link_that_replaces_the_lock_file_later_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    drop(lock.lock().expect("locked"));
    fs::remove_file(&path).expect("removed");
    fs::write(scratch.path("target"), "").expect("written");
    symlink(scratch.path("target"), &path).expect("linked");
    assert!(matches!(lock.lock(), Err(Error::Open { .. })));
}

#[test]
fn a_fifo_does_not_hang_and_is_a_lock() {
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let made = Command::new("mkfifo").arg(scratch.lock()).status();
    assert!(made.expect("mkfifo").success());
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let _guard = lock.lock().expect("locked");
    let mut other = Actor::start(ACTOR, &scratch.lock());
    assert!(other.ask("try").starts_with("WouldBlock"));
}

#[test]
fn a_directory_is_a_lock() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("d")).expect("made");
    for path in [scratch.path("d"), scratch.path("d/")] {
        let lock = FileLock::open(path).expect("opens");
        let _guard = lock.lock().expect("locked");
        let mut other = Actor::start(ACTOR, &scratch.path("d"));
        assert!(other.ask("try").starts_with("WouldBlock"));
    }
    // A directory cannot be opened for writing, which an exclusive OFD lock needs.
    let lock = LockOptions::new()
        .family(Family::Ofd)
        .open(scratch.path("d"))
        .expect("opens");
    drop(lock.lock_shared().expect("reading is enough"));
    let error = lock.lock().expect_err("a directory cannot be written");
    assert!(error.to_string().contains("writing"), "{error}");
}

#[test]
fn a_socket_and_a_strange_path_are_clear_errors() {
    let scratch = Scratch::new();
    let _socket = std::os::unix::net::UnixListener::bind(scratch.path("socket")).expect("bound");
    let message = refused(FileLock::open(scratch.path("socket")));
    assert!(message.contains("socket"), "{message}");
    refused(FileLock::open(""));
    refused(FileLock::open("a\0b"));
    refused(FileLock::open(scratch.path(&"n".repeat(300))));
    refused(FileLock::open(scratch.path("missing/")));
    fs::write(scratch.path("file"), "").expect("written");
    let message = refused(FileLock::open(scratch.path("file/a.lock")));
    assert!(message.contains("not a directory"), "{message}");
}

#[test]
fn names_with_odd_bytes_work() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new();
    for name in [
        &b"\xff\xfe new\nline"[..],
        b" ",
        b"-n",
        b"\x1b[31m",
        b"a (deleted)",
    ] {
        let path = scratch.path("").join(std::ffi::OsStr::from_bytes(name));
        let lock = FileLock::open(&path).expect("opens");
        let guard = lock.lock().expect("locked");
        assert!(guard.is_current().expect("no error"));
        let mut other = Actor::start(ACTOR, &path);
        other.tell("try");
        assert!(other.answer().starts_with("WouldBlock"));
    }
}
