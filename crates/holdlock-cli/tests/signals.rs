//! Signals: the processes that get them, and the signal settings with which the command starts.

mod support;

use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;
use support::{Place, Running, wait_for};

#[test]
fn every_signal_sent_to_holdlock_reaches_the_command() {
    let place = Place::new();
    for (signal, name) in [
        (Signal::INT, "INT"),
        (Signal::TERM, "TERM"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::CONT, "CONT"),
        (Signal::TSTP, "TSTP"),
        (Signal::WINCH, "WINCH"),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.02; done"
        );
        let mut running = Running::start(place.holdlock(["run", "L", "sh", "-c", &script]));
        running.expect_line("ready");
        running.signal(signal);
        let finished = running.finish();
        assert_eq!(
            (finished.code(), finished.text()),
            (9, format!("got {name}\n").as_str())
        );
    }
}

#[test]
fn the_lock_is_held_until_the_command_has_ended() {
    let place = Place::new();
    let script = "trap '' INT; trap 'read line; exit 5' TERM; echo ready; \
                  while :; do sleep 0.02; done";
    let mut running = Running::start_with_stdin(place.holdlock(["run", "L", "sh", "-c", script]));
    running.expect_line("ready");
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    assert_eq!(
        place.run(["run", "-n", "L", "true"]).code(),
        75,
        "still holding"
    );
    let finished = running.finish();
    assert_eq!((finished.code(), finished.text()), (5, ""));
}

#[test]
fn a_command_whose_holdlock_is_killed_gets_term() {
    let place = Place::new();
    let script = "trap 'echo told; exit 3' TERM; echo $$; while :; do sleep 0.02; done";
    let mut running = Running::start(place.holdlock(["run", "L", "sh", "-c", script]));
    let pid: u64 = running.read_line().parse().unwrap();
    running.signal(Signal::KILL);
    running.expect_line("told");
    wait_for("the command to end", || support::is_gone(pid).then_some(()));
}

#[test]
fn a_command_without_a_trap_dies_of_the_forwarded_signal() {
    let place = Place::new();
    let mut running =
        Running::start(place.holdlock(["run", "L", "sh", "-c", "echo ready; exec sleep 1000"]));
    running.expect_line("ready");
    running.signal(Signal::TERM);
    assert_eq!(running.finish().code(), 128 + 15);
}

#[test]
fn holdlock_dies_of_the_keyboard_signal_that_ended_the_command() {
    let place = Place::new();
    for signal in [Signal::INT, Signal::QUIT] {
        let script = format!("kill -{} $$", signal.as_raw());
        let finished = place.run(["run", "L", "sh", "-c", &script]);
        assert_eq!(finished.signal(), Some(signal.as_raw()), "{finished:?}");
        assert!(
            !finished.status.core_dumped(),
            "that is the command's affair"
        );
        assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
    }
}

#[test]
fn a_waiting_holdlock_dies_of_a_signal_at_once() {
    let place = Place::new();
    let _holder = place.hold(&["L"]);
    for signal in [Signal::INT, Signal::TERM] {
        let waiter = Running::start(place.holdlock(["run", "L", "echo", "ran"]));
        waiter.expect_waiting();
        waiter.signal(signal);
        let finished = waiter.finish();
        assert_eq!(
            (finished.signal(), finished.text()),
            (Some(signal.as_raw()), "")
        );
    }
}

#[test]
fn a_killed_holdlock_releases() {
    let place = Place::new();
    let mut holder = place.hold(&["L"]);
    let waiter = Running::start(place.holdlock(["run", "L", "echo", "ran"]));
    waiter.expect_waiting();
    holder.signal(Signal::KILL);
    assert_eq!(waiter.finish().text(), "ran\n");
    holder.let_go();
}

/// Blocked and ignored signals as a program started by `prefix` sees them. The two
/// that the C library keeps for itself say nothing about us.
fn dispositions(place: &Place, prefix: &str) -> Vec<u64> {
    let script = format!("{prefix} grep -E '^Sig(Blk|Ign)' /proc/self/status");
    let finished = Running::start(place.shell(&script)).finish();
    let lines = finished.text().lines();
    let masks: Vec<u64> = lines
        .map(|line| u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap() & !(3 << 31))
        .collect();
    assert_eq!(masks.len(), 2, "{finished:?}");
    masks
}

#[test]
fn the_command_starts_with_the_signals_that_holdlock_was_started_with() {
    let place = Place::new();
    for trap in ["", "trap '' HUP TERM INT QUIT;"] {
        let direct = dispositions(&place, &format!("{trap} exec"));
        let locked = dispositions(&place, &format!("{trap} exec \"$HOLDLOCK\" run L --"));
        assert_eq!(locked, direct, "{trap}");
    }
}

#[test]
fn the_status_is_known_even_where_sigchld_is_ignored() {
    let place = Place::new();
    let script = "trap '' CHLD; exec \"$HOLDLOCK\" run L -- sh -c 'exit 7'";
    assert_eq!(Running::start(place.shell(script)).finish().code(), 7);
}

#[test]
fn holdlock_sleeps_while_the_command_runs() {
    let place = Place::new();
    for trap in ["", "trap '' HUP TERM INT QUIT;"] {
        let script = format!("{trap} exec \"$HOLDLOCK\" run L -- sh -c 'echo ready; read line'");
        let mut running = Running::start_with_stdin(place.shell(&script));
        running.expect_line("ready");
        let stat = format!("/proc/{}/stat", running.pid());
        let mut in_a_row = 0;
        wait_for("holdlock to sleep", || {
            let stat = std::fs::read_to_string(&stat).unwrap();
            in_a_row = if stat.contains(") S ") {
                in_a_row + 1
            } else {
                0
            };
            (in_a_row == 20).then_some(())
        });
    }
}

#[test]
fn the_command_gets_sigpipe_as_the_caller_has_it() {
    let place = Place::new();
    let grep = "grep SigIgn /proc/self/status";
    for before in ["", "trap '' PIPE; "] {
        for options in ["", "--exec"] {
            let with = format!("{before}exec \"$HOLDLOCK\" run {options} L -- {grep}");
            let without = format!("{before}exec {grep}");
            let [with, without] =
                [with, without].map(|script| Running::start(place.shell(&script)).finish());
            assert_eq!(with.text(), without.text(), "{before}{options}");
        }
    }
}
