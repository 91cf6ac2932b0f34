//! Finding the file: removed, renamed, linked, mounted twice, or on a file system where stat(2) has
//! other numbers than the kernel's lock table.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdlock::inspect::{self, LockedFile};
use holdlock_conformance::{Actor, Scratch, has, queue, skipped, sys, watchdog};

use crate::tools::{LOOK, STRANGER, can, holder_pids, look, one_file, one_holder, said, stranger};

#[test]
fn a_removed_file_and_the_new_one_at_its_path_are_both_shown() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    for order in ["flock 0 ex", "ofd 0 ex", "posix 0 ex"] {
        let mut old = stranger(&[&path]);
        old.must(order);
        fs::remove_file(&path).expect("removed");
        // The path names nothing.
        let file = one_file(&path);
        assert!(file.removed, "{order}");
        assert_eq!(file.path.as_deref(), Some(&*path));
        assert_eq!(holder_pids(&file), [old.pid()]);
        // The path names another file.
        let mut new = stranger(&[&path]);
        assert!(one_file(&path).removed);
        new.must(order);
        let files = look(&path).files;
        assert_eq!(files.len(), 2, "{files:#?}");
        assert_ne!(files[0].file_id, files[1].file_id);
        for (file, removed, holder) in [(&files[0], false, &new), (&files[1], true, &old)] {
            assert_eq!(file.removed, removed, "{order}");
            assert_eq!(file.path.as_deref(), Some(&*path));
            assert_eq!(holder_pids(file), [holder.pid()]);
        }
    }
}

#[test]
fn a_removed_file_is_found_among_many_existing_files() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let others: Vec<PathBuf> = (0..40).map(|n| scratch.path(&format!("{n}"))).collect();
    let all: Vec<&Path> = others.iter().map(PathBuf::as_path).collect();
    let mut neighbour = stranger(&all);
    for number in 0..others.len() {
        neighbour.must(&format!("flock {number} ex"));
    }
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    assert!(!one_file(&path).removed);
    fs::remove_file(&path).expect("removed");
    let file = one_file(&path);
    assert!(file.removed);
    assert_eq!(holder_pids(&file), [holder.pid()]);
}

#[test]
fn a_file_may_be_called_deleted() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (plain, odd) = (scratch.path("x"), scratch.path("x (deleted)"));
    let mut holder = stranger(&[&odd]);
    holder.must("flock 0 ex");
    let file = one_file(&odd);
    assert!(!file.removed);
    assert_eq!(file.path.as_deref(), Some(&*odd));
    assert_eq!(look(&plain).files, [], "not the removed file x");
    fs::remove_file(&odd).expect("removed");
    let file = one_file(&odd);
    assert!(file.removed);
    assert_eq!(file.path.as_deref(), Some(&*odd));
}

#[test]
fn a_renamed_file_is_found_where_it_is() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (path, after) = (scratch.lock(), scratch.path("b.lock"));
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    fs::rename(&path, &after).expect("renamed");
    let file = one_file(&after);
    assert!(!file.removed);
    assert_eq!(file.path.as_deref(), Some(&*after));
    assert_eq!(holder_pids(&file), [holder.pid()]);
    assert_eq!(look(&path).files, []);
}

#[test]
fn two_names_of_a_file_are_one_lock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (path, link, soft) = (scratch.lock(), scratch.path("link"), scratch.path("soft"));
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    fs::hard_link(&path, &link).expect("linked");
    std::os::unix::fs::symlink(&link, &soft).expect("linked");
    let file = one_file(&path);
    for other in [&link, &soft] {
        let other = one_file(other);
        assert_eq!(other.file_id, file.file_id);
        assert_eq!(other.path, file.path, "the one by which it was opened");
        assert_eq!(holder_pids(&other), [holder.pid()]);
    }
    // With one of its names left, it is not removed.
    fs::remove_file(&path).expect("removed");
    let file = one_file(&link);
    assert!(!file.removed, "{file:?}");
}

/// A stranger in a mount namespace of its own, after these commands; `$1` is the directory. `None`
/// if that is not allowed.
fn apart(directory: &Path, prepare: &str, files: &[&Path]) -> Option<Actor> {
    if !can(&["unshare", "--mount"]) {
        return None;
    }
    let trial = "mount -t tmpfs none \"$1\" 2> /dev/null || exit 9";
    let allowed = Command::new("unshare")
        .args(["--mount", "sh", "-c", trial, "sh"])
        .arg(directory)
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        skipped("mounting is not allowed here");
        return None;
    }
    let script = format!("set -e; cd \"$1\"; {prepare}; cd /; shift; exec \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(directory)
        .arg(STRANGER)
        .args(files);
    Some(Actor::from_command(command))
}

/// `look` in the mount namespace of a process.
fn look_beside(process: &Actor, path: &Path) -> Vec<String> {
    let target = process.pid().to_string();
    let mut command = Command::new("nsenter");
    command
        .args(["--mount", "--target", &target, LOOK])
        .arg(path);
    said(&mut command)
}

/// The file that a process holds, among all files of the host.
fn file_of(pid: u32) -> LockedFile {
    let mut found = None;
    queue::eventually("the lock is seen", || {
        let snapshot = inspect::host().expect("looks");
        found = snapshot
            .files
            .into_iter()
            .find(|file| holder_pids(file).contains(&pid));
        found.is_some()
    });
    found.expect("found")
}

