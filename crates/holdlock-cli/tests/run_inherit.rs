//! `holdlock run`: the command inherits the lock, with the consequences for processes that it
//! leaves behind.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use support::{Place, Running, is_gone, peers, wait_for};

/// The descriptors of a process that have a lock file open.
fn locked(place: &Place, pid: u64) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
    {
        if std::fs::read_link(entry.path()).is_ok_and(|link| link.starts_with(place.locks())) {
            found.push(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    found.sort_unstable();
    found
}

fn kill(pid: u64, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// A process that the command leaves behind at its normal end; gone at the end of the test.
struct Left(u64);

impl Drop for Left {
    fn drop(&mut self) {
        kill(self.0, Signal::KILL);
    }
}

#[test]
fn the_command_has_every_lock_on_a_number_that_no_script_uses() {
    let place = Place::new();
    let script = "echo $$; read line";
    let words = [
        "run", "--lock", "A", "--lock", "B", "--", "sh", "-c", script,
    ];
    let mut running = Running::start_with_stdin(place.holdlock(words));
    let pid = running.read_line().parse().unwrap();
    let numbers = locked(&place, pid);
    assert!(numbers.len() == 2 && numbers[0] > 255, "{numbers:?}");
    let ours = locked(&place, running.pid().into());
    assert!(ours.len() == 2 && ours[1] < 10, "{ours:?}");
    running.finish();
}

#[test]
fn the_command_has_the_lock_however_few_descriptors_there_may_be() {
    let place = Place::new();
    for limit in [300, 64, 16, 8] {
        let script = format!(
            "ulimit -n {limit}; exec \"$HOLDLOCK\" run L -- sh -c 'echo $$; exec sleep 1000'"
        );
        let mut running = Running::start(place.shell(&script));
        let pid = running.read_line().parse().unwrap();
        assert_eq!(locked(&place, pid).len(), 1, "{limit}");
        running.signal(Signal::TERM);
        running.finish();
    }
}

#[test]
fn a_command_that_must_not_inherit_does_not() {
    let place = Place::new();
    for option in ["-o", "--close"] {
        let script = "echo $$; read line";
        let words = ["run", option, "L", "--", "sh", "-c", script];
        let mut running = Running::start_with_stdin(place.holdlock(words));
        let pid = running.read_line().parse().unwrap();
        assert_eq!(locked(&place, pid), []);
        assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 75);
        running.finish();
    }
}

#[test]
fn a_normal_end_releases_whatever_was_left_with_the_lock() {
    let place = Place::new();
    for code in [0, 1, 75, 255] {
        let script = format!("sleep 1000 >/dev/null 2>&1 & echo $!; exit {code}");
        let finished = place.run(["run", "L", "sh", "-c", &script]);
        assert_eq!((finished.code(), finished.stderr.as_str()), (code, ""));
        let left = Left(finished.text().trim().parse().unwrap());
        assert_eq!(locked(&place, left.0).len(), 1, "has it open");
        assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
        assert!(!is_gone(left.0));
    }
}

#[test]
fn an_end_after_a_signal_releases_only_what_nobody_has() {
    let place = Place::new();
    // Shells return 128+n for a child that a signal has ended.
    for (ending, signal) in [("exit 143", None), ("wait", Some(Signal::TERM))] {
        let script = format!("trap 'exit 0' TERM; sleep 1000 >/dev/null 2>&1 & echo $!; {ending}");
        let words = ["run", "L", "sh", "-c", &script];
        let mut running = Running::start(place.holdlock(words));
        let left = Left(running.read_line().parse().unwrap());
        signal.into_iter().for_each(|signal| running.signal(signal));
        let finished = running.finish();
        assert!(
            finished.stderr.contains(&format!("pid {} ", left.0)),
            "{finished:?}"
        );
        assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 75);
        let pid = left.0;
        drop(left);
        wait_for("it to be gone", || is_gone(pid).then_some(()));
        assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
    }
}

#[test]
fn the_processes_that_keep_the_lock_after_a_signal_are_named() {
    let place = Place::new();
    let script = "echo $$; sleep 1000 >/dev/null 2>&1 & echo $!; wait";
    let mut running = Running::start(place.holdlock(["run", "L", "sh", "-c", script]));
    let script: u64 = running.read_line().parse().unwrap();
    let left = Left(running.read_line().parse().unwrap());
    let us = running.pid();
    let other = place.run(["run", "-n", "L", "true"]);
    let held = format!("held by pid {us} ");
    assert!(
        other.stderr.contains(&held),
        "the wrapper comes first: {other:?}"
    );
    kill(script, Signal::TERM);
    let finished = running.finish();
    assert_eq!(finished.code(), 143);
    let says = format!("keep the lock: pid {} (", left.0);
    assert!(
        finished.stderr.contains("SIGTERM") && finished.stderr.contains(&says),
        "{finished:?}"
    );
    let shown = place.run(["who", "L"]);
    assert!(shown.text().contains(&left.0.to_string()), "{shown:?}");
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 75);
}

