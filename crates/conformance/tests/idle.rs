//! A lock that nobody uses keeps no file open, and a lock in constant use does not open it anew.

use std::process::{Command, Stdio};

use holdlock_conformance::{Scratch, can_trace, has, skipped, watchdog};

const IDLER: &str = env!("CARGO_BIN_EXE_idler");

#[track_caller]
fn succeeds(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status().expect("runs");
    assert!(status.success(), "{command:?}: {status}");
}

/// Runs one scene of `idler`.
#[track_caller]
fn scene(name: &str) {
    let _dog = watchdog::watch(100);
    let scratch = Scratch::new();
    succeeds(Command::new(IDLER).arg(name).arg(scratch.directory()));
}

#[test]
fn thousands_of_released_locks_take_no_descriptors() {
    scene("many");
}

#[test]
fn no_request_leaves_the_file_open() {
    scene("after");
}

#[test]
fn the_file_of_a_held_lock_stays_and_that_of_an_idle_one_is_closed() {
    scene("held");
}

#[test]
fn a_child_keeps_no_file_of_a_hot_lock() {
    scene("forked");
}

#[test]
fn a_lock_in_constant_use_does_not_open_its_file_each_time() {
    let _dog = watchdog::watch(100);
    if !can_trace() {
        return;
    }
    for _ in 0..3 {
        let scratch = Scratch::new();
        let trace = scratch.path("trace");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-e", "trace=openat,flock", "-o"])
            .arg(&trace);
        command.arg(IDLER).arg("cycles").arg(scratch.directory());
        let output = command.output().expect("runs");
        assert!(output.status.success(), "{output:?}");
        let trace = std::fs::read_to_string(trace).expect("a trace");
        let calls = |what: &str| trace.lines().filter(|line| line.contains(what)).count();
        assert_eq!(calls("flock("), 600);
        let printed = String::from_utf8_lossy(&output.stdout);
        let pauses: usize = printed.trim().parse().expect("a number");
        // After each pause the lock may be idle, and is opened until it is in constant use again.
        if pauses <= 10 {
            let opens = calls("/hot.lock");
            let most = 40 + 20 * pauses;
            assert!((1..most).contains(&opens), "{opens} opens, {pauses} pauses");
            return;
        }
    }
    skipped("the machine is too slow");
}

#[test]
fn an_idle_lock_keeps_no_file_system_mounted() {
    let _dog = watchdog::watch(100);
    if !has("unshare") {
        return;
    }
    let scratch = Scratch::new();
    let mounted = scratch.path("mounted");
    std::fs::create_dir(&mounted).expect("made");
    let run = |script: &str, scene: &str| {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command.arg(&mounted).arg(IDLER).arg(scene).arg(&mounted);
        command
    };
    let trial = run("mount -t tmpfs none \"$1\" 2> /dev/null", "").output();
    if !trial.is_ok_and(|trial| trial.status.success()) {
        return skipped("mounting is not allowed here");
    }
    let script = "set -e; mount -t tmpfs none \"$1\"; shift; exec \"$@\"";
    succeeds(&mut run(script, "unmount"));
    succeeds(&mut run(script, "unmount-hot"));
}
