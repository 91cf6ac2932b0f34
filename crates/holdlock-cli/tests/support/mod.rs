//! What the tests of the command have in common: the real program, in a directory
//! of its own, with a deadline.
//!
//! Nothing here sleeps for a fixed time: the functions check for an event until a deadline, and
//! then name the event for which they waited.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;

pub(crate) use holdlock_test_support::wait_for;
use holdlock_test_support::watchdog::Watchdog;
use holdlock_test_support::{DEADLINE, Scratch, queue};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

pub(crate) mod peers;
mod signals;
pub(crate) mod terminal;

/// A directory of one test, removed at its end.
pub(crate) struct Place(Scratch);

impl Place {
    pub(crate) fn new() -> Place {
        signals::heed();
        Place(Scratch::below(Path::new(env!("CARGO_TARGET_TMPDIR"))))
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.directory().join(name)
    }

    /// The lock directory of the commands of this place.
    pub(crate) fn locks(&self) -> PathBuf {
        self.join("locks")
    }

    /// `holdlock` with these words.
    pub(crate) fn holdlock<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_holdlock"));
        command.args(words);
        command
    }

    /// `sh -c script`, with the program's path as `$HOLDLOCK`.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        command
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.0.directory())
            .env("HOLDLOCK_DIR", self.locks())
            .env("HOLDLOCK", env!("CARGO_BIN_EXE_holdlock"))
            .env("LC_ALL", "C")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Writes a program in this place.
    ///
    /// Not by this process: what another thread starts at this moment would have the file open for
    /// writing as well, and until it closes it nobody can run it.
    pub(crate) fn write_program(&self, name: &str, text: &str) -> PathBuf {
        let mut command = self.command("sh");
        let script = r#"printf %s "$1" >"$0" && chmod 755 "$0""#;
        command.args(["-c", script, name, text]);
        assert_eq!(Running::start(command).finish().code(), 0);
        self.join(name)
    }

    /// Runs `holdlock` to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Finished {
        Running::start(self.holdlock(words)).finish()
    }

    /// A process that already holds a lock, until it gets the order to release it.
    pub(crate) fn hold(&self, words: &[&str]) -> Running {
        let mut command = self.holdlock(["run"]);
        command
            .args(words)
            .args(["--", "sh", "-c", "echo held; read line; exit 0"]);
        let mut holder = Running::start_with_stdin(command);
        holder.expect_line("held");
        holder
    }
}

/// The result of a program.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// A running program. If the test ends first, the program and all that it started are killed.
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<std::process::ChildStdout>,
    reaped: bool,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        // A group of its own, so that a program that hangs is killed with all that it started.
        let mut child = command.process_group(0).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running {
            child,
            stdin,
            stdout,
            reaped: false,
        }
    }

    pub(crate) fn start_with_stdin(mut command: Command) -> Running {
        command.stdin(Stdio::piped());
        Running::start(command)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads its next line, which must be this one.
    pub(crate) fn expect_line(&mut self, line: &str) {
        assert_eq!(self.read_line(), line);
    }

    /// Reads its next line.
    pub(crate) fn read_line(&mut self) -> String {
        let killer = killer(self.pid());
        let mut read = String::new();
        self.stdout.read_line(&mut read).unwrap();
        drop(killer);
        read.trim_end().to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it is in the kernel's queue of a lock.
    pub(crate) fn expect_waiting(&self) {
        queue::wait_for_any(self.pid());
    }

    /// Writes to its standard input.
    pub(crate) fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("has a pipe");
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Closes its standard input, if that was a pipe.
    pub(crate) fn let_go(&mut self) {
        self.stdin = None;
    }

    /// Waits for its end, and returns its output.
    pub(crate) fn finish(mut self) -> Finished {
        self.let_go();
        let killer = killer(self.pid());
        let mut errors = self.child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).map(|_| text).unwrap()
        });
        let mut stdout = Vec::new();
        self.stdout.read_to_end(&mut stdout).unwrap();
        let stderr = errors.join().unwrap();
        let status = self.child.wait().unwrap();
        self.reaped = true;
        drop(killer);
        Finished {
            status,
            stdout,
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Until it is reaped, no other process can have its number.
        if !self.reaped {
            kill_group(self.pid());
            let _ = self.child.wait();
        }
    }
}

/// Kills a process that hangs, so that the test that waits for it fails.
fn killer(pid: u32) -> Watchdog {
    Watchdog::after(DEADLINE, move || {
        eprintln!("process {pid} hangs and is killed");
        kill_group(pid);
    })
}

fn kill_group(leader: u32) {
    let _ = kill_process_group(Pid::from_raw(leader as i32).unwrap(), Signal::KILL);
}

/// Whether the process has ended, although its new parent may not have reaped it.
pub(crate) fn is_gone(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, state)| state.starts_with('Z'))
}