#[test]
fn a_signal_that_leaves_nobody_frees_the_lock_without_a_word() {
    let place = Place::new();
    let script = "sleep 1000 & echo $$; wait";
    // On a busy machine a process may need longer to die than it is given, but not in every round.
    let without_a_word = (0..10).any(|_| {
        let mut running = Running::start(place.holdlock(["run", "L", "sh", "-c", script]));
        running.read_line();
        // Like a terminal: to all processes of the group.
        let group = Pid::from_raw(running.pid().try_into().unwrap()).unwrap();
        rustix::process::kill_process_group(group, Signal::TERM).unwrap();
        let finished = running.finish();
        assert_eq!(finished.code(), 143, "{finished:?}");
        let next = place.run(["run", "-w", "30s", "L", "true"]);
        assert_eq!(next.code(), 0, "{next:?}");
        finished.stderr.is_empty()
    });
    assert!(without_a_word);
}

#[test]
fn holdlock_stays_for_what_has_not_inherited_and_passes_signals_on_to_it() {
    let place = Place::new();
    let script = "echo $$; sh -c 'echo $$; exec sleep 1000' & wait";
    let mut command = place.shell("exec \"$HOLDLOCK\" run --close L sh -c \"$JOB\" 2>said");
    command.env("JOB", script);
    let mut running = Running::start(command);
    let script: u64 = running.read_line().parse().unwrap();
    let left: u64 = running.read_line().parse().unwrap();
    kill(script, Signal::KILL);
    wait_for("the script to end", || is_gone(script).then_some(()));
    assert_eq!(place.run(["run", "-w", "500ms", "L", "true"]).code(), 75);
    wait_for("the process that is left to be named", || {
        let said = std::fs::read_to_string(place.join("said")).unwrap();
        said.contains(&format!("pid {left} ")).then_some(())
    });
    running.signal(Signal::TERM);
    assert_eq!(running.finish().code(), 128 + 9);
    assert!(is_gone(left));
}

/// As a program that `docker exec` starts: the leaders of its group and its session are outside of
/// its PID namespace, and have the number 0 there.
#[test]
fn a_job_may_belong_to_a_session_from_outside_of_its_container() {
    let place = Place::new();
    let Some(mut command) = peers::container(&place) else {
        return;
    };
    command.args(["sh", "-c"]).arg(
        r#"
        job='sleep 1000 & echo $! >left; kill -TERM $$'
        "$HOLDLOCK" run --close L sh -c "$job" 2>said &
        until grep -q "keeps it until these have ended: pid .*sleep" said; do
            kill -0 $! || exit
            sleep 0.02
        done
        "$HOLDLOCK" run -n L true
        echo $?
        kill $(cat left)
        wait $!
        echo $?
        "$HOLDLOCK" run --progress always L true
        "#,
    );
    let finished = Running::start(command).finish();
    assert_eq!(finished.text(), "75\n143\n", "{finished:?}");
}

#[test]
fn a_daemon_that_has_closed_everything_is_not_waited_for() {
    let place = Place::new();
    let script =
        "setsid sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1' & read line; kill -TERM $$";
    let words = ["run", "--close", "L", "sh", "-c", script];
    let mut running = Running::start_with_stdin(place.holdlock(words));
    let left = Left(running.read_line().parse().unwrap());
    let finished = running.finish();
    assert_eq!(finished.code(), 143);
    assert!(!is_gone(left.0));
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
}

#[test]
fn what_is_to_run_later_waits_for_its_turn() {
    let place = Place::new();
    // It is detached before it requests the lock, and it waits before the command ends.
    let later = "until test -e go; do sleep 0.02; done; exec \"$HOLDLOCK\" run --progress always L \
                 -- echo later 2>wait";
    let script = "setsid -f sh -c \"$LATER\"; touch go; until grep -q holdlock: wait; do sleep 0.02; \
                  done; sleep 1; echo done";
    for option in [&[][..], &["--max-hold", "1h"]] {
        let words = [&["run"], option, &["L", "--", "sh", "-c", script]].concat();
        let mut command = place.holdlock(words);
        command.env("LATER", later);
        let finished = Running::start(command).finish();
        let told = std::fs::read_to_string(place.join("wait")).unwrap();
        assert_eq!(finished.text(), "done\nlater\n", "{told} {finished:?}");
        std::fs::remove_file(place.join("wait")).unwrap();
        std::fs::remove_file(place.join("go")).unwrap();
    }
}

