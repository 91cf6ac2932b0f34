//! A command that runs a command under a lock of a server.

use std::fs::OpenOptions;
use std::io::Read;
use std::path::Path;
use std::process::{self, Child, Stdio};
use std::time::{Duration, Instant};

use holdlock_test_support::servers::Server as _;

use super::servers::Servers;
use crate::report::Report;
use crate::{Bench, Outcome};

pub(super) struct Command {
    pub(super) name: &'static str,
    /// All words before those of the command that runs under the lock.
    words: Vec<String>,
}

/// All that this machine has.
pub(super) fn all(bench: &Bench, servers: &Servers, report: &mut Report) -> Vec<Command> {
    let mut all = Vec::new();
    let command = |name, words: &[&str]| Command {
        name,
        words: words.iter().map(|&word| word.to_owned()).collect(),
    };
    if let Some(program) = bench.holdlock.as_deref().and_then(Path::to_str) {
        for (engine, url) in servers.urls("command") {
            let name = match engine {
                "etcd" => Command::OURS_ON_ETCD,
                "PostgreSQL" => "holdlock run postgres://…",
                _ => "holdlock run redis://…",
            };
            all.push(command(name, &[program, "run", &url, "--"]));
        }
    } else {
        report.note("skipped: the command, which --holdlock names");
    }
    if let Some(cluster) = &servers.etcd {
        let endpoint = format!("--endpoints=http://127.0.0.1:{}", cluster.port());
        let words = ["etcdctl", &endpoint, "lock", "--ttl=15", "command", "--"];
        all.push(command(Command::ETCDCTL, &words));
    }
    all.retain(|command| match command.once() {
        Ok(_) => true,
        Err(why) => {
            report.note(format!("skipped: {}: {why}", command.name));
            false
        }
    });
    all
}

impl Command {
    pub(super) const OURS_ON_ETCD: &str = "holdlock run etcd://…";
    pub(super) const ETCDCTL: &str = "etcdctl lock";

    fn around(&self, words: &[&str]) -> process::Command {
        let mut command = process::Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(words);
        command.env("ETCDCTL_API", "3").stdin(Stdio::null());
        command
    }

    /// Milliseconds of the whole process around a command that does nothing.
    pub(super) fn once(&self) -> Outcome<f64> {
        let start = Instant::now();
        let output = self.around(&["/bin/true"]).output()?;
        let time = start.elapsed();
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: {}", output.status, why.trim()).into());
        }
        Ok(time.as_secs_f64() * 1e3)
    }

    /// Milliseconds from the end of the command under the lock until the next command runs.
    pub(super) fn handoff(&self, directory: &Path) -> Outcome<f64> {
        let pipe = directory.join("end-of-the-command");
        let _ = std::fs::remove_file(&pipe);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into())?;
        // It ends when the pipe has been opened and closed by a writer.
        let script = "echo in; cat \"$0\"";
        let shown = pipe.to_str().ok_or("the directory's name is no text")?;
        let mut holder = Running::start(self.around(&["sh", "-c", script, shown]))?;
        holder.is_in()?;
        let mut waiter = Running::start(self.around(&["echo", "in"]))?;
        std::thread::sleep(Duration::from_millis(500));
        drop(OpenOptions::new().write(true).open(&pipe)?);
        let released = Instant::now();
        waiter.is_in()?;
        Ok(released.elapsed().as_secs_f64() * 1e3)
    }
}

/// A process that is killed when this is dropped.
struct Running(Child);

impl Running {
    fn start(mut command: process::Command) -> Outcome<Running> {
        Ok(Running(command.stdout(Stdio::piped()).spawn()?))
    }

    /// Waits until the command under the lock runs.
    fn is_in(&mut self) -> Outcome<()> {
        let mut first = [0];
        let out = self.0.stdout.as_mut().ok_or("no output")?;
        out.read_exact(&mut first)?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Killing it would leave its lease; both end by themselves unless something failed.
        for _ in 0..300 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
