//! What one user sees of the locks of another user.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use holdlock_conformance::{Scratch, in_container, queue, skipped, sys, watchdog};

use crate::tools::{LOOK, Orphan, said, stranger};

const NOBODY: u32 = 65534;

/// `look` as a user without privileges. `None` if the test does not run as root.
fn as_nobody(scratch: &Scratch) -> Option<Command> {
    if !sys::is_root() {
        skipped("only root can become another user");
        return None;
    }
    // The build directory may be closed to others.
    let program = scratch.path("look");
    let copied = Command::new("cp").arg(LOOK).arg(&program).status();
    assert!(copied.expect("cp").success());
    for path in [&*program, program.parent().expect("a directory")] {
        open_to_all(path);
    }
    let by_nobody = |program: &Path| {
        let mut command = Command::new(program);
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    let sees = by_nobody(Path::new("test"))
        .args(["-e", "/proc/1"])
        .status();
    if !sees.expect("test").success() {
        skipped("this machine hides the processes of other users (hidepid)");
        return None;
    }
    Some(by_nobody(&program))
}

fn open_to_all(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[test]
fn another_users_flock_is_seen_with_its_process() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let Some(mut look) = as_nobody(&scratch) else {
        return;
    };
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    let mut waiter = stranger(&[&path]);
    waiter.must_block("flock 0 ex", &path);
    let seen = said(look.arg(&path));
    let pid = holder.pid();
    let held = format!("held flock exclusive 0-EOF taker={pid} by {pid}:? (");
    assert!(
        seen.iter()
            .any(|line| line.starts_with(&held) && line.contains("stranger")),
        "{seen:?}"
    );
    let waits = format!("waits flock exclusive 0-EOF turn=1 by {}", waiter.pid());
    assert!(seen.contains(&waits), "{seen:?}");
    // Its descriptors cannot be read, but nothing that matters is unseen because of that.
    assert_eq!(seen[0], "file ?");
    assert!(
        !seen.iter().any(|line| line.starts_with("unseen Proc")),
        "{seen:?}"
    );
}

/// The slot has no holder then, but it is not a lock of another family.
#[test]
fn another_users_slot_is_not_taken_for_a_mistake() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let Some(mut look) = as_nobody(&scratch) else {
        return;
    };
    let semaphore = holdlock::Semaphore::open(&path, 2).expect("opens");
    let _slot = semaphore.lock().expect("a slot");
    let seen = said(look.arg(&path));
    let has = |begin: &str| seen.iter().any(|line| line.starts_with(begin));
    assert!(has("held flock shared") && has("held ofd"), "{seen:?}");
    assert!(!has("mixes"), "{seen:?}");
}

#[test]
fn another_users_lock_without_a_name_is_shown_as_unseen() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let Some(mut look) = as_nobody(&scratch) else {
        return;
    };
    look.arg(&path);
    let mut holder = stranger(&[&path]);
    holder.must("ofd 0 ex");
    let seen = said(&mut look);
    assert!(
        seen.contains(&"held ofd exclusive 0-EOF taker=? by".to_owned()),
        "{seen:?}"
    );
    let unseen = |seen: &[String]| {
        seen.iter()
            .any(|line| line.starts_with("unseen Processes("))
    };
    assert!(unseen(&seen), "{seen:?}");
    // The same for its waiters.
    let mut waiter = stranger(&[&path]);
    waiter.tell("ofd 0 ex");
    queue::eventually("it queues", || queue::length(&path) == 1);
    let seen = said(&mut look);
    assert!(
        seen.contains(&"waits ofd exclusive 0-EOF turn=1 by ?".to_owned()),
        "{seen:?}"
    );
    assert!(unseen(&seen), "{seen:?}");
}

#[test]
fn another_users_child_that_has_inherited_is_shown_as_unseen() {
    if in_container() {
        return skipped("in a container, locks whose taker has ended are not listed");
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let Some(mut look) = as_nobody(&scratch) else {
        return;
    };
    let mut taker = stranger(&[&path]);
    taker.must("flock 0 ex");
    let _child = Orphan::kept_by(&mut taker);
    let pid = taker.pid();
    taker.kill();
    let seen = said(look.arg(&path));
    let held = format!("held flock exclusive 0-EOF taker={pid} by");
    assert!(seen.contains(&held), "nobody is named: {seen:?}");
    assert!(
        seen.iter()
            .any(|line| line.starts_with("unseen Processes(")),
        "{seen:?}"
    );
}
