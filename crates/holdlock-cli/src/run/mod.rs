//! `holdlock run`: a command under one lock or several.

mod command;
mod descendants;
mod locks;
mod log;
mod progress;
mod supervisor;
mod terminal;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdlock::{Guard, Mode};

use crate::exit::{self, Failure, Outcome};
use log::{Log, Record};
pub(crate) use supervisor::Limit;
use supervisor::{Duties, End};

/// What the command line asks for.
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    /// In the order of coming.
    pub(crate) fair: bool,
    pub(crate) patience: Patience,
    /// The exit code for "somebody else holds it".
    pub(crate) conflict: u8,
    /// Say nothing about waiting and giving up.
    pub(crate) quiet: bool,
    pub(crate) progress: Progress,
    /// How the command is kept.
    pub(crate) keep: Keep,
    pub(crate) log: Option<OsString>,
    pub(crate) locks: Vec<OsString>,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// How long to wait for the lock.
pub(crate) enum Patience {
    /// Until it comes.
    Endless,
    /// Not at all.
    None,
    /// This long.
    For(Duration),
}

/// Whether to tell about a wait while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// At once on a terminal; elsewhere only when it gets long.
    Auto,
    /// Soon, wherever standard error goes.
    Always,
    /// Not at all.
    Never,
}

/// What becomes of us while the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// We wait for its end, or for that of all its descendants (`tree`).
    Supervised { limit: Option<Limit>, tree: bool },
    /// We become the command; the lock ends with it and with all that inherit it.
    Replaced,
}

/// How far a run has come: what the log will tell.
struct Course {
    locks: Vec<PathBuf>,
    waited: Duration,
    held: Option<Duration>,
    outcome: &'static str,
}

impl Course {
    /// Why the lock was not taken, with the exit code and the message asked for.
    fn not_taken(&mut self, error: &holdlock::Error, settings: &Settings) -> Failure {
        let mut failure = Failure::from(error);
        self.outcome = match error {
            holdlock::Error::TimedOut(_) => "timeout",
            holdlock::Error::Deadlock { .. } => "deadlock",
            _ if error.is_conflict() => "conflict",
            _ => "error",
        };
        if error.is_conflict() {
            failure.code = settings.conflict;
            if settings.quiet {
                failure.message.clear();
            }
        }
        failure
    }
}

/// Acquires the lock, runs the command, releases, and returns the command's status.
pub(crate) fn run(settings: Settings) -> Outcome {
    let Some(file) = &settings.log else {
        return attempt(&settings, &mut Course::new());
    };
    // Before anything else: a log that cannot be written should be known in time.
    let log = Log::open(file)?;
    let began = std::time::SystemTime::now();
    let mut course = Course::new();
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

fn attempt(settings: &Settings, course: &mut Course) -> Outcome {
    let locks = locks::open(settings, course)?;
    let guards = locks::take(&locks, settings, course)?;
    let (limit, tree) = match settings.keep {
        Keep::Supervised { limit, tree } => (limit, tree),
        Keep::Replaced => return Err(replaced(&guards, settings)),
    };

    let duties = Duties {
        limit,
        tree,
        quiet: settings.quiet,
    };
    let began = Instant::now();
    let end = supervisor::supervise(duties, |manner| {
        command::start(&settings.program, &settings.arguments, manner)
    })?;
    course.held = Some(began.elapsed());

    // Released by name, not by exit: the next holder need not wait for our exit.
    for guard in guards {
        if let Err(error) = guard.release() {
            exit::warn(&error.to_string());
        }
    }
    let (outcome, code) = match end {
        End::Exited(code) => ("ran", code),
        End::Signal(number) => ("signal", 128 + number),
        End::HeldTooLong => ("held-too-long", exit::HELD_TOO_LONG),
    };
    course.outcome = outcome;
    Ok(code)
}

/// Hands the locks to the command and becomes it. Returns why that failed.
fn replaced(guards: &[Guard<'_>], settings: &Settings) -> Failure {
    for guard in guards {
        // No longer close-on-exec.
        if let Err(error) = rustix::io::fcntl_setfd(guard, rustix::io::FdFlags::empty()) {
            return Failure::system("cannot hand the lock to the command", error);
        }
    }
    command::become_it(&settings.program, &settings.arguments)
}

impl Course {
    fn new() -> Course {
        Course {
            locks: Vec::new(),
            waited: Duration::ZERO,
            held: None,
            outcome: "error",
        }
    }
}
