//! `holdlock run`: the limits of holding the lock, and the processes that hold it.

mod support;

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{Place, Running, is_gone, peers, wait_for};

/// Tries with one time limit, in milliseconds, after the other: on a slow machine the command may
/// not be ready before it is over.
fn in_time<T>(limits: &[u64], try_with: impl FnMut(u64) -> Option<T>) -> T {
    let result = limits.iter().copied().find_map(try_with);
    result.expect("the command is ready in time")
}

#[test]
fn who_holds_too_long_is_ended_with_124() {
    let place = Place::new();
    let script = "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.02; done";
    let finished = in_time(&[300, 1000, 4000, 16_000], |limit| {
        let begin = Instant::now();
        let option = format!("--max-hold={limit}ms");
        let finished = place.run(["run", &option, "L", "sh", "-c", script]);
        assert!(begin.elapsed() >= Duration::from_millis(limit));
        finished.text().starts_with("ready\n").then_some(finished)
    });
    assert_eq!((finished.code(), finished.text()), (124, "ready\ntold\n"));
    assert!(finished.stderr.contains("--max-hold"), "{finished:?}");
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0, "released");
}

#[test]
fn who_is_done_in_time_notices_nothing_of_the_limit() {
    let place = Place::new();
    let finished = place.run(["run", "--max-hold", "1m", "L", "sh", "-c", "exit 7"]);
    assert_eq!((finished.code(), finished.stderr.as_str()), (7, ""));
}

#[test]
fn who_ignores_term_is_killed() {
    let place = Place::new();
    let script = "trap '' TERM; echo ready; while :; do sleep 0.02; done";
    in_time(&[100, 1000, 4000, 16_000], |limit| {
        let begin = Instant::now();
        let option = format!("--max-hold={limit}ms");
        let limits = [&*option, "--kill-after=200ms"];
        let words = [&["run"], &limits[..], &["L", "sh", "-c", script]].concat();
        let finished = place.run(words);
        assert_eq!(finished.code(), 124);
        (finished.text() == "ready\n").then(|| {
            assert!(begin.elapsed() >= Duration::from_millis(limit + 200));
        })
    });
}

#[test]
fn the_whole_group_goes_before_the_lock_does() {
    let place = Place::new();
    // The command obeys TERM; the process that it has started does not.
    let script = "sh -c \"trap '' TERM; echo \\$\\$; exec >/dev/null 2>&1; \
                  while :; do sleep 0.02; done\" & wait";
    let (running, stubborn) = in_time(&[300, 1000, 4000, 16_000], |limit| {
        let option = format!("--max-hold={limit}ms");
        let limits = [&*option, "--kill-after=200ms"];
        let words = [&["run"], &limits[..], &["L", "sh", "-c", script]].concat();
        let mut running = Running::start(place.holdlock(words));
        let stubborn: u64 = running.read_line().parse().ok()?;
        Some((running, stubborn))
    });
    let after = place.run(["run", "L", "true"]);
    assert_eq!(after.code(), 0);
    assert!(is_gone(stubborn), "runs on without the lock");
    assert_eq!(running.finish().code(), 124);
}

#[test]
fn a_stopped_command_is_ended_as_well() {
    let place = Place::new();
    let script = "kill -STOP $$; while :; do sleep 0.02; done";
    let options = ["run", "--max-hold=200ms", "--kill-after=1h"];
    let finished = place.run(options.iter().chain(&["L", "sh", "-c", script]));
    assert_eq!(finished.code(), 124);
}

/// Ignores TERM, and repeatedly forks and ends, so that its child continues.
const CHAIN: &str = "
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open('started', 'w').close()
end = time.time() + 25
while time.time() < end and os.path.exists('started'):
    if os.fork():
        os._exit(0)
    os.setsid()
open('ended', 'w').close()
";

