//! What a run learns of a holder that died, and what follows.

use rustix::process::Signal;

use crate::runs::{PRINT, kill_a_holder, print, told};
use crate::support::peers::can_trace;
use crate::support::{Place, Running, wait_for};

#[test]
fn the_run_after_a_holder_that_died_is_told_once() {
    let place = Place::new();
    let pid = kill_a_holder(&place, &["--note", "half\x1bdone", "x"]);
    let done = print(&place, "x");
    assert_eq!(told(&done).1, "1");
    assert!(
        done.stderr
            .contains(&format!("the last holder, pid {pid} ("))
            && done.stderr.contains(r"half\u{1b}done")
            && done.stderr.contains("died without releasing"),
        "{}",
        done.stderr
    );
    assert_eq!(told(&print(&place, "x")).1, "none");
    kill_a_holder(&place, &["x"]);
    let quiet = place.run(["run", "-q", "x", "--", "sh", "-c", PRINT]);
    assert_eq!((told(&quiet).1, quiet.stderr.as_str()), ("1", ""));
}

#[test]
fn a_command_that_a_signal_ended_counts_as_a_death_and_one_that_ended_itself_does_not() {
    let place = Place::new();
    let after = |script: &str| {
        let words = ["run", "-q", "x", "--", "sh", "-c", script];
        Running::start(place.holdlock(words)).finish();
        print(&place, "x")
    };
    let done = after("kill -9 $$");
    assert_eq!(told(&done).1, "1");
    assert!(done.stderr.contains("by signal 9"), "{}", done.stderr);
    assert_eq!(told(&after("exit 3")).1, "none");
    // ssh exits with 255 after a signal; there is no signal 127.
    let done = after("trap 'exit 255' TERM; kill $PPID; while :; do sleep 0.02; done");
    assert_eq!(told(&done).1, "1");
    assert!(done.stderr.contains("with exit code 255"), "{done:?}");

    // A service that was asked to end, and did.
    let script = "trap 'exit 0' TERM; echo ready; while :; do read line; done";
    let mut command = place.holdlock(["run", "x", "--", "sh", "-c", script]);
    command.stdin(std::process::Stdio::piped());
    let mut service = Running::start_with_stdin(command);
    service.expect_line("ready");
    service.signal(Signal::TERM);
    service.let_go();
    assert_eq!(service.finish().code(), 0);
    assert_eq!(told(&print(&place, "x")).1, "none");
}

#[test]
fn what_follows_a_death_is_for_the_user_to_say() {
    let place = Place::new();
    kill_a_holder(&place, &["x"]);
    let run = |action: &str| {
        place.run([
            "run",
            "--if-abandoned",
            action,
            "x",
            "--",
            "sh",
            "-c",
            PRINT,
        ])
    };
    // A variable that is not set is a mistake, and cleans nothing up.
    let done = run("");
    assert_eq!((done.code(), done.text()), (64, ""), "{done:?}");
    // Each one learns of it, until one has cleaned up.
    for action in ["fail", "fail", "echo no; exit 7", "fail"] {
        let done = run(action);
        assert_eq!(done.code(), 76, "{done:?}");
        assert!(!done.text().contains("none"), "{done:?}");
        assert!(done.stderr.contains("died without"), "{}", done.stderr);
        // The failure says it all; otherwise there is a warning before.
        let lines = done.stderr.lines().count();
        assert_eq!(lines, 1 + usize::from(action != "fail"), "{}", done.stderr);
    }
    let done = run("echo cleaned $HOLDLOCK_ABANDONED");
    assert_eq!(done.code(), 0);
    let lines: Vec<&str> = done.text().lines().collect();
    assert_eq!(lines[0], "cleaned 1");
    assert!(lines[1].ends_with(" 1"), "{lines:?}");
    for action in ["fail", "echo cleaned"] {
        assert_eq!(told(&run(action)).1, "none");
    }
    // A cleaner that a signal ends has cleaned nothing up.
    kill_a_holder(&place, &["x"]);
    assert_eq!(run("kill -9 $$").code(), 137);
    assert_eq!(told(&run("run")).1, "1");
}

#[test]
fn a_run_that_starts_nothing_leaves_the_news_to_the_next_one() {
    let place = Place::new();
    kill_a_holder(&place, &["x"]);
    for _ in 0..2 {
        let done = place.run(["run", "x", "--", "./no-such-command"]);
        assert_eq!(done.code(), 127, "{done:?}");
        assert!(done.stderr.contains("died without"), "{}", done.stderr);
    }
    for _ in 0..2 {
        let done = place.run(["run", "--exec", "x", "--", "./no-such-command"]);
        assert_eq!(done.code(), 127, "{done:?}");
        assert!(done.stderr.contains("died without"), "{}", done.stderr);
    }
    // The shell that cleans up is not found.
    let mut command = place.holdlock(["run", "--if-abandoned", "true", "x", "--", "/bin/true"]);
    command.env("PATH", place.join("empty"));
    let done = Running::start(command).finish();
    assert_eq!(done.code(), 127, "{done:?}");
    assert_eq!(told(&print(&place, "x")).1, "1");
    assert_eq!(told(&print(&place, "x")).1, "none");
}

