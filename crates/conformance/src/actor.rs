//! Processes that do lock operations one at a time, on the order of a test.

use std::fmt;
use std::path::Path;
use std::process::Command;

use holdlock_test_support::{LineProcess, queue};

/// Another process, which answers each order with a line. Killed when dropped.
pub struct Actor(LineProcess);

impl Actor {
    /// Starts `holdlock-actor` on a lock file. The caller has the program's path from
    /// `env!("CARGO_BIN_EXE_holdlock-actor")`.
    pub fn start(program: &str, path: &Path) -> Actor {
        Actor::start_with(program, path, &[])
    }

    /// The same with options: `ofd`, `delete`, `fair`, `record`, `follow`.
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

    /// Any program that prints `ready`, reads orders from stdin, and answers each with a line.
    pub fn from_command(mut command: Command) -> Actor {
        let process = LineProcess::start(&mut command).expect("the actor starts");
        let mut actor = Actor(process);
        assert_eq!(actor.answer(), "ready");
        actor
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Gives an order without waiting for the answer.
    pub fn tell(&mut self, order: impl fmt::Display) {
        self.0.tell(order).expect("the actor reads");
    }

    /// Waits for the next answer. Empty if the actor has ended.
    pub fn answer(&mut self) -> String {
        self.0.hear().expect("an answer").unwrap_or_default()
    }

    /// Gives an order and waits for the answer.
    pub fn ask(&mut self, order: impl fmt::Display) -> String {
        self.tell(order);
        self.answer()
    }

    /// Gives an order, which must succeed.
    #[track_caller]
    pub fn must(&mut self, order: &str) {
        assert_eq!(self.ask(order), "ok", "{order}");
    }

    /// Gives an order, which must put the actor to sleep in the kernel's queue.
    #[track_caller]
    pub fn must_block(&mut self, order: &str, path: &Path) {
        self.tell(order);
        queue::wait_for(path, self.pid());
    }

    /// Kills the process (kill -9) and waits for its end.
    pub fn kill(self) {
        drop(self.0);
    }
}
