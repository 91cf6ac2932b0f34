//! At a terminal: job control, and the progress line of a wait.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use support::Place;
use support::terminal::{INTERRUPT, SUSPEND, Terminal};

/// Without and with a process group of the command's own.
const GROUPS: [&str; 2] = ["", "--max-hold 1h"];

#[test]
fn ctrl_c_ends_the_command_and_holdlock_says_so() {
    let place = Place::new();
    for options in GROUPS {
        let script = format!(
            "trap : INT; \"$HOLDLOCK\" run {options} L -- sh -c 'echo ready; exec sleep 1000'; \
             echo status $?"
        );
        let mut terminal = Terminal::start(&place, &script);
        terminal.expect("ready");
        terminal.press(INTERRUPT);
        terminal.expect("status 130");
        assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0, "released");
    }
}

#[test]
fn ctrl_c_ends_a_script_that_takes_locks_one_after_the_other() {
    let place = Place::new();
    if !support::peers::has("bash") {
        return;
    }
    let script = "exec bash -c 'for i in 1 2 3; do \"$HOLDLOCK\" run L -- \
                  sh -c \"echo number $i; exec sleep 1000\"; done; echo not ended'";
    let mut terminal = Terminal::start(&place, script);
    terminal.expect("number 1");
    terminal.press(INTERRUPT);
    let seen = terminal.finish();
    assert!(
        !seen.contains("number 2") && !seen.contains("not ended"),
        "{seen}"
    );
}

#[test]
fn a_time_limit_ends_a_job_that_was_stopped() {
    let place = Place::new();
    // Of what the shell has started. While it starts something by vfork(2) it cannot be stopped.
    let job = "sh -c \"echo ready; exec sleep 1000\"; :";
    // On a slow machine the time is over before the key is pressed.
    for limit in ["1s", "4s", "16s"] {
        // The shell does not wait for a job meanwhile, so it does not continue one.
        let script = format!(
            "\"$HOLDLOCK\" run --max-hold {limit} L -- sh -c '{job}'; \
             echo stopped $?; read line; wait %1; echo status $?"
        );
        let mut terminal = Terminal::start(&place, &script);
        let ready = terminal.wait_until("the job to be ready, or ended", |seen| {
            let ended = seen.contains("stopped ");
            (ended || seen.contains("ready")).then_some(!ended)
        });
        if !ready {
            continue;
        }
        terminal.press(SUSPEND);
        terminal.expect("stopped ");
        if terminal.read_until("\r\n") != "148" {
            continue;
        }
        // It may have come before the shell has told of the stop.
        terminal.wait_until("the message", |seen| {
            seen.contains("--max-hold").then_some(())
        });
        let next = place.run(["run", "-w", "30s", "L", "true"]);
        assert_eq!(next.code(), 0, "released");
        terminal.press("\n");
        return terminal.expect("status 124");
    }
    panic!("the job could not be stopped in time");
}

#[test]
fn a_pager_beside_a_command_with_a_time_limit_has_the_terminal() {
    let place = Place::new();
    // Reads the keys as less does, which the kernel allows in the foreground only.
    let script = "\"$HOLDLOCK\" run --max-hold 1h L -- sh -c 'echo ready; read line </dev/tty; \
                  echo the command has read $line' | sh -c 'read line; echo pager: $line; \
                  read key </dev/tty; echo pager: $key; cat'; echo status $?";
    let mut terminal = Terminal::start(&place, script);
    terminal.expect("pager: ready");
    terminal.press("one\ntwo\n");
    terminal.expect("pager: ");
    terminal.expect("the command has read ");
    terminal.expect("status 0");
}

#[test]
fn what_the_terminal_sends_is_not_passed_on() {
    let place = Place::new();
    // The command has left the terminal, so its signals come from holdlock.
    let script = "trap : INT; \"$HOLDLOCK\" run L -- setsid sh -c 'trap \"echo got INT\" INT; \
                  trap \"echo got USR1; exit 5\" USR1; echo holder $PPID.; \
                  while :; do sleep 0.02; done'; echo status $?";
    let mut terminal = Terminal::start(&place, script);
    terminal.expect("holder ");
    let holder = terminal.read_until(".").parse().unwrap();
    terminal.press(INTERRUPT);
    terminal.expect("^C");
    // Comes after the other one.
    kill_process(Pid::from_raw(holder).unwrap(), Signal::USR1).unwrap();
    terminal.expect("status 5");
    let seen = terminal.finish();
    assert!(!seen.contains("got INT"), "{seen}");
}

#[test]
fn the_loss_of_the_terminal_reaches_the_command() {
    let place = Place::new();
    for options in GROUPS {
        // holdlock becomes the leader of the session, as with `ssh -t host holdlock run ...`.
        let script = format!(
            "exec \"$HOLDLOCK\" run {options} L -- sh -c 'trap \"exit 5\" HUP; echo ready; \
             while :; do sleep 0.02; done'"
        );
        let mut terminal = Terminal::start(&place, &script);
        terminal.expect("ready");
        assert_eq!(terminal.hang_up().code(), Some(5));
        assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0, "released");
    }
}

