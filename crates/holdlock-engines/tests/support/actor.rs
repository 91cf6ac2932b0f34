//! Another process: this test program, started again as one that does as it is told.

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use holdlock::Request;
use holdlock_engines::{BootTime, EngineGuard, Error, open};
use holdlock_test_support::eventually;
use rustix::process::{Pid, Signal, kill_process};

use super::limits::given_up;

const URL: &str = "HOLDLOCK_TEST_ACTOR";

pub(crate) struct Actor {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Actor {
    pub(crate) fn start(url: &str) -> Actor {
        Actor::with(url, &[])
    }

    /// With these variables in its environment.
    pub(crate) fn with(url: &str, variables: &[(&str, &str)]) -> Actor {
        let program = std::env::current_exe().expect("this program");
        Actor::of(Command::new(program).envs(variables.iter().copied()), url)
    }

    /// What is mounted for it, no other process sees.
    pub(crate) fn in_own_mounts(url: &str) -> Actor {
        let program = std::env::current_exe().expect("this program");
        Actor::of(Command::new("unshare").arg("-m").arg(program), url)
    }

    fn of(command: &mut Command, url: &str) -> Actor {
        let mut child = command
            .args([
                "--exact",
                "support::actor::actor",
                "--ignored",
                "--nocapture",
            ])
            .env(URL, url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        Actor {
            to: child.stdin.take().expect("a pipe"),
            from: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn tell(&mut self, order: &str) {
        writeln!(self.to, "{order}").expect("listens");
    }

    pub(crate) fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let length = self.from.read_line(&mut line).expect("answers");
            assert!(length > 0, "the actor has ended");
            // The test harness writes as well.
            if let Some((_, answer)) = line.split_once('@') {
                return answer.trim_end().to_owned();
            }
        }
    }

    pub(crate) fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.answer()
    }

    /// Sends it a signal. When this returns after STOP, each of its threads has stopped.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid() as i32).expect("a pid");
        kill_process(pid, signal).expect("sent");
        if signal == Signal::STOP {
            eventually("the actor has stopped", || self.is_stopped());
        }
    }

    fn is_stopped(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it lives");
        let is_stopped = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state stands behind the name, which is in parentheses.
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.trim_start().starts_with('T'))
        };
        tasks.flatten().all(is_stopped)
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(mut self) {
        self.child.wait().expect("ended");
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test: the other process.
#[test]
#[ignore = "it is the other process of the tests"]
fn actor() {
    let Ok(url) = std::env::var(URL) else { return };
    let lock = open(&url).expect("a lock");
    let mut guard: Option<EngineGuard> = None;
    // Moments of the clock that all processes share.
    let (mut held_at, mut lost_at) = (BootTime::now(), BootTime::now());
    for order in std::io::stdin().lines() {
        let order = order.expect("a line");
        let said = match order.split_once(' ').unwrap_or((&order, "")) {
            ("lock", _) => taken(lock.lock(), &mut guard),
            ("shared", _) => taken(lock.lock_shared(), &mut guard),
            ("try", _) => taken(lock.try_lock(), &mut guard),
            ("last", _) => {
                let (_, error) = given_up(&lock, Request::exclusive);
                println!("@{error:?}");
                std::process::exit(0);
            }
            // The end of the process follows at once.
            ("withdraw", _) => {
                let request = Request::exclusive().on_wait(|_| ControlFlow::Break(()));
                lock.acquire(request).expect_err("withdrawn");
                std::process::exit(0);
            }
            ("leave", _) => {
                guard.take().expect("a guard").release_in_background();
                std::process::exit(0);
            }
            ("release", _) => match guard.take().expect("a guard").release() {
                Ok(()) => "released".to_owned(),
                Err(error) => format!("{error:?}"),
            },
            ("valid", _) => guard
                .as_ref()
                .is_some_and(EngineGuard::is_valid)
                .to_string(),
            ("lost", _) => format!("{:?}", guard.as_ref().expect("a guard").lost().loss()),
            ("check", _) => format!("{:?}", guard.as_ref().expect("a guard").check()),
            ("await-loss", _) => {
                let lost = guard.as_ref().expect("a guard").lost();
                let loss = lost.wait(Duration::from_secs(60)).expect("lost");
                lost_at = BootTime::now();
                let how = if loss.is_definite() {
                    "definite"
                } else {
                    "unsure"
                };
                format!("{how} {loss}")
            }
            ("held-at", _) => nanos(held_at),
            ("lost-at", _) => nanos(lost_at),
            ("deadline", _) => nanos(guard.as_ref().expect("a guard").deadline()),
            ("waiters", _) => lock.members().expect("answers").waiters.len().to_string(),
            ("holders", _) => lock.members().expect("answers").holders.len().to_string(),
            ("churn", arguments) => super::churn::churn(&lock, arguments),
            (other, _) => panic!("no order: {other}"),
        };
        if said.starts_with("held") {
            held_at = BootTime::now();
        }
        println!("@{said}");
    }
}

fn nanos(moment: BootTime) -> String {
    moment.since_boot().as_nanos().to_string()
}

fn taken(result: Result<EngineGuard, Error>, guard: &mut Option<EngineGuard>) -> String {
    match result {
        Ok(new) => {
            let token = new.token().map_or(0, |token| token);
            *guard = Some(new);
            format!("held {token}")
        }
        Err(error) => format!("{error:?}"),
    }
}