#[test]
fn signals_reach_the_command_also_after_a_cleaning_up() {
    let place = Place::new();
    kill_a_holder(&place, &["x"]);
    let blocked = ["grep", "SigBlk", "/proc/self/status"];
    let clean = blocked.join(" ");
    let words = ["run", "--if-abandoned", &clean, "x", "--"];
    let done = place.run([&words[..], &blocked].concat());
    let masks: Vec<&str> = done.text().lines().collect();
    assert_eq!(masks.len(), 2, "{done:?}");
    assert_eq!(masks[0], masks[1]);
}

#[test]
fn a_cleaning_up_that_is_asked_to_end_is_no_success_of_the_command() {
    let clean = |options: &[&str], clean: &str, signal: Option<Signal>| {
        let place = Place::new();
        kill_a_holder(&place, &["x"]);
        let words = [&["run", "--if-abandoned", clean], options];
        let words = words
            .concat()
            .into_iter()
            .chain(["x", "--", "touch", "ran"]);
        let mut run = Running::start(place.holdlock(words));
        if let Some(signal) = signal {
            run.expect_line("ready");
            run.signal(signal);
        }
        let done = run.finish();
        assert!(!place.join("ran").exists(), "{done:?}");
        assert!(done.stderr.contains("nothing was run"), "{done:?}");
        assert_eq!(told(&print(&place, "x")).1, "1");
        done
    };
    let script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done";
    let done = clean(&[], script, Some(Signal::TERM));
    assert_eq!(done.code(), 76, "{done:?}");
    assert!(done.stderr.contains("a signal ended cleaning up"));

    let done = clean(&[], "echo ready; exec sleep 1000", Some(Signal::INT));
    assert_eq!(done.signal(), Some(2), "{done:?}");

    let limit = ["--max-hold", "300ms"];
    let done = clean(&limit, "exec sleep 1000", None);
    assert_eq!(done.code(), 124, "{done:?}");
    assert!(done.stderr.contains("cleaning up held the lock too long"));
}

#[test]
fn the_time_limit_includes_cleaning_up() {
    // A slow machine needs more time.
    let is_in_time = [(2, 3.0), (6, 9.0), (20, 30.0)]
        .iter()
        .any(|(cleaning, limit)| {
            let place = Place::new();
            kill_a_holder(&place, &["x"]);
            let began = std::time::Instant::now();
            let (clean, limit_s) = (format!("sleep {cleaning}"), format!("{limit}s"));
            let options = ["run", "--max-hold", &limit_s, "--log", "log"];
            let words = ["--if-abandoned", &clean, "x", "--", "sleep", "1000"];
            let done = place.run([&options[..], &words].concat());
            let took = began.elapsed().as_secs_f64();
            assert_eq!(done.code(), 124, "{done:?}");
            let log = std::fs::read_to_string(place.join("log")).unwrap();
            let log: serde_json::Value = serde_json::from_str(&log).unwrap();
            // None if the command did not start in time.
            let Some(held) = log["held_s"].as_f64() else {
                return false;
            };
            assert!(held >= *limit, "{log}");
            took < f64::from(*cleaning) + limit
        });
    assert!(is_in_time);
}

#[test]
fn a_cleaning_up_leaves_no_timers() {
    let place = Place::new();
    let timers = |options: &[&str]| {
        let script = ["--", "sh", "-c", "grep -c ID: /proc/$PPID/timers"];
        let words = [&["run", "--max-hold", "1h"], options, &["x"], &script];
        let done = place.run(words.concat());
        done.text().trim().to_owned()
    };
    let usual = timers(&[]);
    kill_a_holder(&place, &["x"]);
    assert_eq!(timers(&["--if-abandoned", "true"]), usual);
    assert_ne!(usual, "0");
}

/// A process that the cleaning up has left behind is not part of the run, and another job may get
/// the lock while it runs.
#[test]
fn what_a_cleaning_up_leaves_behind_does_not_count_as_holding_the_lock() {
    if !can_trace() {
        return;
    }
    let place = Place::new();
    kill_a_holder(&place, &["x"]);
    // It looks for the holder between the end of the cleaning up and the start of the command, if
    // the machine is not too slow.
    let left = "sleep 0.5; exec \"$HOLDLOCK\" run -q --reentrant x -- touch early";
    let clean = format!("sh -c '{left}' >/dev/null 2>&1 &");
    let mut command = place.command("strace");
    command.args(["-q", "-o", "/dev/null", "-e", "trace=clone"]);
    command.args(["-e", "inject=clone:delay_enter=2000000:when=2"]);
    command.args([env!("CARGO_BIN_EXE_holdlock"), "run", "-q"]);
    command.args(["--if-abandoned", &clean, "x", "--"]);
    command.args(["test", "!", "-e", "early"]);
    let done = Running::start(command).finish();
    assert_eq!(done.code(), 0, "{done:?}");
    wait_for("its turn", || place.join("early").exists().then_some(()));
}