#[test]
fn ctrl_z_stops_the_job_and_fg_continues_it_with_the_lock_kept() {
    let place = Place::new();
    for options in GROUPS {
        let script = format!(
            "\"$HOLDLOCK\" run {options} L -- sh -c 'echo ready; read line; echo resumed $line; exit 6'; \
             echo stopped $?; read line; fg; echo status $?"
        );
        let mut terminal = Terminal::start(&place, &script);
        terminal.expect("ready");
        terminal.press(SUSPEND);
        terminal.expect("stopped 148");
        let other = place.run(["run", "-n", "L", "true"]);
        assert_eq!(other.code(), 75, "the lock is kept");
        terminal.press("\n");
        terminal.press("hello\n");
        terminal.expect("resumed hello");
        terminal.expect("status 6");
    }
}

#[test]
fn a_command_that_stops_itself_is_a_stopped_job() {
    let place = Place::new();
    for options in GROUPS {
        let script = format!(
            "\"$HOLDLOCK\" run {options} L -- sh -c 'kill -STOP $$; exit 6'; \
             echo stopped $?; fg; echo status $?"
        );
        let mut terminal = Terminal::start(&place, &script);
        terminal.expect("stopped 148");
        terminal.expect("status 6");
    }
}

#[test]
fn a_command_with_a_time_limit_gives_the_terminal_back() {
    let place = Place::new();
    for command in ["true", "/missing"] {
        // A shell without job control: it does not take the terminal by itself.
        let script = format!(
            "sh -c '\"$HOLDLOCK\" run --max-hold 1h L {command}; read line; echo read $line'; :"
        );
        let mut terminal = Terminal::start(&place, &script);
        terminal.press("hello\n");
        terminal.expect("read hello");
    }
}

#[test]
fn a_job_from_the_background_has_the_terminal_after_fg() {
    let place = Place::new();
    for options in GROUPS {
        let script = format!(
            "\"$HOLDLOCK\" run {options} L -- sh -c 'echo ready; while ! test -e go; do sleep \
             0.02; done; read line; echo got $line; exit 4' & read line; fg; echo status $?"
        );
        let _ = std::fs::remove_file(place.join("go"));
        let mut terminal = Terminal::start(&place, &script);
        terminal.expect("ready");
        terminal.press("\n");
        // The shell names the job that it puts into the foreground.
        terminal.expect("run");
        std::fs::write(place.join("go"), "").unwrap();
        terminal.press("hello\n");
        terminal.expect("got hello");
        terminal.expect("status 4");
    }
}

#[test]
fn a_wait_is_shown_in_one_line_that_goes_when_it_is_over() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let mut terminal = Terminal::start(&place, "\"$HOLDLOCK\" run L -- echo ran");
    for _ in 0..2 {
        terminal.expect("\rholdlock: waiting ");
        terminal.expect(" s for");
    }
    terminal.expect(&format!("held by pid {} ", holder.pid()));
    holder.finish();
    terminal.expect("\r\x1b[Kran");
    assert_eq!(terminal.finish().matches('\n').count(), 1);
}

/// A lock of fcntl(2), of which holdlock warns after it has acquired its own.
const OTHER_FAMILY: &str = "
import fcntl, sys
file = open('b.lock', 'w')
fcntl.lockf(file, fcntl.LOCK_EX)
print('locked', flush=True)
sys.stdin.read()
";

#[test]
fn a_terminal_that_stops_writers_in_the_background_does_not_stop_a_holder() {
    for has_warning in [false, true] {
        let place = Place::new();
        let mut other = None;
        if has_warning {
            let Some(python) = support::peers::interpreter() else {
                return support::peers::skipped("python3 is not installed");
            };
            let mut command = place.command(python);
            command.args(["-I", "-S", "-c", OTHER_FAMILY]);
            let mut locker = support::Running::start_with_stdin(command);
            locker.expect_line("locked");
            other = Some(locker);
        }
        let holder = place.hold(&["./b.lock"]);
        let script = "stty tostop; \"$HOLDLOCK\" run ./b.lock -- touch ran; echo stopped $?; \
                      read line; bg; echo in background; read line; echo end";
        let mut terminal = Terminal::start(&place, script);
        terminal.expect("waiting");
        terminal.press(SUSPEND);
        terminal.expect("stopped 148");
        terminal.press("\n");
        terminal.expect("in background");
        holder.finish();
        support::wait_for("its command", || place.join("ran").exists().then_some(()));
        let next = place.run(["run", "-q", "-w", "30s", "./b.lock", "true"]);
        assert_eq!(next.code(), 0, "{next:?}");
        terminal.press("\n");
        let seen = terminal.read_until("end");
        assert_eq!(seen.contains("warning: "), has_warning, "{seen}");
        assert!(
            !seen.contains("\x1b[K"),
            "another job's line is removed: {seen:?}"
        );
        drop(other);
    }
}

