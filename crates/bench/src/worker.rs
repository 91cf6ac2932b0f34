//! Worker processes: this program, started again with a job.
//!
//! Starter and worker exchange lines over pipes. A worker is killed and reaped when its handle is
//! dropped, and the kernel kills it when the starter dies.

use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use holdlock_test_support::LineProcess;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use crate::peers::Peer;
use crate::{Outcome, cases, watchdog};

/// The first argument of a worker.
pub(crate) const MARK: &str = "--worker";

/// A worker, seen from its starter.
pub(crate) struct Worker(LineProcess);

impl Worker {
    /// Starts a worker on a lock file. To be called in the main thread, because the worker dies
    /// with the thread that started it.
    pub(crate) fn start(job: &str, peer: Peer, path: &Path, more: &[&str]) -> Outcome<Worker> {
        Worker::spawn(
            Command::new(std::env::current_exe()?)
                .args([MARK, &std::process::id().to_string(), job, &peer.name()])
                .arg(path)
                .args(more),
        )
    }

    /// Starts another program that takes and answers lines.
    pub(crate) fn spawn(command: &mut Command) -> Outcome<Worker> {
        Ok(Worker(LineProcess::start(command)?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    pub(crate) fn tell(&mut self, line: &str) -> Outcome<()> {
        Ok(self.0.tell(line)?)
    }

    /// The worker's next line.
    pub(crate) fn hear(&mut self) -> Outcome<String> {
        self.0.hear()?.ok_or_else(|| "a worker ended early".into())
    }

    /// Waits for this line, by which the worker reports a step.
    pub(crate) fn expect(&mut self, line: &str) -> Outcome<()> {
        let heard = self.hear()?;
        if heard == line {
            Ok(())
        } else {
            Err(format!("a worker said {heard:?} instead of {line:?}").into())
        }
    }
}

/// The starter, seen from a worker.
pub(crate) struct Job {
    pub(crate) peer: Peer,
    pub(crate) path: PathBuf,
    pub(crate) more: Vec<String>,
}

impl Job {
    /// Sends the starter a line.
    pub(crate) fn tell(&self, line: impl std::fmt::Display) -> Outcome<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }

    /// The starter's next line. `None` if the starter has ended or wants no more.
    pub(crate) fn hear(&self) -> Outcome<Option<String>> {
        let mut line = String::new();
        let length = std::io::stdin().lock().read_line(&mut line)?;
        Ok((length > 0).then(|| line.trim_end().to_owned()))
    }

    /// A further argument.
    pub(crate) fn more<T: std::str::FromStr>(&self, position: usize) -> Outcome<T> {
        self.more
            .get(position)
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| "a worker misses an argument".into())
    }
}

/// The whole life of a worker.
pub(crate) fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    match work(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdlock-bench: a worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(mut words: impl Iterator<Item = OsString>) -> Outcome<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let _dog = watchdog::start(watchdog::limit(false), None);
    let mut word = || words.next().ok_or("a worker needs more arguments");
    let starter = word()?;
    // The starter may have died before the request took effect.
    let parent = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if starter.to_str() != Some(&parent.to_string()) {
        return Ok(());
    }
    let name = word()?;
    let peer = word()?.to_str().and_then(Peer::from_name);
    let job = Job {
        peer: peer.ok_or("no such peer")?,
        path: word()?.into(),
        more: words
            .map(|word| word.into_string())
            .collect::<Result<_, _>>()
            .map_err(|word| format!("not text: {word:?}"))?,
    };
    let known = cases::JOBS.iter().find(|(job, _)| name == *job);
    let (_, run) = known.ok_or("no such job")?;
    run(&job)
}
