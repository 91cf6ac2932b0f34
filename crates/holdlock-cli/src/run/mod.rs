//! `holdlock run`: a command under one lock or several.

mod command;
mod conflict;
mod deadlock;
mod ending;
#[cfg(feature = "engines")]
mod engine;
mod held;
mod inherited;
mod job;
mod locks;
mod log;
mod progress;
mod reentrant;
mod slots;
mod supervisor;
mod survivors;
mod terminal;
mod watch;

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdlock::Mode;
use holdlock::inspect::Process;

use crate::exit::{self, Failure, Outcome};
use crate::lockdir::Names;
use crate::sys::run_child::Manner;
use crate::sys::signals;
use held::Held;
use log::{Log, Record};
pub(crate) use supervisor::Duties;
use supervisor::End;

/// The settings of the command line.
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    /// Whose names the locks have.
    pub(crate) names: Names,
    /// In the order of arrival.
    pub(crate) fair: bool,
    /// Acquire a slot of this many.
    pub(crate) slots: Option<u32>,
    /// Run at once under a lock that this job holds already.
    pub(crate) reentrant: bool,
    pub(crate) patience: Patience,
    /// The exit code for a lock that another process holds.
    pub(crate) conflict: u8,
    /// Say nothing about waiting and giving up.
    pub(crate) quiet: bool,
    pub(crate) progress: Progress,
    /// What holdlock does while the command runs.
    pub(crate) keep: Keep,
    /// The command does not inherit the lock.
    pub(crate) close: bool,
    pub(crate) log: Option<OsString>,
    pub(crate) locks: Vec<OsString>,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// The limit of the wait for the lock.
pub(crate) enum Patience {
    /// Until it is acquired.
    Endless,
    /// Not at all.
    None,
    /// This long.
    For(Duration),
}

/// Whether to report progress while waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// At once on a terminal; elsewhere only in a long wait.
    Auto,
    /// Soon, also where standard error is no terminal.
    Always,
    /// Not at all.
    Never,
}

/// What holdlock does while the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It waits for the end of the command.
    Supervised(Duties),
    /// It becomes the command; the lock ends with the command and all processes that inherit it.
    Replaced,
}

/// The events of a run, for the log.
struct Course {
    locks: Vec<PathBuf>,
    /// The processes because of which the lock was not acquired.
    holders: Vec<Process>,
    waited: Duration,
    held: Option<Duration>,
    slot: Option<u32>,
    outcome: &'static str,
    /// The signal that ended the command and has to end holdlock, too.
    dies_of: Option<u8>,
}

impl Course {
    /// The failure of a run that has not acquired the lock: the exit code and the message that the
    /// options ask for.
    fn not_taken(&mut self, error: &holdlock::Error, settings: &Settings) -> Failure {
        let failure = match error.conflict() {
            // A mistake, and nothing to keep silent about.
            _ if matches!(error, holdlock::Error::DifferentSlots { .. }) => Failure::from(error),
            Some(_) if settings.quiet => Failure::new(settings.conflict, ""),
            Some(conflict) => {
                let message = conflict::message(error, conflict, &settings.patience);
                Failure::new(settings.conflict, message)
            }
            None => Failure::from(error),
        };
        if let Some(conflict) = error.conflict()
            && settings.log.is_some()
        {
            self.holders = conflict.holders().to_vec();
        }
        self.outcome = match error {
            holdlock::Error::TimedOut(_) => "timeout",
            holdlock::Error::Deadlock { .. } => "deadlock",
            _ if error.is_conflict() => "conflict",
            _ => "error",
        };
        failure
    }
}

/// Acquires the lock, runs the command, releases, and returns the command's status.
pub(crate) fn run(settings: Settings) -> Outcome {
    let mut course = Course::new();
    let outcome = match &settings.log {
        None => attempt(&settings, &mut course),
        Some(file) => {
            // First of all, so that a log that cannot be written is an error before anything runs.
            let log = Log::open(file)?;
            let began = std::time::SystemTime::now();
            let outcome = attempt(&settings, &mut course);
            let exit = match &outcome {
                Ok(code) => *code,
                Err(failure) => failure.code,
            };
            log.append(&Record {
                began,
                settings: &settings,
                course: &course,
                exit,
            });
            outcome
        }
    };
    if let Some(signal) = course.dies_of {
        // A shell whose command dies of Ctrl-C ends its script; an exit code would not show that.
        signals::die_of(signal.into());
    }
    outcome
}

fn attempt(settings: &Settings, course: &mut Course) -> Outcome {
    #[cfg(feature = "engines")]
    if engine::is_meant(settings) {
        return engine::run(settings, course);
    }
    let locks;
    let held: Vec<Held<'_>> = match settings.slots {
        Some(slots) => vec![Held::Slot(slots::take(slots, settings, course)?)],
        None => {
            locks = locks::open(settings, course)?;
            let guards = locks::take(&locks, settings, course)?;
            guards.into_iter().map(Held::Lock).collect()
        }
    };
    course.slot = held.iter().find_map(Held::slot);
    let slot = course.slot.map(|slot| ("HOLDLOCK_SLOT", slot.to_string()));
    let environment: Vec<(&str, String)> = slot.into_iter().collect();
    let duties = match settings.keep {
        Keep::Supervised(duties) => duties,
        Keep::Replaced => return Err(replaced(held, settings, &environment)),
    };

    let began = Instant::now();
    let inherits: Vec<BorrowedFd<'_>> = if settings.close {
        Vec::new()
    } else {
        held.iter().map(Held::as_fd).collect()
    };
    let ended = supervisor::supervise(duties, settings.quiet, &held, |signals| {
        let manner = Manner {
            inherits: &inherits,
            environment: &environment,
            signals,
            when_we_end: libc::SIGTERM,
        };
        command::start(&settings.program, &settings.arguments, &manner)
    })?;
    course.held = Some(began.elapsed());

    let end = ended.end;
    if end.releases() {
        // By an unlock, not by closing, because processes that the command has left in the
        // background also have the lock open.
        for one in held.into_iter().rev() {
            if let Err(error) = one.release() {
                exit::warn(&error.to_string());
            }
        }
    } else {
        // Closed at the end of holdlock, not unlocked, so that the processes that are still at work
        // keep the lock.
        std::mem::forget(held);
    }
    drop(ended);
    let (outcome, code) = match end {
        End::Exited(code) | End::AfterSignal(code) => ("ran", code),
        End::Signal(number) => ("signal", 128 + number),
        End::HeldTooLong => ("held-too-long", exit::HELD_TOO_LONG),
        End::LockLost => ("lost", exit::LOST),
    };
    course.outcome = outcome;
    if let End::Signal(number) = end
        && [libc::SIGINT, libc::SIGQUIT].contains(&number.into())
    {
        course.dies_of = Some(number);
    }
    Ok(code)
}

/// Hands the locks to the command and becomes it. Returns why that failed.
fn replaced(held: Vec<Held<'_>>, settings: &Settings, environment: &[(&str, String)]) -> Failure {
    let handed: Result<Vec<OwnedFd>, _> = held.into_iter().map(Held::hand_over).collect();
    match handed {
        Ok(_until_then) => command::become_it(&settings.program, &settings.arguments, environment),
        Err(error) => Failure::from(&error),
    }
}

impl Course {
    fn new() -> Course {
        Course {
            locks: Vec::new(),
            holders: Vec::new(),
            waited: Duration::ZERO,
            held: None,
            slot: None,
            outcome: "error",
            dies_of: None,
        }
    }
}
