//! Lock files of other users.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use holdlock::FileLock;
use holdlock_conformance::{Actor, Scratch, skipped, sys, watchdog};

use crate::{ACTOR, said, set_mode};

const NOBODY: u32 = 65534;

/// The actor as a user without privileges. The test needs root for that.
fn as_nobody(path: &Path) -> Option<Command> {
    if !sys::is_root() {
        skipped("only root can become another user");
        return None;
    }
    // The build directory may be closed to others.
    let program = path.with_file_name("actor");
    // Another process copies it: processes that other tests start at the same moment would inherit
    // a descriptor of ours that is open for writing, and the program would be "busy".
    let copied = Command::new("cp").arg(ACTOR).arg(&program).status();
    assert!(copied.expect("cp").success());
    set_mode(&program, 0o755);
    set_mode(path.parent().expect("a directory"), 0o755);
    let mut command = Command::new(program);
    command.arg(path).uid(NOBODY).gid(NOBODY);
    Some(command)
}

#[test]
fn a_read_only_file_of_another_user_can_be_locked() {
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    set_mode(&path, 0o644);
    let Some(command) = as_nobody(&path) else {
        return;
    };
    let mut other = Actor::from_command(command);
    other.must("lock");
    let error = lock.try_lock().expect_err("held");
    let holders = error.conflict().expect("a conflict").holders();
    assert_eq!(holders[0].pid, other.pid());
    assert_ne!(holders[0].user.as_deref(), Some("root"));
    drop(other);
    // The same for a file that may be written but not read.
    set_mode(&path, 0o222);
    let command = as_nobody(&path).expect("root");
    Actor::from_command(command).must("lock");
}

#[test]
fn a_file_that_may_be_neither_read_nor_written_is_a_clear_error() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    fs::write(&path, "").expect("written");
    set_mode(&path, 0o600);
    let Some(command) = as_nobody(&path) else {
        return;
    };
    let message = said(command);
    assert!(message.starts_with("Open"), "{message}");
    assert!(message.contains(path.to_str().expect("utf-8")), "{message}");
    assert!(message.contains("permission"), "{message}");
}

#[test]
fn an_exclusive_ofd_lock_on_a_read_only_file_is_a_clear_error() {
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let path = scratch.lock();
    fs::write(&path, "").expect("written");
    set_mode(&path, 0o644);
    let Some(mut command) = as_nobody(&path) else {
        return;
    };
    command.arg("ofd");
    let mut other = Actor::from_command(command);
    other.must("try-shared");
    other.must("release");
    let message = other.ask("try");
    assert!(message.starts_with("System"), "{message}");
    assert!(
        message.contains("allow this process to write it"),
        "{message}"
    );
}

#[test]
fn another_users_file_in_a_sticky_directory_opens_under_protected_regular() {
    let _dog = watchdog::watch(30);
    let scratch = Scratch::new();
    let setting = Path::new("/proc/sys/fs/protected_regular");
    let before = fs::read_to_string(setting).unwrap_or_default();
    if !sys::is_root() || fs::write(setting, "2").is_err() {
        return skipped("needs root and a writable fs.protected_regular");
    }
    let restore = Restore(setting, before);
    fs::create_dir(scratch.path("tmp")).expect("made");
    let path = scratch.path("tmp/a.lock");
    fs::write(&path, "").expect("written");
    set_mode(&path, 0o666);
    std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).expect("chown");
    set_mode(scratch.path("").as_path(), 0o755);
    set_mode(&scratch.path("tmp"), 0o1777);
    // O_CREAT on this file is EACCES now, even for root.
    let plain = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    assert_eq!(
        plain.expect_err("protected").raw_os_error(),
        Some(libc::EACCES)
    );
    drop(
        FileLock::open(&path)
            .expect("opens")
            .lock()
            .expect("locked"),
    );
    drop(restore);
}

struct Restore(&'static Path, String);

impl Drop for Restore {
    fn drop(&mut self) {
        fs::write(self.0, &self.1).expect("the setting as it was");
    }
}