#[test]
fn a_chain_of_forks_does_not_outrun_the_end() {
    let Some(python) = peers::interpreter() else {
        return peers::skipped("python3 is not installed");
    };
    let place = Place::new();
    std::fs::write(place.join("chain.py"), CHAIN).unwrap();
    let has_started = || place.join("started").exists().then_some(());
    let script = format!("{python} -I -S chain.py >/dev/null & echo $$; exec sleep 1000");
    let start = |options: &[&str]| {
        let options = ["run"].iter().chain(options);
        Running::start(place.holdlock(options.chain(&["L", "sh", "-c", &script])))
    };
    let check = |running: Running, code: i32| {
        assert_eq!(running.finish().code(), code);
        assert!(!place.join("ended").exists(), "ended by itself");
        std::fs::remove_file(place.join("started")).unwrap();
    };

    let mut running = start(&["--tree", "--kill-after=100ms"]);
    let command = running.read_line().parse().unwrap();
    wait_for("the chain to start", has_started);
    running.signal(Signal::TERM);
    wait_for("the command to end", || is_gone(command).then_some(()));
    running.signal(Signal::TERM);
    check(running, 143);
    for options in [&["--tree"][..], &[]] {
        // On a slow machine it may not have started by then.
        let running = ["1s", "4s", "16s"].into_iter().find_map(|limit| {
            let limits = ["--max-hold", limit, "--kill-after=100ms"];
            let running = start(&[&limits, options].concat());
            let us = running.pid().into();
            wait_for("the chain to start", || {
                has_started().or(is_gone(us).then_some(()))
            });
            has_started().map(|()| running)
        });
        check(running.expect("it starts"), 124);
    }
}

#[test]
fn everything_that_is_stopped_is_ended_by_a_second_term() {
    let place = Place::new();
    let script = "sh -c 'kill -STOP $$; :' & echo $!; echo $$; read line";
    let words = ["run", "--tree", "--kill-after=1h", "L", "sh", "-c", script];
    let mut running = Running::start_with_stdin(place.holdlock(words));
    let stopped: u64 = running.read_line().parse().unwrap();
    let command: u64 = running.read_line().parse().unwrap();
    wait_for("it to be stopped", || {
        let stat = std::fs::read_to_string(format!("/proc/{stopped}/stat")).unwrap();
        stat.contains(") T ").then_some(())
    });
    running.signal(Signal::TERM);
    wait_for("the command to end", || is_gone(command).then_some(()));
    running.signal(Signal::TERM);
    assert_eq!(running.finish().code(), 143);
    assert!(is_gone(stopped));
}

#[test]
fn a_time_limit_ends_what_has_left_the_group() {
    let place = Place::new();
    let script = "setsid sh -c 'echo $$; exec sleep 1000' & wait; read line";
    let (running, daemon) = in_time(&[1000, 4000, 16_000], |limit| {
        let option = format!("--max-hold={limit}ms");
        let words = ["run", &option, "L", "sh", "-c", script];
        let mut running = Running::start_with_stdin(place.holdlock(words));
        let daemon: u64 = running.read_line().parse().ok()?;
        Some((running, daemon))
    });
    assert_eq!(running.finish().code(), 124);
    assert!(is_gone(daemon));
}

#[test]
fn what_was_there_before_holdlock_is_left_alone() {
    let place = Place::new();
    for (options, command, code) in [
        ("--max-hold=300ms", "exec sleep 1000", 124),
        ("--tree", "exit 4", 4),
        ("", "kill -TERM $$", 143),
    ] {
        let script = format!(
            "sleep 1000 >/dev/null 2>&1 & echo $!; exec \"$HOLDLOCK\" run {options} L sh -c '{command}'"
        );
        let mut running = Running::start(place.shell(&script));
        let before: u64 = running.read_line().parse().unwrap();
        let finished = running.finish();
        assert!(!is_gone(before), "{options}");
        let pid = Pid::from_raw(before.try_into().unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        assert_eq!(
            (finished.code(), finished.stderr.contains("continue")),
            (code, false)
        );
    }
}

#[test]
fn a_stopped_holdlock_ends_the_command_in_time() {
    let place = Place::new();
    let script = "trap '' TERM; echo $$; while :; do sleep 0.02; done";
    let (running, command) = in_time(&[1000, 4000, 16_000], |limit| {
        let option = format!("--max-hold={limit}ms");
        let limits = [&*option, "--kill-after=1s"];
        let words = [&["run"], &limits[..], &["L", "sh", "-c", script]].concat();
        let mut running = Running::start(place.holdlock(words));
        let command: u64 = running.read_line().parse().ok()?;
        Some((running, command))
    });
    running.signal(Signal::STOP);
    assert_eq!(running.finish().code(), 124);
    assert!(is_gone(command));
}

#[test]
fn a_holdlock_that_is_stopped_again_as_it_continues_ends_the_command_in_time() {
    let place = Place::new();
    let stays = "echo runs; sleep 1000";
    let mut limit = Duration::from_millis(200);
    let mut in_time = 0;
    for _ in 0..10 {
        let option = format!("--max-hold={}ms", limit.as_millis());
        let before = Instant::now();
        let words = ["run", &option, "L", "sh", "-c", stays];
        let mut running = Running::start(place.holdlock(words));
        if running.read_line() != "runs" {
            // On a slow machine the time is over before.
            limit *= 2;
            continue;
        }
        let begin = Instant::now();
        while begin.elapsed() < limit + Duration::from_millis(100) {
            running.signal(Signal::STOP);
        }
        // Stops that go on for much longer leave holdlock stopped for ever.
        if before.elapsed() < limit + Duration::from_millis(600) {
            assert_eq!(running.finish().code(), 124);
            in_time += 1;
        }
    }
    assert!(in_time > 0, "this machine is too slow");
}

#[test]
fn a_tree_holds_until_its_last_descendant_has_ended() {
    let place = Place::new();
    // A daemon: its parent is gone, and its session is its own.
    let script = "setsid sh -c 'while ! test -e stop; do sleep 0.02; done; echo last' & \
                  echo first; exit 4";
    let mut running = Running::start(place.holdlock(["run", "--tree", "L", "sh", "-c", script]));
    running.expect_line("first");
    let pid = running.pid();
    wait_for("the command itself to be gone", || {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let mut children = children.split_whitespace();
        let name =
            |pid| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        children
            .all(|pid| !name(pid).contains("first"))
            .then_some(())
    });
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 75);
    std::fs::write(place.join("stop"), "").unwrap();
    let finished = running.finish();
    assert_eq!((finished.code(), finished.text()), (4, "last\n"));
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
}

