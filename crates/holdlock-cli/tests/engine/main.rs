//! The command with locks of engines.

#![cfg(feature = "engines")]
#![allow(missing_docs, reason = "tests")]

#[path = "../support/bystander.rs"]
mod bystander;
mod forged;
mod garbage;
mod installed;
mod limits;
mod look;
mod lost;
mod names;
mod partition;
mod recipes;
mod run;
mod runs;
mod signals;
mod stopped;
#[path = "../support/signals.rs"]
mod usual_signals;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Output, Stdio};

use holdlock_test_support::servers::{Server, etcd, postgres as server, redis};
use rustix::process::{Pid, Signal, kill_process};

/// A server of each engine that this machine has.
fn engines() -> Vec<&'static dyn Server> {
    let postgres = server::shared().map(|server| server as &dyn Server);
    let etcd = etcd::shared().map(|cluster| cluster as &dyn Server);
    let redis = redis::shared().map(|server| server as &dyn Server);
    [postgres, etcd, redis].into_iter().flatten().collect()
}

/// The URL as messages have it: without user and options.
fn shown(url: &str) -> String {
    let (place, name) = url.split_once('#').expect("a name");
    let place = place.split_once('?').expect("options").0;
    format!("{}#{name}", place.replace("boss@", ""))
}

/// The program, without what the tests' caller may have set.
fn holdlock(words: &[&str]) -> Command {
    usual_signals::heed();
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdlock"));
    command
        .args(words)
        .stdin(Stdio::null())
        .env_remove("HOLDLOCK_ENGINE")
        .env_remove("HOLDLOCK_DIR")
        .env("LC_ALL", "C");
    command
}

/// The exit code, and what the program wrote to standard output and standard error.
type Said = (Option<i32>, String, String);

fn said(command: &mut Command) -> Said {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code(), text(&stdout), text(&stderr))
}

fn output(words: &[&str]) -> Said {
    said(&mut holdlock(words))
}

/// `holdlock run` with these words.
fn run(words: &[&str]) -> Said {
    said(holdlock(&["run"]).args(words))
}

/// A `holdlock run` whose command has started, and ends when it is told to or reads the end of its
/// input.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

/// Starts a command that says `runs` when it does, and waits for it.
fn start(words: &[&str]) -> Running {
    Running::start(holdlock(&["run"]).args(words))
}

/// The command of most tests: it runs until its input ends.
const STAY: [&str; 4] = ["--", "sh", "-c", "echo runs; read line; exit 0"];

impl Running {
    fn start(command: &mut Command) -> Running {
        let (running, runs) = Running::try_start(command);
        assert!(runs);
        running
    }

    /// Also whether the command says `runs`.
    fn try_start(command: &mut Command) -> (Running, bool) {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let mut running = Running {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("a pipe")),
            stderr: BufReader::new(child.stderr.take().expect("a pipe")),
            child,
        };
        let line = running.line();
        assert!(["", "runs\n"].contains(&&*line), "{line}");
        (running, !line.is_empty())
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn send(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("sent");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        line
    }

    /// A line of standard error.
    fn warning(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).expect("text");
        line
    }

    /// Lets it end.
    fn end(mut self) -> Said {
        drop(self.stdin.take());
        self.ended()
    }

    /// Waits until it has ended by itself.
    fn ended(mut self) -> Said {
        let (mut out, mut errors) = (String::new(), String::new());
        self.stderr.read_to_string(&mut errors).expect("text");
        self.stdout.read_to_string(&mut out).expect("text");
        (self.child.wait().expect("ended").code(), out, errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
