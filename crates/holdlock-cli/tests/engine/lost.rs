//! What becomes of a command whose lock is lost.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdlock_test_support::servers::Server;
use holdlock_test_support::{can_trace, eventually, has, watchdog};
use rustix::process::Signal;

use crate::{Running, STAY, engines, output, redis, run, server, start};

fn end_session(server: &server::Server, name: &str) {
    server.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'holdlock:{name}'"
    ));
}

#[test]
fn a_command_whose_lock_is_lost_is_ended() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("lost");
    // The command's child goes on after TERM, and KILL gets it.
    let stubborn = "(trap '' TERM; while :; do sleep 0.1; done) & echo runs; wait";
    let running = start(&[&url, "--", "sh", "-c", stubborn]);
    end_session(server, "lost");
    let (code, _, said) = running.ended();
    assert_eq!(code, Some(74), "{said}");
    assert!(
        said.contains("the lock was lost") && said.contains("ending the command"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_blocked_standard_error_does_not_keep_a_command_without_its_lock() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("lost-blocked");
    // As much as a pipe takes.
    let fills = "head -c 65536 /dev/zero >&2; echo runs; exec sleep 1000 2>&1";
    let mut running = start(&[&url, "--", "sh", "-c", fills]);
    end_session(server, "lost-blocked");
    let mut status = None;
    eventually("it ends", || {
        status = running.child.try_wait().expect("asked");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(74));
}

/// A chain of processes that fork and end, beside a program that does not fork. Both tell in a file
/// when they were last at work.
const CHAIN: &str = "
import os, sys, time
chain, main = (os.open(name, os.O_CREAT | os.O_WRONLY) for name in sys.argv[1:])
end = time.time() + 30
def is_at_work(file, pause):
    os.pwrite(file, b'%020d' % time.time_ns(), 0)
    time.sleep(pause)
    return time.time() < end
os.write(2, bytes(65536))  # as much as a pipe takes
if os.fork() == 0:
    while is_at_work(chain, 0.02):
        if os.fork():
            os._exit(0)
    os._exit(0)
print('runs', flush=True)
while is_at_work(main, 0.001):
    pass
";

#[test]
fn a_blocked_standard_error_does_not_hold_up_the_end_of_processes_that_fork() {
    let _dog = watchdog::watch(120);
    let Some(server) = server::shared().filter(|_| has("python3") && can_trace()) else {
        return;
    };
    // A slow machine may be late.
    let at_once = (0..10).any(|number| {
        let late = at_work_after_the_first_kill(server, &format!("lost-forks{number}"));
        println!("at work for {late:?} after the first KILL");
        late < Duration::from_millis(200)
    });
    assert!(at_once);
}

/// For how long the chain goes on after the first pass of KILL, which misses it.
fn at_work_after_the_first_kill(server: &server::Server, name: &str) -> Duration {
    let place = tempfile::tempdir().expect("a directory");
    let files = ["chain", "main"].map(|name| place.path().join(name));
    let url = server.url(name);
    let mut traced = std::process::Command::new("strace");
    traced
        .args(["-q", "-o", "/dev/null", "-e", "trace=kill"])
        // From the list of the processes to the first signal.
        .args(["-e", "inject=kill:delay_enter=100000:when=1"])
        .args([env!("CARGO_BIN_EXE_holdlock"), "run", "--on-lost", "kill"])
        .args([&url, "--", "python3", "-c", CHAIN])
        .args(&files);
    let mut running = Running::start(&mut traced);
    let is_written = |file: &std::path::PathBuf| file.metadata().is_ok_and(|file| file.len() > 0);
    eventually("both are at work", || files.iter().all(is_written));
    end_session(server, name);
    let mut status = None;
    eventually("it ends", || {
        status = running.child.try_wait().expect("asked");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(74));
    let [chain, main] = files.map(|file| {
        let text = std::fs::read_to_string(file).expect("written");
        text.parse::<u64>().expect("a time")
    });
    Duration::from_nanos(chain.saturating_sub(main))
}

#[test]
fn a_command_can_be_killed_at_once() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    // A slow machine has two seconds for the command to hear TERM.
    let url = server.with("ttl=12", "lost-kill");
    let says = "trap 'echo TERM' TERM; echo runs; while :; do sleep 0.1; done";
    let running = start(&["--on-lost", "kill", &url, "--", "sh", "-c", says]);
    end_session(server, "lost-kill");
    let (code, out, said) = running.ended();
    assert_eq!((code, out.as_str()), (Some(74), ""), "{said}");

    // As a control: with TERM first, the same command hears it.
    let running = start(&["--on-lost", "term", &url, "--", "sh", "-c", says]);
    end_session(server, "lost-kill");
    let (code, out, said) = running.ended();
    assert_eq!((code, out.as_str()), (Some(74), "TERM\n"), "{said}");
}

#[test]
fn a_command_can_go_on_without_its_lock() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("lost-warn");
    let stays = "echo runs; read line; exit 7";
    let mut running = start(&["--on-lost", "warn", &url, "--", "sh", "-c", stays]);
    end_session(server, "lost-warn");
    let warning = running.warning();
    assert!(
        warning.contains("the lock was lost") && warning.contains("continues without the lock"),
        "{warning}"
    );
    let (code, _, said) = running.end();
    assert_eq!(code, Some(7), "{said}");
}

#[test]
fn a_loss_that_the_engine_tells_is_noticed_at_once() {
    let _dog = watchdog::watch(60);
    // PostgreSQL gives no locks for so long after its start.
    for server in engines() {
        if server.engine() == "postgres" {
            continue;
        }
        // Without the news, holdlock would look at the lock in some minutes.
        let url = server.with("ttl=600", "told");
        let stays = "echo runs; echo $HOLDLOCK_TOKEN; read line; exit 7";
        let mut running = start(&["--on-lost", "warn", &url, "--", "sh", "-c", stays]);
        let token = running.line();
        let (code, _, said) = output(&["who", "-q", "--break", token.trim(), &url]);
        assert_eq!(code, Some(0), "{said}");
        let warning = running.warning();
        assert!(warning.contains("continues without the lock"), "{warning}");
        assert_eq!(running.end().0, Some(7));
    }
}

#[test]
fn a_silent_server_ends_the_command_before_the_lock_is_free() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    // A slow machine may be late once.
    let in_time = (0..3).any(|number| {
        let late = at_work_beside_a_silent_server(&server, &format!("still{number}"));
        println!("at work after {late} s");
        late < 6.0
    });
    assert!(in_time);
}