#[test]
fn two_terms_at_once_do_not_end_a_tree() {
    let place = Place::new();
    // As timeout(1) sends them: to the process, and to its group.
    let script = "trap 'echo told' TERM; echo ready; while :; do sleep 0.02; echo goes on; done";
    let words = [
        "run",
        "--tree",
        "--kill-after=100ms",
        "L",
        "sh",
        "-c",
        script,
    ];
    for _ in 0..20 {
        let mut running = Running::start(place.holdlock(words));
        running.expect_line("ready");
        let begin = Instant::now();
        let heard = (0..2).all(|_| {
            running.signal(Signal::TERM);
            loop {
                match &*running.read_line() {
                    "told" => return true,
                    // It has been ended.
                    "" => return false,
                    _ => {}
                }
            }
        });
        // On a slow machine the second one comes late, and is another request.
        if begin.elapsed() < Duration::from_secs(1) {
            assert!(heard, "the second one has ended it");
            // Longer than --kill-after.
            for _ in 0..20 {
                running.expect_line("goes on");
            }
            return;
        }
    }
    panic!("this machine is too slow");
}

#[test]
fn a_tree_that_holds_too_long_is_ended_wherever_it_hides() {
    let place = Place::new();
    let script = "setsid sh -c 'echo $$; exec sleep 1000' & exit 0";
    let (running, daemon) = in_time(&[300, 1000, 4000, 16_000], |limit| {
        let option = format!("--max-hold={limit}ms");
        let words = ["run", "--tree", &option, "L", "sh", "-c", script];
        let mut running = Running::start(place.holdlock(words));
        let daemon: u64 = running.read_line().parse().ok()?;
        Some((running, daemon))
    });
    assert_eq!(running.finish().code(), 124);
    assert!(is_gone(daemon));
}

#[test]
fn exec_makes_the_command_the_holder() {
    let place = Place::new();
    let script = "echo $$; read line; exit 8";
    let mut running =
        Running::start_with_stdin(place.holdlock(["run", "--exec", "L", "sh", "-c", script]));
    assert_eq!(running.read_line(), running.pid().to_string());
    let other = place.run(["run", "-n", "L", "true"]);
    assert_eq!(other.code(), 75);
    let holder = format!("held by pid {} (sh ", running.pid());
    assert!(other.stderr.contains(&holder), "{other:?}");
    assert_eq!(running.finish().code(), 8);
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
}

#[test]
fn exec_of_nothing_releases() {
    let place = Place::new();
    let finished = place.run(["run", "--exec", "L", "/missing"]);
    assert_eq!(finished.code(), 127);
    assert_eq!(place.run(["run", "-n", "L", "true"]).code(), 0);
}
