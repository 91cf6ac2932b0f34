//! Inspection from inside and outside of a PID namespace, such as that of a container.

use std::process::Command;

use holdlock_conformance::{Actor, Scratch, has, in_container, queue, skipped, watchdog};

use crate::tools::{LOOK, STRANGER, can, holder_pids, one_file, said, stranger};

const INSIDE: [&str; 5] = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

fn inside() -> Command {
    let mut command = Command::new(INSIDE[0]);
    command.args(&INSIDE[1..]);
    command
}

#[test]
fn from_inside_what_is_held_outside_is_shown_as_unseen() {
    if !can(&INSIDE) {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    let seen = said(inside().arg(LOOK).arg(&path));
    assert_eq!(seen, ["unseen OtherNamespaces"]);
    // Outside nothing is unseen.
    if !in_container() {
        assert_eq!(crate::tools::look(&path).unseen, []);
    }
}

#[test]
fn from_inside_what_is_held_inside_is_seen() {
    if !can(&INSIDE) {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut command = inside();
    command.arg(STRANGER).arg(&path);
    let mut holder = Actor::from_command(command);
    for (order, kind, taker) in [("flock 0 ex", "flock", "1"), ("ofd 0 ex", "ofd", "?")] {
        holder.must(order);
        let seen = holder.ask("look 0");
        let held = format!("held {kind} exclusive 0-EOF taker={taker} by 1:3 (");
        assert!(seen.contains(&held), "{seen}");
        assert!(seen.contains("unseen OtherNamespaces"), "{seen}");
        holder.must(&order.replace("ex", "un"));
    }
}

#[test]
fn from_outside_what_is_held_inside_is_seen() {
    if !can(&INSIDE) {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut command = inside();
    command.arg(STRANGER).arg(&path);
    let mut holder = Actor::from_command(command);
    for order in ["flock 0 ex", "ofd 0 ex", "posix 0 ex"] {
        holder.must(order);
        let file = one_file(&path);
        let process = file.holders().first().copied().cloned().expect("a holder");
        assert_eq!(
            process.parent,
            Some(holder.pid()),
            "in our numbers: {process:?}"
        );
        assert!(
            process
                .command
                .is_some_and(|command| command.starts_with(STRANGER))
        );
        assert!(!file.locks[0].is_inherited());
        assert_eq!(file.path.as_deref(), Some(&*path));
        assert!(file.elsewhere, "mount-proc makes a mount namespace, too");
        holder.must(&order.replace("ex", "un"));
    }
}

#[test]
fn from_inside_a_lock_taken_outside_and_inherited_is_seen() {
    if !can(&INSIDE) || !has("flock") {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    // flock(1) takes the lock for the shell and ends; the program that the shell becomes has the
    // descriptor.
    let script = r#"exec 9> "$1"; flock 9; path=$1; shift; exec "$@" "$path""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&path);
    command.args(INSIDE).arg(STRANGER);
    let mut holder = Actor::from_command(command);
    let seen = holder.ask("look 0");
    assert!(
        seen.contains("held flock exclusive 0-EOF taker=? by 1:9 ("),
        "{seen}"
    );
    let file = format!("file {path:?} | ");
    assert!(seen.starts_with(&file), "{seen}");
    // From outside both processes that have it are seen.
    let file = one_file(&path);
    assert!(file.locks[0].is_inherited());
    assert!(holder_pids(&file).contains(&holder.pid()), "unshare itself");
    assert_eq!(file.holders().len(), 2);
}

#[test]
fn from_inside_the_holder_of_a_removed_file_is_found_although_its_taker_has_ended() {
    if !can(&INSIDE) || !has("flock") {
        return;
    }
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    // flock(1) takes the lock for the shell and ends: inside, the kernel no longer lists the lock.
    let script = r#"exec 9> "$1"; flock 9; rm "$1"; "$2" "$1" 9>&-; exit"#;
    let mut command = inside();
    command.args(["sh", "-c", script, "sh"]).arg(&path);
    command.arg(env!("CARGO_BIN_EXE_holdlock-actor"));
    let mut newcomer = Actor::from_command(command);
    // As long as the holder runs, a try finds the lock only taken.
    let mut message = String::new();
    queue::eventually("the holder sleeps", || {
        message = newcomer.ask("try");
        !message.starts_with("WouldBlock")
    });
    assert!(message.starts_with("RemovedWhileHeld"), "{message}");
    assert!(message.contains("pid 1 "), "{message}");
}

/// A holder may end while it is looked at. strace stands for that: the namespace cannot be read.
#[test]
fn a_holder_that_has_just_ended_was_not_in_another_mount_namespace() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = stranger(&[&path]);
    holder.must("flock 0 ex");
    let trace = scratch.path("trace");
    let namespace = format!("/proc/{}/ns/mnt", holder.pid());
    let strace = || {
        let mut command = Command::new("strace");
        command.args(["-f", "-P", &namespace, "-o"]).arg(&trace);
        command.args(["-e", "inject=readlink,readlinkat:error=ENOENT"]);
        command
    };
    let works = strace().arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        return skipped("needs strace and the right to trace");
    }
    let seen = said(strace().arg(LOOK).arg(&path));
    let traced = std::fs::read_to_string(&trace).expect("a trace");
    assert!(traced.contains("INJECTED"), "{traced}");
    assert_eq!(seen[0], format!("file {path:?}"));
    assert!(!seen.contains(&"elsewhere".to_owned()), "{seen:?}");
}