#[test]
fn a_command_whose_lock_the_server_does_not_renew_is_ended_with_the_reason() {
    let _dog = watchdog::watch(60);
    let Some(server) = redis::own(&[]).map(redis::Server::awake) else {
        return;
    };
    // Several renewals are refused before the command has to end.
    let url = server.with("ttl=9", "refused");
    let running = start(&[&[url.as_str()], &STAY[..]].concat());
    server.cli(&["ACL", "SETUSER", "default", "-@scripting"]);
    let (code, _, said) = running.ended();
    assert_eq!(code, Some(74), "{said}");
    let first = said.lines().next().unwrap_or_default();
    assert!(first.contains("does not renew the lock"), "{said}");
    assert!(first.contains("permission"), "{said}");
}

/// For how many seconds after the server has heard of holdlock the command was at work, if the
/// server then falls silent.
fn at_work_beside_a_silent_server(server: &server::Server, name: &str) -> f64 {
    // The command does not obey TERM, and tells when it was still at work.
    let url = server.with("ttl=6", name);
    let stubborn = "trap '' TERM; echo runs; while :; do date +%s.%N; sleep 0.05; done";
    let running = start(&[&url, "--", "sh", "-c", stubborn]);
    let of_session = |what| {
        format!("SELECT {what} FROM pg_stat_activity WHERE application_name = 'holdlock:{name}'")
    };
    server.signal_all(&[server.sql(&of_session("pid"))], Signal::STOP);
    // The server frees the lock six seconds after it has heard of holdlock.
    let heard = server.sql(&of_session("extract(epoch from state_change)"));
    let heard: f64 = heard.parse().expect("a time");
    let (code, out, said) = running.ended();
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("does not answer"), "{said}");
    let last = out.lines().rev().find_map(|line| line.parse::<f64>().ok());
    last.expect("a time") - heard
}

#[test]
fn a_command_goes_on_after_a_pause_of_holdlock_in_which_the_lock_was_kept() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    // A slow machine may be late once.
    let goes_on = (0..3).any(|number| goes_on_after_a_pause(server, &format!("pause{number}")));
    assert!(goes_on);
}

