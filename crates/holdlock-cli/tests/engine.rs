//! `holdlock run URL`: a command under a lock that PostgreSQL keeps.

#![cfg(feature = "engines")]

#[path = "../../holdlock-engines/tests/postgres/server.rs"]
#[allow(dead_code, reason = "used by the tests of the engines as well")]
mod server;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use holdlock_test_support::{eventually, watchdog};

fn holdlock(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdlock"));
    command.arg("run").args(arguments).stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = holdlock(arguments).output().expect("starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

/// Starts a command that says when it runs, and waits until it does.
fn start(arguments: &[&str]) -> Child {
    let mut child = holdlock(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("a pipe");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("says something");
    assert_eq!(line, "runs\n");
    child
}

fn end(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    let stderr = child.stderr.as_mut().expect("a pipe");
    stderr.read_to_string(&mut said).expect("text");
    (child.wait().expect("ended").code(), said)
}

#[test]
fn one_command_at_a_time_which_knows_its_token() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("one");
    let show = "echo $HOLDLOCK_TOKEN; echo $HOLDLOCK_LOCK; exit 3";
    let (code, said, errors) = output(&[&url, "--", "sh", "-c", show]);
    assert_eq!((code, errors.as_str()), (Some(3), ""));
    let (token, lock) = said.trim().split_once('\n').expect("two lines");
    assert_eq!(
        lock,
        format!("postgres://127.0.0.1:{}/postgres#one", server.port())
    );
    let token: u64 = token.parse().expect("a number");

    let until = tempfile::NamedTempFile::new().expect("a file");
    let stay = format!(
        "echo runs; while [ -e {} ]; do sleep 0.05; done",
        until.path().display()
    );
    let holder = start(&[&url, "--", "sh", "-c", &stay]);
    let (code, _, errors) = output(&["-n", &url, "--", "true"]);
    assert_eq!(code, Some(75), "{errors}");
    assert!(
        errors.contains("already locked by pid") && errors.contains("sh -c"),
        "{errors}"
    );
    let (code, _, errors) = output(&["-w", "1", &url, "--", "true"]);
    assert_eq!(code, Some(75), "{errors}");
    assert_eq!(output(&["--skip", &url, "--", "true"]).0, Some(0));
    until.close().expect("removed");
    assert_eq!(end(holder).0, Some(0));
    let (_, said, _) = output(&[&url, "--", "sh", "-c", show]);
    let next: u64 = said
        .lines()
        .next()
        .expect("a line")
        .parse()
        .expect("a number");
    assert!(next > token);
    server.nothing_left("one");
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
    let child = start(&[&url, "--", "sh", "-c", stubborn]);
    server.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'holdlock:lost'",
    );
    let (code, said) = end(child);
    assert_eq!(code, Some(74), "{said}");
    assert!(
        said.contains("the lock was lost") && said.contains("ending the command"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_silent_server_ends_the_command_before_the_lock_is_free() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    let url = server.url("still");
    let child = start(&[&url, "--", "sh", "-c", "echo runs; sleep 100"]);
    let session =
        server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'holdlock:still'");
    server.signal_all(&[session], rustix::process::Signal::STOP);
    let (code, said) = end(child);
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("does not answer"), "{said}");
}

#[test]
fn a_killed_holdlock_takes_its_command_with_it() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("killed");
    let mut child = start(&[
        &url,
        "--",
        "sh",
        "-c",
        "trap '' TERM; echo runs; read line <&2",
    ]);
    let holder = child.stdout.take().expect("a pipe");
    child.kill().expect("killed");
    child.wait().expect("ended");
    // The command has the other end of the pipe.
    let mut rest = Vec::new();
    { holder }
        .read_to_end(&mut rest)
        .expect("the command has ended");
    eventually("the lock is free", || {
        output(&["-n", &url, "--", "true"]).0 == Some(0)
    });
}

#[test]
fn what_is_wrong_with_the_engine_has_an_exit_code() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("codes");
    let port = server::free_port();
    for (url, code, part) in [
        ("postgres://h/d".to_owned(), 64, "#name"),
        (format!("postgres://127.0.0.1:{port}/d#n"), 69, "refused"),
        (url.replace("boss@", "nobody-here@"), 77, "nobody-here"),
        (url.replace("/postgres?", "/nowhere?"), 78, "nowhere"),
    ] {
        let (exit, _, said) = output(&[&url, "--", "true"]);
        assert_eq!(exit, Some(code), "{said}");
        assert!(said.contains(part), "{said}");
    }
    for option in ["--exec", "--reentrant"] {
        assert_eq!(output(&[option, &url, "--", "true"]).0, Some(64));
    }
    let (code, _, said) = output(&["--lock", &url, "--lock", "x", "--", "true"]);
    assert_eq!(code, Some(64), "{said}");
}
