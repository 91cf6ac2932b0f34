//! `holdlock run` whose standard error is blocked or fails: messages do not hold up what it does.

mod support;

use std::fs;
use std::io::{PipeReader, Read, Write};
use std::process::{Child, Command, ExitStatus};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use support::peers::can_trace;
use support::{Place, Running, wait_for};

/// Starts a command whose standard error is a full pipe.
fn start(command: Command) -> (Child, PipeReader) {
    start_with(command, OFlags::empty())
}

/// The same, with a flag of the pipe that all processes share which write to it.
fn start_with(mut command: Command, flag: OFlags) -> (Child, PipeReader) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    fcntl_setfl(&writer, flags | flag).unwrap();
    // If the test fails, the pipe's reader is closed, which ends the block.
    (command.stderr(writer).spawn().unwrap(), reader)
}

/// Whether a thread of this process sleeps because a pipe is full.
fn is_blocked(child: &Child) -> bool {
    sleeps_in(child, "pipe_write")
}

fn sleeps_in(child: &Child, function: &str) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let place = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("wchan"));
    let mut places = threads.flatten().flat_map(place);
    places.any(|place| place.contains(function))
}

fn end_of(child: &mut Child) -> ExitStatus {
    wait_for("holdlock to end", || child.try_wait().unwrap())
}

#[test]
fn a_blocked_standard_error_does_not_hold_up_the_time_limit() {
    let place = Place::new();
    let limits = ["--max-hold", "500ms", "--kill-after", "500ms"];
    let command = ["L", "--", "sh", "-c", "trap '' TERM; sleep 1000"];
    let words = ["run"].iter().chain(&limits).chain(&command);
    let (mut child, _reader) = start(place.holdlock(words));
    assert_eq!(end_of(&mut child).code(), Some(124));
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0, "released");
}

#[test]
fn a_message_that_was_held_up_comes_later_and_signals_are_passed_on_meanwhile() {
    // On a slow machine the time is over before the shell has its traps.
    for limit in ["1s", "5s", "20s"] {
        let place = Place::new();
        let script = "exec 2>/dev/null; trap 'touch usr1' USR1; trap 'touch term' TERM; \
                      until [ -e stop ]; do sleep 0.02; done";
        let words = ["run", "--max-hold", limit, "--kill-after", "1h", "L"];
        let command = ["--", "sh", "-c", script];
        let (mut child, mut reader) = start(place.holdlock(words.iter().chain(&command)));
        let exists = |name: &str| place.join(name).exists();
        let has_term = wait_for("TERM", || {
            let ended = child.try_wait().unwrap().is_some();
            (ended || exists("term")).then_some(!ended)
        });
        if !has_term {
            continue;
        }
        let pid = Pid::from_child(&child);
        wait_for("a signal to be passed on", || {
            kill_process(pid, Signal::USR1).unwrap();
            exists("usr1").then_some(())
        });
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text).unwrap()
        });
        wait_for("the message to be written", || {
            (!is_blocked(&child)).then_some(())
        });
        fs::write(place.join("stop"), "").unwrap();
        assert_eq!(end_of(&mut child).code(), Some(124));
        let text = reading.join().unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        assert!(
            matches!(lines[..], [line] if line.starts_with("holdlock: --max-hold (")),
            "{lines:?}"
        );
        return;
    }
    panic!("the shell does not set its traps in time");
}

#[test]
fn a_blocked_standard_error_does_not_hold_up_a_wait() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let options = ["--progress", "always", "-w", "2s", "L", "true"];
    let (mut child, _reader) = start(place.holdlock(["run"].iter().chain(&options)));
    assert_eq!(end_of(&mut child).code(), Some(75));

    let words = ["run", "--progress", "always", "L", "--", "touch", "ran"];
    let (mut child, _reader) = start(place.holdlock(words));
    wait_for("a message to be blocked", || {
        is_blocked(&child).then_some(())
    });
    holder.finish();
    assert_eq!(end_of(&mut child).code(), Some(0));
    assert!(place.join("ran").exists());
}

#[test]
fn a_message_is_written_although_its_thread_gets_a_processor_late() {
    if !can_trace() {
        return;
    }
    let place = Place::new();
    let mut late = place.command("strace");
    late.args(["-q", "-f", "-o", "/dev/null", "-e", "trace=prctl"]);
    // The thread sets its name before it begins.
    late.args(["-e", "inject=prctl:delay_enter=2500000"]);
    late.args([env!("CARGO_BIN_EXE_holdlock"), "run"]);
    late.args(["L", "./no-such-command"]);
    let finished = Running::start(late).finish();
    assert_eq!(finished.code(), 127, "{finished:?}");
    assert!(finished.stderr.contains("cannot run"), "{finished:?}");
}

#[test]
fn a_blocked_standard_error_does_not_hold_up_an_error_in_the_options() {
    let place = Place::new();
    let (mut child, _reader) = start(place.holdlock(["run", "--no-such-option", "L", "true"]));
    assert_eq!(end_of(&mut child).code(), Some(64));
}

#[test]
fn a_message_waits_also_if_another_process_has_made_standard_error_non_blocking() {
    let place = Place::new();
    let holder = place.hold(&["L"]);
    let words = ["run", "--progress", "always", "L", "true"];
    let (mut child, mut reader) = start_with(place.holdlock(words), OFlags::NONBLOCK);
    wait_for("a message to wait", || {
        sleeps_in(&child, "poll").then_some(())
    });
    let mut text: Vec<u8> = Vec::new();
    wait_for("the message", || {
        let mut piece = [0; 4096];
        let length = reader.read(&mut piece).unwrap();
        text.extend(&piece[..length]);
        text.windows(7).any(|part| part == b"waiting").then_some(())
    });
    holder.finish();
    assert_eq!(end_of(&mut child).code(), Some(0));
}

#[test]
fn a_limit_of_file_sizes_does_not_end_holdlock_before_the_job() {
    let place = Place::new();
    let script = "ulimit -f 0; exec \"$HOLDLOCK\" run --max-hold 300ms --kill-after 300ms -s L -- \
                  sh -c \"trap '' TERM; sleep 1000\" 2>errors";
    let finished = Running::start(place.shell(script)).finish();
    assert_eq!(finished.code(), 124, "{finished:?}");
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0, "released");
}
