//! A worker of the demo: its critical sections, printed and journalled.
//!
//! Lines and events have an order that makes the verdict safe: the time of an
//! `enter` is taken after the lock was acquired, that of a `leave` before it is
//! released, and both are in the journal before the release.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use holdlock::FileLock;

use super::journal::{self, Event, Journal, Step};
use crate::exit::{self, Failure, Outcome};
use crate::show::output::print;

/// The hidden subcommand by which the demo starts its workers.
pub(crate) const WORKER: &str = "__demo-worker";

/// The orders of a worker.
pub(super) struct Orders {
    pub(super) run: u32,
    pub(super) number: u32,
    pub(super) rounds: u32,
    pub(super) max_sleep: Duration,
    pub(super) locked: bool,
    pub(super) lock: PathBuf,
    pub(super) journal: PathBuf,
}

impl Orders {
    /// The words after the subcommand, in the order in which `parse` takes them.
    pub(super) fn words(self) -> [OsString; 7] {
        [
            self.run.to_string().into(),
            self.number.to_string().into(),
            self.rounds.to_string().into(),
            self.max_sleep.as_nanos().to_string().into(),
            self.locked.to_string().into(),
            self.lock.into(),
            self.journal.into(),
        ]
    }

    fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Orders> {
        fn value<T: std::str::FromStr>(word: Option<OsString>) -> Option<T> {
            word?.to_str()?.parse().ok()
        }
        Some(Orders {
            run: value(words.next())?,
            number: value(words.next())?,
            rounds: value(words.next())?,
            max_sleep: Duration::from_nanos(value(words.next())?),
            locked: value(words.next())?,
            lock: words.next()?.into(),
            journal: words.next()?.into(),
        })
    }
}

/// The whole life of a worker.
pub(crate) fn work(words: impl Iterator<Item = OsString>) -> Outcome {
    let orders = Orders::parse(words).ok_or_else(|| {
        Failure::usage(format!(
            "{WORKER} is for `holdlock demo` itself, which starts it"
        ))
    })?;
    let lock = FileLock::open(&orders.lock)?;
    let journal = Journal::open(&orders.journal)
        .map_err(|error| Failure::system("cannot open the journal of the demo", error))?;
    let seed = journal::now() ^ u64::from(std::process::id()).rotate_left(40);
    let mut worker = Worker {
        random: fastrand::Rng::with_seed(seed),
        journal,
        orders,
    };

    if !wait_for_start() {
        return Ok(exit::SUCCESS);
    }
    end_with_parent();
    for _ in 0..worker.orders.rounds {
        if worker.orders.locked {
            worker.note(Step::Wait)?;
            let guard = lock.lock()?;
            worker.critical_section()?;
            worker.note(Step::Release)?;
            guard.release()?;
        } else {
            worker.critical_section()?;
        }
    }
    Ok(exit::SUCCESS)
}

struct Worker {
    orders: Orders,
    journal: Journal,
    random: fastrand::Rng,
}

impl Worker {
    /// Enters, sleeps, leaves, and sleeps as long again: with the lock, no other worker may enter
    /// during that second sleep either.
    fn critical_section(&mut self) -> Result<(), Failure> {
        let nanos = self.random.u64(0..=self.orders.max_sleep.as_nanos() as u64);
        let sleep = Duration::from_nanos(nanos);
        self.note(Step::Enter)?;
        self.say('+')?;
        thread::sleep(sleep);
        self.note(Step::Leave)?;
        self.say('-')?;
        thread::sleep(sleep);
        Ok(())
    }

    /// One write per line: lines of different workers never mix.
    fn say(&self, sign: char) -> Result<(), Failure> {
        let line = format!("{sign}[{}]\n", self.orders.number);
        print(&line)
    }

    fn note(&mut self, step: Step) -> Result<(), Failure> {
        let event = Event {
            at: journal::now(),
            run: self.orders.run,
            worker: self.orders.number,
            pid: std::process::id(),
            locked: self.orders.locked,
            step,
        };
        self.journal
            .write(&event)
            .map_err(|error| Failure::system("cannot write the journal of the demo", error))
    }
}

/// Waits for the byte from the demo; the end of the pipe means that the demo has ended.
fn wait_for_start() -> bool {
    io::stdin().read_exact(&mut [0]).is_ok()
}

/// Ends this worker when its demo ends, also if the demo is killed: a thread waits for the end of
/// standard input. The kernel then releases the lock.
fn end_with_parent() {
    thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(exit::OS_ERROR.into());
    });
}