#[test]
fn standard_streams_that_are_the_lock_stay_open_in_what_is_to_run_later() {
    for (stream, others) in [
        (0, ">out 2>err"),
        (1, "</dev/null 2>err"),
        (2, "</dev/null >out"),
    ] {
        let place = Place::new();
        let file = place.join("c.lock");
        std::fs::write(&file, "data\n").unwrap();
        let later = format!(
            "until test -e go; do sleep 0.02; done; exec \"$HOLDLOCK\" run --progress always \
             ./c.lock {others} -- sh -c 'cat; echo output; echo error >&2; touch done'"
        );
        let script = format!(
            "exec {stream}<>c.lock; \"$HOLDLOCK\" flock {stream}; setsid -f sh -c \"$LATER\"; touch go; \
             until test -e end; do sleep 0.02; done"
        );
        let mut command = place.shell(&script);
        command.env("LATER", later);
        let running = Running::start(command);
        wait_for("it to wait, and to say so", || {
            let told = if stream == 2 { "c.lock" } else { "err" };
            let told = std::fs::read_to_string(place.join(told)).ok()?;
            told.contains("waiting").then_some(())
        });
        std::fs::write(place.join("end"), "").unwrap();
        assert_eq!(running.finish().code(), 0);
        wait_for("its command", || place.join("done").exists().then_some(()));
        let read = |name| std::fs::read_to_string(place.join(name)).unwrap_or_default();
        let (locked, output, errors) = (read("c.lock"), read("out"), read("err"));
        match stream {
            0 => assert_eq!(
                (locked.as_str(), output.as_str()),
                ("data\n", "data\noutput\n")
            ),
            1 => assert_eq!(locked, "data\noutput\n", "{errors}"),
            _ => assert!(
                locked.starts_with("data\nholdlock: waiting") && locked.ends_with("error\n"),
                "{locked}"
            ),
        }
    }
}

#[test]
fn what_waits_for_its_turn_is_not_at_work() {
    let place = Place::new();
    let script =
        "echo $$; (\"$HOLDLOCK\" run --progress always L -- echo later 2>wait &) & read line";
    let words = ["run", "L", "sh", "-c", script];
    let mut running = Running::start_with_stdin(place.holdlock(words));
    let script = running.read_line().parse().unwrap();
    wait_for("the other one to wait", || {
        let told = std::fs::read_to_string(place.join("wait")).ok()?;
        told.contains("waiting").then_some(())
    });
    kill(script, Signal::KILL);
    let finished = running.finish();
    assert_eq!(
        (finished.code(), finished.text()),
        (137, "later\n"),
        "{finished:?}"
    );
}

/// Waits, and leaves work that a chain of short-lived processes does.
const CHAIN: &str = "
import os, signal, time
if os.fork():
    print(os.getpid(), flush=True)
    signal.pause()
end = time.monotonic() + 3
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
open('ended', 'w').close()
";

#[test]
fn who_is_a_new_process_all_the_time_is_at_work() {
    let Some(python) = peers::interpreter() else {
        return peers::skipped("python3 is not installed");
    };
    let place = Place::new();
    let words = ["run", "--close", "L", python, "-I", "-S", "-c", CHAIN];
    let mut running = Running::start(place.holdlock(words));
    kill(running.read_line().parse().unwrap(), Signal::TERM);
    let next = place.run(["run", "L", "test", "-e", "ended"]);
    assert_eq!(next.code(), 0, "beside the last one: {next:?}");
    assert_eq!(running.finish().code(), 143);
}

/// Waits, and leaves a child that works all the time and acquires the lock itself for a moment.
const BUSY_WAITER: &str = "
import fcntl, os, signal, sys, threading, time
if os.fork():
    signal.pause()
lock = open(sys.argv[1])
def take():
    fcntl.flock(lock, fcntl.LOCK_EX)
    fcntl.flock(lock, fcntl.LOCK_UN)
threading.Thread(target=take, daemon=True).start()
print(os.getppid(), flush=True)
while not os.path.exists('stop'):
    time.sleep(0.01)
os._exit(0)
";

#[test]
fn a_waiter_that_does_something_else_is_at_work() {
    let Some(python) = peers::interpreter() else {
        return peers::skipped("python3 is not installed");
    };
    let place = Place::new();
    let file = place.locks().join("L.lock");
    let words = ["run", "--close", "L", python, "-I", "-S", "-c", BUSY_WAITER];
    let mut command = place.holdlock(words);
    let mut running = Running::start({
        command.arg(&file);
        command
    });
    let script = running.read_line().parse().unwrap();
    wait_for("the child to wait", || {
        let asked = place.run(["who", "L"]);
        asked.text().contains("waits").then_some(())
    });
    kill(script, Signal::TERM);
    wait_for("the script to end", || is_gone(script).then_some(()));
    let next = place.run(["run", "-w", "500ms", "L", "true"]);
    assert_eq!(next.code(), 75, "beside the child: {next:?}");
    std::fs::write(place.join("stop"), "").unwrap();
    assert_eq!(running.finish().code(), 143);
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
}
