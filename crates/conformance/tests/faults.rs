//! Rare answers of the kernel, which strace injects.

use std::process::Command;

use holdlock_conformance::{Actor, Scratch, can_trace, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

/// The actor under strace, which answers its system calls as `faults` say.
fn with_faults(scratch: &Scratch, faults: &[&str]) -> Option<Actor> {
    with_faults_and(scratch, faults, &[])
}

fn with_faults_and(scratch: &Scratch, faults: &[&str], options: &[&str]) -> Option<Actor> {
    let faults: Vec<String> = faults.iter().map(|it| format!("--inject={it}")).collect();
    let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
    with_strace(scratch, &faults, options)
}

fn with_strace(scratch: &Scratch, words: &[&str], options: &[&str]) -> Option<Actor> {
    if !can_trace() {
        return None;
    }
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(scratch.path("trace"));
    command
        .args(words)
        .arg(ACTOR)
        .arg(scratch.lock())
        .args(options);
    Some(Actor::from_command(command))
}

#[test]
fn a_file_system_that_cannot_lock_is_a_loud_error_with_its_name() {
    let _dog = watchdog::watch(60);
    for errno in ["ENOLCK", "ENOSYS", "EOPNOTSUPP"] {
        let scratch = Scratch::new();
        let fault = format!("flock:error={errno}");
        let Some(mut actor) = with_faults(&scratch, &[&fault]) else {
            return;
        };
        for order in ["try", "lock", "for 100", "try-shared"] {
            let message = actor.ask(order);
            assert!(message.starts_with("Unsupported"), "{errno}: {message}");
            assert!(message.contains("file system ("), "{message}");
            assert!(message.contains("local file system"), "{message}");
        }
    }
}

#[test]
fn nfs_that_wants_the_file_open_for_writing_gets_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let Some(mut actor) = with_faults(&scratch, &["flock:error=EBADF:when=1"]) else {
        return;
    };
    actor.must("lock");
    actor.must("release");
    drop(actor);
    let trace = std::fs::read_to_string(scratch.path("trace")).expect("a trace");
    assert!(trace.contains("O_RDWR"), "{trace}");
}

#[test]
fn an_interrupted_call_is_no_error() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let Some(mut actor) = with_faults(&scratch, &["flock:error=EINTR:when=1..5"]) else {
        return;
    };
    actor.must("try");
    actor.must("release");
    actor.must("lock");
    actor.must("release");
}

#[test]
fn any_other_failure_names_the_call_and_leaves_the_lock_usable() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let Some(mut actor) = with_faults(&scratch, &["flock:error=EIO:when=1"]) else {
        return;
    };
    let message = actor.ask("lock");
    assert!(message.starts_with("System"), "{message}");
    assert!(message.contains("locking (exclusive) failed"), "{message}");
    actor.must("lock");
    actor.must("release");
}

#[test]
fn a_path_that_is_never_the_locked_file_does_not_prolong_a_request() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    std::fs::write(scratch.lock(), "").expect("written");
    // The first stat is of the opened file, the next one of the file at the path.
    let path = format!("--trace-path={}", scratch.lock().display());
    let fault = "--inject=newfstatat:error=ENOENT:when=2+2";
    let Some(mut actor) = with_strace(&scratch, &[&path, fault], &[]) else {
        return;
    };
    let message = actor.ask("for 100");
    assert!(message.starts_with("TimedOut"), "{message}");
    let message = actor.ask("try");
    assert!(message.starts_with("WouldBlock"), "{message}");
    drop(actor);
    let trace = std::fs::read_to_string(scratch.path("trace")).expect("a trace");
    assert!(trace.contains("(INJECTED)"), "{trace}");
}

#[test]
fn an_unlock_that_fails_is_reported_and_closing_frees_the_lock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let Some(mut actor) = with_faults(&scratch, &["flock:error=EIO:when=2"]) else {
        return;
    };
    actor.must("lock");
    let message = actor.ask("release");
    assert!(message.contains("unlocking failed"), "{message}");
    let mut other = Actor::start(ACTOR, &scratch.lock());
    other.must("try");
    other.must("release");
    actor.must("lock");
}

#[test]
fn a_timer_that_the_kernel_does_not_grant_is_replaced_by_a_thread() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let Some(mut actor) = with_faults(&scratch, &["timer_create:error=EAGAIN"]) else {
        return;
    };
    let mut holder = Actor::holding(ACTOR, &scratch.lock());
    assert!(actor.ask("for 50").starts_with("TimedOut"));
    holder.must("release");
    holder.must("lock");
    actor.tell("for 60000");
    holder.must("release");
    assert_eq!(actor.answer(), "ok");
}

#[test]
fn a_kernel_without_the_wiped_page_still_notices_a_fork() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    if with_faults(&scratch, &[]).is_none() {
        return;
    }
    let status = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "inject=madvise:error=EINVAL"])
        .args([env!("CARGO_BIN_EXE_forker"), "drop"])
        .arg(scratch.lock())
        .status();
    assert!(status.expect("strace").success());
}

#[test]
fn a_failed_deletion_is_reported_by_release_and_the_lock_is_free() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let fault = "unlink,unlinkat:error=EACCES";
    let Some(mut actor) = with_faults_and(&scratch, &[fault], &["delete"]) else {
        return;
    };
    actor.must("lock");
    let message = actor.ask("release");
    assert!(message.contains("deleting the lock file"), "{message}");
    Actor::start(ACTOR, &scratch.lock()).must("try");
}
