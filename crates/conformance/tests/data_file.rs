//! The data itself as the lock file, and locks on files that are open already.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::sync::LazyLock;

use holdlock::{Error, FileLock, LockOptions};
use holdlock_conformance::{Actor, Scratch, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

#[test]
fn threads_count_in_the_locked_file_itself() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = LockOptions::new().writable(true).open(scratch.lock());
    let lock = lock.expect("opens");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    let guard = lock.lock().expect("locked");
                    let (mut file, mut text) = (guard.file(), String::new());
                    file.rewind().expect("a file");
                    file.read_to_string(&mut text).expect("text");
                    let count = text.trim().parse::<u32>().unwrap_or(0);
                    file.rewind().expect("a file");
                    write!(file, "{}", count + 1).expect("writable");
                }
            });
        }
    });
    let count = fs::read_to_string(scratch.lock()).expect("readable");
    assert_eq!(count, "1000");
}

#[test]
fn a_file_that_must_be_writable_is_not_opened_for_reading_only() {
    if sys::is_root() {
        // Root may write whatever the permissions are, but no program that runs.
        let program = std::env::current_exe().expect("known");
        let opened = LockOptions::new().writable(true).open(&program);
        assert!(matches!(opened, Err(Error::Open { .. })), "{opened:?}");
        drop(FileLock::open(&program).expect("reading is allowed"));
    } else {
        let scratch = Scratch::new();
        fs::write(scratch.lock(), "").expect("written");
        let mut readonly = fs::metadata(scratch.lock()).expect("there").permissions();
        readonly.set_readonly(true);
        fs::set_permissions(scratch.lock(), readonly).expect("ours");
        let opened = LockOptions::new().writable(true).open(scratch.lock());
        assert!(matches!(opened, Err(Error::Open { .. })), "{opened:?}");
    }
}

#[test]
fn a_file_that_is_open_is_locked_whatever_becomes_of_its_path() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let file = File::create_new(scratch.lock()).expect("created");
    let lock = LockOptions::new().open_file(&file).expect("opens");
    assert_eq!(lock.path(), scratch.lock());
    let guard = lock.lock().expect("free");
    let mut other = Actor::start(ACTOR, &scratch.lock());
    assert!(other.ask("try").starts_with("WouldBlock"));
    // The lock is none of the caller's descriptor.
    drop(file);
    assert!(other.ask("try").starts_with("WouldBlock"));
    fs::rename(scratch.lock(), scratch.path("moved")).expect("moved");
    assert!(guard.is_current().expect("known"));
    drop(guard);
    drop(lock.lock().expect("free"));
    assert!(!scratch.lock().exists(), "nothing is created");
}

#[test]
fn a_strangers_file_that_got_the_number_of_the_pinned_one_is_not_locked() {
    let scratch = Scratch::new();
    let file = File::create_new(scratch.lock()).expect("created");
    let lock = LockOptions::new().open_file(&file).expect("opens");
    drop(file);
    // All descriptors of this lock now are another file's.
    let theirs = File::create_new(scratch.path("theirs")).expect("created");
    for entry in fs::read_dir("/proc/self/fd").expect("readable").flatten() {
        let is_it = fs::read_link(entry.path()).is_ok_and(|link| link == scratch.lock());
        if is_it {
            let number = entry
                .file_name()
                .to_string_lossy()
                .parse()
                .expect("a number");
            sys::cover(number, &theirs);
        }
    }
    let error = lock
        .try_lock()
        .expect_err("its file cannot be found any more");
    assert!(matches!(error, Error::Open { .. }), "{error}");
    assert!(sys::flock(&theirs, libc::LOCK_EX | libc::LOCK_NB).is_ok());
    let again = File::open(scratch.path("theirs")).expect("opens");
    assert_ne!(again.as_raw_fd(), theirs.as_raw_fd());
    assert!(
        sys::flock(&again, libc::LOCK_EX | libc::LOCK_NB).is_err(),
        "only ours"
    );
}

#[test]
fn a_pipe_is_refused_and_its_reader_sees_the_end() {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let options = LockOptions::new().writable(true);
    let refused = options.open_file(&writer);
    assert!(matches!(refused, Err(Error::Open { .. })), "{refused:?}");
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the end");
}

static STATIC: LazyLock<FileLock> = LazyLock::new(|| {
    let name = format!("holdlock-static-{}", std::process::id());
    FileLock::open(std::env::temp_dir().join(name)).expect("opens")
});

#[test]
fn a_static_lock_gives_guards_that_move_to_other_threads() {
    let guard = STATIC.try_lock_owned().expect("free");
    assert!(STATIC.try_lock().is_err());
    let clone = STATIC.clone();
    assert!(clone.try_lock_shared_owned().is_err());
    std::thread::spawn(move || drop(guard))
        .join()
        .expect("no panic");
    drop(clone.try_lock().expect("free"));
    fs::remove_file(STATIC.path()).expect("removed");
}
