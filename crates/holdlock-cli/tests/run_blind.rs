//! `holdlock run` and `who` where /proc cannot be read, or has the numbers of another PID
//! namespace.

mod support;

use std::process::Command;

use support::peers::skipped;
use support::{Finished, Place, Running};

/// A command that runs its arguments without a mounted /proc.
const NO_PROC: &[&str] = &[
    "unshare",
    "--mount",
    "sh",
    "-c",
    "umount -l /proc && exec \"$@\"",
    "sh",
];
/// A command that runs its arguments in a PID namespace of their own, with the host's /proc.
const FOREIGN_PROC: &[&str] = &["unshare", "--pid", "--fork", "--kill-child"];

/// `sh -c script` in such an environment; None if it cannot be made.
fn blind(place: &Place, wrapper: &[&str], script: &str) -> Option<Command> {
    let mut tried = Command::new(wrapper[0]);
    let tried = tried.args(&wrapper[1..]).arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        skipped("needs root's rights and unshare(1)");
        return None;
    }
    let mut command = place.command(wrapper[0]);
    command.args(&wrapper[1..]).args(["sh", "-c", script]);
    Some(command)
}

/// The results of the script without /proc, and with the /proc of another namespace.
fn in_both(script: &str) -> Vec<(Place, Finished)> {
    let run = |wrapper| {
        let place = Place::new();
        let finished = Running::start(blind(&place, wrapper, script)?).finish();
        Some((place, finished))
    };
    [NO_PROC, FOREIGN_PROC]
        .into_iter()
        .filter_map(run)
        .collect()
}

#[test]
fn nobody_joins_what_cannot_be_seen() {
    // The command is killed, and leaves a process without the lock at work.
    let script = r#"
        job='until test -e stop; do sleep 0.02; done & echo $! >left; kill -KILL $$'
        "$HOLDLOCK" run --close L sh -c "$job" 2>said &
        until test -s left && test -s said; do sleep 0.02; done
        "$HOLDLOCK" run -n L true
        echo $?
        touch stop
        wait $!
        echo $?
        "$HOLDLOCK" run -n L true
        echo $?
    "#;
    for (place, finished) in in_both(script) {
        assert_eq!(finished.text(), "75\n137\n0\n", "{finished:?}");
        let said = std::fs::read_to_string(place.join("said")).unwrap();
        assert!(said.contains("cannot see in /proc"), "{said}");
    }
}

#[test]
fn a_time_limit_ends_the_command_and_no_stranger() {
    // As many strangers as there are small numbers.
    let script = r#"
        for number in 1 2 3 4 5 6 7 8; do sleep 1000 & strangers="$strangers $!"; done
        "$HOLDLOCK" run --max-hold 100ms --kill-after 100ms L \
            sh -c 'trap "" TERM; until test -e stop; do sleep 0.02; done'
        echo $?
        kill -0 $strangers && kill $strangers && echo alive
    "#;
    for (_place, finished) in in_both(script) {
        assert_eq!(finished.text(), "124\nalive\n", "{finished:?}");
    }
}

#[test]
fn a_signal_never_goes_to_another_process_with_the_same_number() {
    let place = Place::new();
    let script = r#"
        "$HOLDLOCK" run L sh -c 'echo >held; until test -e stop; do sleep 0.02; done' &
        until test -e held; do sleep 0.02; done
        "$HOLDLOCK" who --yes --signal KILL L 2>said >/dev/null
        touch stop
        wait $!
        echo $?
    "#;
    let Some(command) = blind(&place, FOREIGN_PROC, script) else {
        return;
    };
    let finished = Running::start(command).finish();
    assert_eq!(finished.text(), "0\n", "{finished:?}");
    let said = std::fs::read_to_string(place.join("said")).unwrap();
    assert!(said.contains("another PID namespace"), "{said}");
}

/// A command that runs its arguments in a PID namespace of their own, with the /proc of that
/// namespace.
const OWN_PROC: &[&str] = &["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];

#[test]
fn a_lock_held_outside_the_pid_namespace_is_not_said_to_be_free() {
    for mode in [&["L"][..], &["-s", "L"]] {
        let place = Place::new();
        let holder = place.hold(mode);
        let told = |script: &str| {
            let finished = Running::start(blind(&place, OWN_PROC, script)?).finish();
            let outside = "held by a process outside this PID namespace";
            let told = finished.stderr.matches(outside).count();
            Some((finished, told))
        };
        let script = r#"
            "$HOLDLOCK" who -q L; echo $?
            "$HOLDLOCK" who L; echo $?
            "$HOLDLOCK" who --wait=10ms -q L; echo $?
            "$HOLDLOCK" run -n L true; echo $?
        "#;
        let Some((finished, times)) = told(script) else {
            return;
        };
        assert_eq!(finished.text(), "2\n2\n75\n75\n", "{finished:?}");
        assert_eq!(times, 3, "{finished:?}");
        // On a slow machine the wait is over before it is reported.
        let is_reported = ["3s", "10s", "40s"].iter().any(|limit| {
            let script = format!(r#""$HOLDLOCK" run --progress always -w {limit} L true; echo $?"#);
            let (finished, times) = told(&script).expect("as before");
            assert_eq!(finished.text(), "75\n", "{finished:?}");
            times == 2
        });
        assert!(is_reported);
        holder.finish();
        let script = r#"
            "$HOLDLOCK" who L; echo $?
            "$HOLDLOCK" run -n L true; echo $?
        "#;
        let command = blind(&place, OWN_PROC, script).expect("as before");
        let finished = Running::start(command).finish();
        assert!(finished.text().ends_with(": free\n1\n0\n"), "{finished:?}");
        assert_eq!(finished.stderr, "");
    }
}

#[test]
fn without_proc_the_message_names_proc() {
    let place = Place::new();
    let script = r#"
        "$HOLDLOCK" who -q L; echo $?
        "$HOLDLOCK" wait L; echo $?
    "#;
    let Some(command) = blind(&place, NO_PROC, script) else {
        return;
    };
    let finished = Running::start(command).finish();
    assert_eq!(finished.text(), "2\n71\n", "{finished:?}");
    let named = finished.stderr.matches("/proc is not mounted here");
    assert_eq!(named.count(), 2, "{finished:?}");
}

#[test]
fn a_command_may_be_the_first_of_a_new_namespace() {
    let place = Place::new();
    let script = r#"unshare --pid "$HOLDLOCK" run L sh -c 'exit 3'; echo $?"#;
    let Some(command) = blind(&place, FOREIGN_PROC, script) else {
        return;
    };
    let finished = Running::start(command).finish();
    assert_eq!(finished.text(), "3\n", "{finished:?}");
}

#[test]
fn a_run_that_succeeded_is_not_repeated_where_proc_is_missing() {
    let script = r#"
        for run in 1 2; do "$HOLDLOCK" run --at-most-every 1h L echo ran; done"#;
    for (_place, finished) in in_both(script) {
        assert_eq!(finished.text(), "ran\n", "{finished:?}");
    }
}