/// Whether the command goes on. If it does not, it must have been ended.
fn goes_on_after_a_pause(server: &server::Server, name: &str) -> bool {
    let url = server.with("ttl=3", name);
    let stays = "echo runs; read line; echo ends; exit 7";
    // It cannot have the timer that would continue it.
    let mut running = Running::start(
        std::process::Command::new("prlimit")
            .args(["--sigpending=0", env!("CARGO_BIN_EXE_holdlock"), "run"])
            .args([&url, "--", "sh", "-c", stays]),
    );
    running.send(Signal::STOP);
    // Longer than the ttl: the server's kernel hears ours.
    std::thread::sleep(Duration::from_secs(4));
    running.send(Signal::CONT);
    // holdlock has looked at the lock when the session has said something again.
    let asked = format!(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE application_name = 'holdlock:{name}' AND now() - query_start < '1 s'"
    );
    let mut has_ended = false;
    eventually("it asks the engine", || {
        has_ended = running.child.try_wait().expect("a child").is_some();
        has_ended || server.sql(&asked) == "1"
    });
    drop(running.stdin.take());
    let (code, out, said) = running.end();
    if code == Some(74) {
        println!("{said}");
        return false;
    }
    assert_eq!((code, out.as_str(), said.as_str()), (Some(7), "ends\n", ""));
    true
}

#[test]
fn a_holdlock_that_is_stopped_continues_in_time_to_keep_the_lock() {
    let _dog = watchdog::watch(120);
    for server in engines() {
        // A machine that is too slow for the one ttl is not for the next.
        let kept = [3, 6, 12]
            .iter()
            .any(|ttl| is_kept_over_a_stop(server, *ttl));
        assert!(kept, "{}", server.engine());
    }
}

/// Whether nobody gets the lock of a holdlock that is stopped for twice the ttl, and the command
/// goes on. If somebody does, the command must have been ended.
fn is_kept_over_a_stop(server: &dyn Server, ttl: u64) -> bool {
    let url = server.with(&format!("ttl={ttl}"), "stopped");
    let running = start(&[&[url.as_str()], &STAY[..]].concat());
    running.send(Signal::STOP);
    let until = Instant::now() + Duration::from_secs(2 * ttl);
    let mut is_kept = true;
    while is_kept && Instant::now() < until {
        let (code, _, said) = run(&["-n", &url, "--", "true"]);
        is_kept = code == Some(75);
        // On a slow machine the one that gets the lock may be too late to start its command.
        let got = matches!(code, Some(0 | 74));
        assert!(is_kept || got, "{}: {said}", server.engine());
    }
    running.send(Signal::CONT);
    let (code, _, said) = running.end();
    // On a slow machine it may be so late that the lock is about to be free.
    let goes_on = code == Some(0);
    assert!(goes_on || code == Some(74), "{}: {said}", server.engine());
    assert!(is_kept || !goes_on, "{}: {said}", server.engine());
    is_kept && goes_on
}

#[test]
fn a_holdlock_that_is_stopped_beside_a_silent_server_ends_its_command_in_time() {
    let _dog = watchdog::watch(60);
    let Some(server) = redis::own(&[]) else {
        return;
    };
    let server = server.awake();
    // A slow machine may be late once.
    let in_time = (0..3).any(|number| {
        let late = at_work_while_all_are_stopped(&server, &format!("stopped-silent{number}"));
        println!("at work after {late} s");
        late < 6.0
    });
    assert!(in_time);
}

/// For how many seconds the command was at work after holdlock and the server had been stopped.
fn at_work_while_all_are_stopped(server: &redis::Server, name: &str) -> f64 {
    let url = server.with("ttl=6", name);
    let stubborn = "trap '' TERM; echo runs; while :; do date +%s.%N; sleep 0.05; done";
    let running = start(&[&url, "--", "sh", "-c", stubborn]);
    // Neither can renew the lock now, and the server's clock runs on.
    server.signal(Signal::STOP);
    running.send(Signal::STOP);
    let stopped = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    let (code, out, said) = running.ended();
    server.signal(Signal::CONT);
    assert_eq!(code, Some(74), "{said}");
    let last = out.lines().rev().find_map(|line| line.parse::<f64>().ok());
    last.expect("a time") - stopped.as_secs_f64()
}
