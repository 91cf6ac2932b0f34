//! Signals while the command waits for an engine, and a process that has few descriptors.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};

use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};
use rustix::process::{Pid, Signal, kill_process};

use crate::{STAY, holdlock, output, redis, said, server, start};

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id() as i32).expect("a pid");
    kill_process(pid, signal).expect("sent");
}

#[test]
fn a_signal_that_ends_a_wait_gives_the_place_back() {
    let _dog = watchdog::watch(60);
    // Without a word of the waiter, this server keeps its place for six seconds.
    let Some(server) = redis::shared() else {
        return;
    };
    let url = server.url("signalled");
    let waiters = || {
        let document = output(&["who", "--json", &url]).1;
        let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
        document["files"][0]["waiters"].as_array().map(Vec::len)
    };
    let holder = start(&[&[url.as_str()], &STAY[..]].concat());
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let mut waiter = holdlock(&["run", "-q", &url, "--", "true"]);
        let mut waiter = waiter.spawn().expect("starts");
        eventually("it waits", || waiters() == Some(1));
        send(&waiter, signal);
        let status = waiter.wait().expect("ended");
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        assert_eq!(waiters(), Some(0), "{signal:?}");
    }
    // Who ignores a signal goes on waiting.
    let mut waiter = Command::new("sh");
    waiter.args(["-c", "trap '' INT; exec \"$@\"", "sh"]);
    let mut waiter = waiter
        .arg(env!("CARGO_BIN_EXE_holdlock"))
        .args(["run", "-q", &url, "--", "true"])
        .spawn()
        .expect("starts");
    eventually("it waits", || waiters() == Some(1));
    send(&waiter, Signal::INT);
    holder.end();
    assert!(waiter.wait().expect("ended").success());
}

#[test]
fn a_signal_ends_an_attempt_to_connect_at_once() {
    let _dog = watchdog::watch(60);
    // It accepts connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    for scheme in ["postgres", "redis", "etcd"] {
        let url = format!("{scheme}://127.0.0.1:{port}/0?connect_timeout=3000#x");
        let mut attempt = holdlock(&["run", &url, "--", "true"]);
        let mut attempt = attempt.spawn().expect("starts");
        let (_connection, _) = silent.accept().expect("a connection");
        send(&attempt, Signal::INT);
        let status = attempt.wait().expect("ended");
        assert_eq!(status.signal(), Some(2), "{scheme}: {status}");
    }
}

#[test]
fn without_descriptors_the_error_says_so_and_no_lock_counts_as_lost() {
    let _dog = watchdog::watch(120);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("few");
    let mut succeeded = 0;
    for limit in 4_u64..=24 {
        let mut command = holdlock(&["run", &url, "--", "true"]);
        // SAFETY: setrlimit is allowed between fork and exec.
        #[allow(unsafe_code, reason = "a limit of the child only")]
        unsafe {
            command.pre_exec(move || {
                let limit = rustix::process::Rlimit {
                    current: Some(limit),
                    maximum: Some(limit),
                };
                Ok(rustix::process::setrlimit(
                    rustix::process::Resource::Nofile,
                    limit,
                )?)
            });
        }
        let (code, _, errors) = said(&mut command);
        match code {
            Some(0) => succeeded += 1,
            Some(69 | 71 | 127) => assert!(errors.contains("open files"), "{limit}: {errors}"),
            other => panic!("{limit}: {other:?}: {errors}"),
        }
    }
    assert!(succeeded > 5, "only {succeeded}");
}