#[test]
fn a_warning_at_the_start_does_not_stop_a_run_in_the_background() {
    let place = Place::new();
    // The name is also that of a file, which is a warning.
    let script = "stty tostop; : >x; \"$HOLDLOCK\" run x -- touch ran & read line";
    let mut terminal = Terminal::start(&place, script);
    support::wait_for("its command", || place.join("ran").exists().then_some(()));
    terminal.press("\n");
    assert!(terminal.finish().contains("warning: "));
}

#[test]
fn a_wait_in_the_background_keeps_silent() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let mut terminal = Terminal::start(
        &place,
        "\"$HOLDLOCK\" run L -- echo ran & sleep 1; echo slept; fg",
    );
    terminal.expect("slept");
    // In the foreground it reports progress.
    terminal.expect("waiting");
    holder.finish();
    terminal.expect("ran");
    let seen = terminal.finish();
    let before = &seen[..seen.find("slept").unwrap()];
    assert!(!before.contains("waiting"), "{seen}");
}

#[test]
fn the_place_in_the_queue_is_shown() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let first = support::Running::start(place.holdlock(["run", "L", "true"]));
    first.expect_waiting();
    let mut terminal = Terminal::start(&place, "\"$HOLDLOCK\" run L -- echo ran");
    terminal.expect("for L, place 2 of 2; held by pid");
    holder.finish();
    first.finish();
    terminal.expect("ran");
}

#[test]
fn nothing_is_shown_where_that_is_asked_for() {
    let place = Place::new();
    let _holder = place.hold(&["L"]);
    for options in ["--quiet", "--progress never"] {
        let script = format!("\"$HOLDLOCK\" run {options} -w 1s L -- echo ran");
        let seen = Terminal::start(&place, &script).finish();
        assert!(!seen.contains("waiting"), "{seen}");
        assert_eq!(seen.is_empty(), options == "--quiet", "{seen}");
    }
}

#[test]
fn whole_lines_are_written_where_there_is_no_terminal() {
    let place = Place::new();
    let _holder = place.hold(&["L"]);
    // It reports the wait after half a second, or later on a slow machine, and again after a
    // minute.
    let finished = ["3s", "10s", "40s"].iter().find_map(|limit| {
        let finished = place.run(["run", "--progress", "always", "-w", limit, "L", "true"]);
        let is_told = finished.stderr.starts_with("holdlock: waiting ");
        is_told.then_some(finished)
    });
    let finished = finished.expect("the wait is reported");
    let mut lines = finished.stderr.lines();
    let line = lines.next().unwrap();
    assert!(line.contains(" s for L; "), "{line}");
    assert!(line.contains("held by pid"), "{line}");
    // The record tells for how long the holder has the lock.
    let (_, holder) = line.split_once("held by pid").unwrap();
    assert!(holder.contains(" for "), "{line}");
    assert_eq!(lines.count(), 1, "and the message of the timeout");
    let finished = place.run(["run", "-w", "900ms", "L", "true"]);
    assert_eq!(finished.stderr.lines().count(), 1, "not long enough");
}

#[test]
fn the_first_line_names_the_holder_although_the_thread_that_looks_for_it_started_late() {
    let place = Place::new();
    if !support::peers::can_trace() {
        return;
    }
    let mut late = place.command("strace");
    late.args(["-q", "-f", "-o", "/dev/null"]);
    let _holder = place.hold(&["L"]);
    late.args(["-e", "trace=clone3"]);
    late.args(["-e", "inject=clone3:delay_enter=400000"]);
    late.args([env!("CARGO_BIN_EXE_holdlock"), "run"]);
    late.args(["--progress", "always", "-w", "4s", "L", "true"]);
    let finished = support::Running::start(late).finish();
    let line = finished.stderr.lines().next().unwrap();
    assert!(line.contains("; held by pid"), "{line}");
}

#[test]
fn a_wait_that_was_reported_elsewhere_ends_with_a_last_line() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let script = "\"$HOLDLOCK\" run --progress always L -- echo ran 2>&1";
    let mut waiter = support::Running::start(place.shell(script));
    assert!(waiter.read_line().starts_with("holdlock: waiting "));
    holder.finish();
    let last = waiter.read_line();
    assert!(last.starts_with("holdlock: acquired L after "), "{last}");
    waiter.expect_line("ran");
    // If there was no line during the wait, there is no line at its end.
    let short = (0..3).any(|_| {
        let holder = place.hold(&["L"]);
        let waiter = support::Running::start(place.holdlock(["run", "L", "echo", "ran"]));
        waiter.expect_waiting();
        holder.finish();
        let finished = waiter.finish();
        assert_eq!(finished.text(), "ran\n");
        // On a slow machine there may be a line.
        let short = !finished.stderr.contains("waiting");
        assert!(!short || finished.stderr.is_empty(), "{finished:?}");
        short
    });
    assert!(short);
}
