//! Processes that do lock operations one at a time, as they are told.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::{queue, sys};

/// Another process. Killed when dropped.
pub struct Actor {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts `holdlock-actor`, whose path the caller knows from
    /// `env!("CARGO_BIN_EXE_holdlock-actor")`, on a lock file.
    pub fn start(program: &str, path: &Path) -> Actor {
        Actor::start_with(program, path, &[])
    }

    /// The same with options: `ofd`, `delete`, `fair`, `follow`.
    pub fn start_with(program: &str, path: &Path, options: &[&str]) -> Actor {
        let mut command = Command::new(program);
        command.arg(path).args(options);
        Actor::from_command(command)
    }

    /// An actor that holds the exclusive lock.
    pub fn holding(program: &str, path: &Path) -> Actor {
        let mut actor = Actor::start(program, path);
        actor.must("lock");
        actor
    }

    /// Any program that reads orders from stdin and answers each with a line,
    /// and says `ready` first.
    pub fn from_command(mut command: Command) -> Actor {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the actor starts");
        let orders = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        let mut actor = Actor {
            child,
            orders,
            answers,
        };
        assert_eq!(actor.answer(), "ready");
        actor
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order without waiting for the answer.
    pub fn tell(&mut self, order: impl fmt::Display) {
        writeln!(self.orders, "{order}").expect("the actor listens");
    }

    /// Waits for the next answer. Empty when the actor is gone.
    pub fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }

    /// Gives an order and waits for the answer.
    pub fn ask(&mut self, order: impl fmt::Display) -> String {
        self.tell(order);
        self.answer()
    }

    /// The order succeeds.
    #[track_caller]
    pub fn must(&mut self, order: &str) {
        assert_eq!(self.ask(order), "ok", "{order}");
    }

    /// The order is given and puts the actor to sleep in the kernel's queue.
    #[track_caller]
    pub fn must_block(&mut self, order: &str, path: &Path) {
        self.tell(order);
        queue::wait_for(path, self.pid());
    }

    /// kill -9, and the process is gone.
    pub fn kill(mut self) {
        sys::kill(self.pid(), libc::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        sys::kill(self.pid(), libc::SIGCONT);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
