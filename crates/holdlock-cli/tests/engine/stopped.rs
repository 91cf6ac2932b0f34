//! Somebody stops holdlock alone, at moments at which it has much to do.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use holdlock_test_support::servers::Server;
use holdlock_test_support::{can_trace, eventually, watchdog};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{Running, STAY, engines, holdlock, redis, run, start};

#[test]
fn a_command_that_stops_holdlock_as_it_starts_keeps_the_lock() {
    let _dog = watchdog::watch(180);
    for server in engines() {
        // A machine that is too slow for the one ttl is not for the next.
        let kept = [4, 8, 16]
            .iter()
            .any(|ttl| is_kept_over_a_stop_at_the_start(server, *ttl));
        assert!(kept, "{}", server.engine());
    }
}

/// Whether no lock is lost. If one is, its command must have been ended.
fn is_kept_over_a_stop_at_the_start(server: &dyn Server, ttl: u64) -> bool {
    let stops = format!(
        "kill -STOP $PPID; echo runs; sleep {}; echo ends",
        ttl * 3 / 2
    );
    // In some of them, the command is quicker than holdlock.
    let some = ["first", "second", "third", "fourth"].map(|name| {
        let name = format!("stopped-at-the-start-{name}");
        let url = server.with(&format!("ttl={ttl}"), &name);
        Running::try_start(holdlock(&["run"]).args([&url, "--", "sh", "-c", &stops]))
    });
    let ended = some.map(|(running, runs)| {
        let (code, out, said) = running.ended();
        // The lock may be lost before the command says anything.
        assert!(runs || code == Some(74), "{code:?} {said}");
        (code, out, said)
    });
    for (code, out, said) in &ended {
        let expected = if *code == Some(74) { "" } else { "ends\n" };
        assert_eq!(out, expected, "{}: {code:?} {said}", server.engine());
        assert!(matches!(code, Some(0 | 74)), "{code:?} {said}");
    }
    ended.iter().all(|(code, ..)| *code == Some(0))
}

#[test]
fn a_holdlock_that_lost_its_lock_in_a_stop_starts_no_command() {
    let _dog = watchdog::watch(120);
    if !can_trace() {
        return;
    }
    for server in engines() {
        // It keeps the lock of a stopped holdlock.
        if server.engine() == "postgres" {
            continue;
        }
        let name = "stopped-before-the-start";
        let url = server.with("ttl=8", name);
        // The timer is made after the acquisition, and before the command is started.
        let stopped = Command::new("strace")
            .args(["-f", "-q", "-o", "/dev/null", "-e", "trace=timer_create"])
            .args(["-e", "inject=timer_create:signal=SIGSTOP:when=1"])
            .args([env!("CARGO_BIN_EXE_holdlock"), "run", &url])
            .args(["--", "echo", "runs"])
            .env_remove("HOLDLOCK_ENGINE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("starts");
        eventually("it holds the lock", || {
            run(&["-n", &url, "--", "true"]).0 == Some(75)
        });
        let other = server.url(name);
        let other = start(&[&["-w", "30s", other.as_str()], &STAY[..]].concat());
        let group = Pid::from_raw(stopped.id().cast_signed()).expect("a pid");
        kill_process_group(group, Signal::CONT).expect("sent");
        let ended = stopped.wait_with_output().expect("ended");
        let said = String::from_utf8_lossy(&ended.stderr);
        let out = String::from_utf8_lossy(&ended.stdout);
        let seen = (ended.status.code(), out.as_ref());
        assert_eq!(seen, (Some(74), ""), "{}: {said}", server.engine());
        assert!(said.contains("nothing was run"), "{said}");
        assert_eq!(other.end().0, Some(0), "{}", server.engine());
    }
}

#[test]
fn a_holdlock_that_is_stopped_while_it_releases_continues() {
    let _dog = watchdog::watch(20);
    let Some(server) = redis::own(&[]) else {
        return;
    };
    let server = server.awake();
    // Nothing else ends the stop, nor frees the lock, before the test gives up.
    let url = server.with("ttl=3600", "stopped-at-the-end");
    let mut running = start(&[&[url.as_str()], &STAY[..]].concat());
    server.signal(Signal::STOP);
    drop(running.stdin.take());
    let main_thread = format!("/proc/{0}/task/{0}", running.pid());
    eventually("the command's end", || {
        let children = std::fs::read_to_string(format!("{main_thread}/children"));
        children.is_ok_and(|children| children.is_empty())
    });
    // A stop before that lasts until the lock has to be renewed.
    eventually("it waits for the server", || {
        let wait = std::fs::read_to_string(format!("{main_thread}/wchan"));
        wait.is_ok_and(|wait| wait.contains("futex"))
    });
    running.send(Signal::STOP);
    server.signal(Signal::CONT);
    running.ended();
    let (code, _, said) = run(&["-n", &url, "--", "true"]);
    assert_eq!(code, Some(0), "{said}");
}