#[test]
fn a_bind_mount_is_the_same_file() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (real, bound) = (scratch.path("real"), scratch.path("bound"));
    for directory in [&real, &bound] {
        fs::create_dir(directory).expect("made");
    }
    let (path, other) = (real.join("a.lock"), bound.join("a.lock"));
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    let mount = "mount --bind real bound";
    let Some(mut beside) = apart(&scratch.path(""), mount, &[&other]) else {
        return;
    };
    let held = format!(
        "held flock exclusive 0-EOF taker={0} by {0}:3",
        holder.pid()
    );
    let seen = beside.ask("look 0");
    assert!(seen.contains(&held), "{seen}");
    // By the path of the other mount, the holder is seen from here.
    holder.must("flock 0 un");
    beside.must("flock 0 ex");
    let file = one_file(&path);
    assert_eq!(holder_pids(&file), [beside.pid()]);
    assert!(file.elsewhere, "that path is not one of ours");
    assert_eq!(file.path.as_deref(), Some(&*other));
    // If a process of our own namespace has it open, too, its path is shown instead.
    beside.must("flock 0 sh");
    holder.must("flock 0 sh");
    let file = one_file(&path);
    assert!(!file.elsewhere);
    assert_eq!(file.path.as_deref(), Some(&*path));
}

#[test]
fn a_file_of_another_mount_namespace_is_shown_as_elsewhere() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let Some(mut holder) = apart(&scratch.path(""), "mount -t tmpfs none .", &[&path]) else {
        return;
    };
    holder.must("flock 0 ex");
    assert!(!path.exists(), "not in our namespace");
    assert_eq!(look(&path).files, []);
    let file = file_of(holder.pid());
    assert!(file.elsewhere && !file.removed);
    assert_eq!(file.path.as_deref(), Some(&*path));
    // Ours is another file.
    let mut ours = stranger(&[&path]);
    ours.must("flock 0 ex");
    let seen = one_file(&path);
    assert!(!seen.elsewhere);
    assert_eq!(one_holder(&seen).process.pid, ours.pid());
}

/// Asks in all ways for a holder whose file has other numbers in stat(2) than in /proc/locks.
fn is_found_all_the_same(mut holder: Actor, path: &Path) {
    let pid = holder.pid();
    for (order, kind) in [
        ("flock 0 ex", "flock"),
        ("ofd 0 ex", "ofd"),
        ("posix 0 ex", "posix"),
    ] {
        holder.must(order);
        let seen = look_beside(&holder, path);
        let file = format!("file {path:?}");
        assert_eq!(seen.first(), Some(&file), "{order}: {seen:?}");
        let held = format!("held {kind} exclusive 0-EOF ");
        let by = format!(" by {pid}:3 ");
        let is_it = |line: &String| line.starts_with(&held) && line.contains(&by);
        assert!(seen.iter().any(is_it), "{order}: {seen:?}");
        assert_eq!(holder.ask("holders 0"), pid.to_string(), "{order}");
        if kind == "flock" {
            let error = holder.ask("try 0");
            assert!(error.contains(&format!("pid {pid} ")), "{error}");
        }
        let mode = order.replace("ex", "un");
        holder.must(&mode);
    }
    // Removed, and still held.
    holder.must("flock 0 ex");
    let target = pid.to_string();
    let removed = Command::new("nsenter")
        .args(["--mount", "--target", &target, "rm"])
        .arg(path)
        .status();
    assert!(removed.expect("nsenter").success());
    let seen = look_beside(&holder, path);
    assert!(seen.contains(&"removed".to_owned()), "{seen:?}");
    assert!(
        seen.iter()
            .any(|line| line.contains(&format!("by {pid}:3 "))),
        "{seen:?}"
    );
}

#[test]
fn a_holder_on_an_overlay_is_found() {
    let _dog = watchdog::watch(60);
    // The upper directory of an overlay cannot be on an overlay.
    let scratch = Scratch::in_memory();
    let path = scratch.path("all/a.lock");
    for directory in ["lower", "upper", "work", "all"] {
        fs::create_dir(scratch.path(directory)).expect("made");
    }
    // One file from below, one from above, on two file systems.
    let mount = "mount -t tmpfs none lower; : > lower/a.lock; \
        mount -t overlay -o xino=off,lowerdir=lower,upperdir=upper,workdir=work none all";
    let trial = format!("set -e; cd \"$1\"; {mount}");
    let works = Command::new("unshare")
        .args(["--mount", "sh", "-c", &trial, "sh"])
        .arg(scratch.path(""))
        .output();
    if !works.is_ok_and(|output| output.status.success()) {
        return skipped("an overlay cannot be mounted here");
    }
    for name in ["a.lock", "b.lock"] {
        let path = path.with_file_name(name);
        if let Some(holder) = apart(&scratch.path(""), mount, &[&path]) {
            is_found_all_the_same(holder, &path);
        }
    }
}

#[test]
fn a_holder_on_btrfs_is_found() {
    if !has("mkfs.btrfs") {
        return;
    }
    if !sys::is_root() {
        return skipped("only root may mount");
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.path("mounted/a.lock");
    fs::create_dir(scratch.path("mounted")).expect("made");
    let mount =
        "truncate -s 128M image; mkfs.btrfs -q image > /dev/null; mount -o loop image mounted";
    let trial = format!("set -e; cd \"$1\"; {mount}; umount mounted; rm image");
    let works = Command::new("unshare")
        .args(["--mount", "sh", "-c", &trial, "sh"])
        .arg(scratch.path(""))
        .output();
    if !works.is_ok_and(|output| output.status.success()) {
        return skipped("btrfs cannot be mounted here");
    }
    // In a subvolume, whose device number stat(2) makes up.
    if let Some(holder) = apart(&scratch.path(""), mount, &[&path]) {
        is_found_all_the_same(holder, &path);
    }
}
