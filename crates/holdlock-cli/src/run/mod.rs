//! `holdlock run`: a command under one lock or several.

mod command;
mod conflict;
mod deadlock;
mod ending;
mod inherited;
mod job;
mod locks;
mod log;
mod memory;
mod progress;
mod reentrant;
mod supervisor;
mod survivors;
mod terminal;
mod watch;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdlock::inspect::Process;
use holdlock::{Guard, Mode};

use crate::exit::{self, Failure, Outcome};
use crate::lockdir::Names;
use crate::sys::run_child::Manner;
use crate::sys::signals;
use log::{Log, Record};
pub(crate) use memory::{IfAbandoned, Interval, Memory};
pub(crate) use supervisor::Duties;
use supervisor::{End, Ended};

/// The settings of the command line.
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    /// Whose names the locks have.
    pub(crate) names: Names,
    /// In the order of arrival.
    pub(crate) fair: bool,
    /// Run at once under a lock that this job holds already.
    pub(crate) reentrant: bool,
    pub(crate) patience: Patience,
    /// The exit code for a lock that another process holds.
    pub(crate) conflict: u8,
    /// Say nothing about waiting and giving up.
    pub(crate) quiet: bool,
    pub(crate) progress: Progress,
    /// How the command is kept.
    pub(crate) keep: Keep,
    /// The command does not inherit the lock.
    pub(crate) close: bool,
    pub(crate) log: Option<OsString>,
    pub(crate) memory: Memory,
    pub(crate) locks: Vec<OsString>,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// How long to wait for the lock.
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

/// What becomes of us while the command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// We wait for its end.
    Supervised(Duties),
    /// We become the command; the lock ends with it and with all that inherit it.
    Replaced,
}

/// What has happened in a run, for the log.
struct Course {
    locks: Vec<PathBuf>,
    /// The processes because of which the lock was not acquired.
    holders: Vec<Process>,
    waited: Duration,
    held: Option<Duration>,
    outcome: &'static str,
    /// A signal that ended the command and is to end us.
    dies_of: Option<u8>,
    /// The lock was not acquired because its file cannot have a record.
    cannot_record: bool,
}

impl Course {
    /// Why the lock was not acquired, with the exit code and the message asked for.
    fn not_taken(&mut self, error: &holdlock::Error, settings: &Settings) -> Failure {
        let failure = match error.conflict() {
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
        self.cannot_record = matches!(error, holdlock::Error::Record { .. });
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
            // Before anything else: a log that cannot be written should be known in time.
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
    let locks = locks::open(settings, course, true)?;
    if memory::is_recent(&course.locks[0], settings) {
        course.outcome = "skipped";
        return Ok(exit::SUCCESS);
    }
    let without_record;
    let guards = match locks::take(&locks, settings, course) {
        // The file is not a lock file but somebody's data, or there is no room for a record.
        Err(_) if course.cannot_record && memory::is_optional(settings) => {
            course.locks.clear();
            without_record = locks::open(settings, course, false)?;
            locks::take(&without_record, settings, course)?
        }
        taken => taken?,
    };
    let is_abandoned = memory::is_abandoned(&guards);
    // Another run may have succeeded while this one waited. (If the holder after that run died, its
    // work has to be done again.)
    if !is_abandoned && memory::is_recent(&course.locks[0], settings) {
        memory::give_back(guards);
        course.outcome = "skipped";
        return Ok(exit::SUCCESS);
    }
    if is_abandoned {
        return after_abandonment(guards, settings, course);
    }
    run_under(guards, settings, course)
}

/// The last holder died: does what --if-abandoned says.
fn after_abandonment(guards: Vec<Guard<'_>>, settings: &Settings, course: &mut Course) -> Outcome {
    if !settings.quiet {
        memory::warn(&guards);
    }
    let why = match &settings.memory.if_abandoned {
        None | Some(IfAbandoned::Run) => return run_under(guards, settings, course),
        Some(IfAbandoned::Fail) => {
            "nothing was run; clean up, and run once with --if-abandoned run".to_owned()
        }
        Some(IfAbandoned::Clean(command)) => {
            memory::tell(&guards);
            let words = ["-c".into(), command.clone()];
            let ended = hold(&guards, settings, "sh".as_ref(), &words)?;
            match ended.end {
                End::Exited(exit::SUCCESS) => return run_under(guards, settings, course),
                end if end.releases() => {
                    format!(
                        "cleaning up failed with exit code {}; nothing was run",
                        end.code()
                    )
                }
                end => {
                    // What is left of it keeps the lock, and the next holder is told of us.
                    let failure = memory::refuse(&guards, "cleaning up was ended by a signal");
                    std::mem::forget(guards);
                    course.outcome = "abandoned";
                    return Err(Failure {
                        code: end.code(),
                        ..failure
                    });
                }
            }
        }
    };
    let failure = memory::refuse(&guards, &why);
    memory::give_back(guards);
    course.outcome = "abandoned";
    Err(failure)
}

/// Runs a command while the locks are held.
fn hold(
    guards: &[Guard<'_>],
    settings: &Settings,
    program: &OsStr,
    arguments: &[OsString],
) -> Result<Ended, Failure> {
    let duties = match settings.keep {
        Keep::Supervised(duties) => duties,
        // Of a command that cleans up before we become the other one.
        Keep::Replaced => Duties::default(),
    };
    let inherits: Vec<BorrowedFd<'_>> = if settings.close {
        Vec::new()
    } else {
        guards.iter().map(Guard::as_fd).collect()
    };
    supervisor::supervise(duties, settings.quiet, guards, |signals| {
        let manner = Manner {
            inherits: &inherits,
            signals,
        };
        command::start(program, arguments, &manner)
    })
}

fn run_under(guards: Vec<Guard<'_>>, settings: &Settings, course: &mut Course) -> Outcome {
    let run = memory::begin(&guards);
    if settings.keep == Keep::Replaced {
        return Err(replaced(guards, settings));
    }
    let began = Instant::now();
    let ended = hold(&guards, settings, &settings.program, &settings.arguments)?;
    course.held = Some(began.elapsed());

    let end = ended.end;
    memory::end(&guards, run, end);
    if end.releases() {
        // By an unlock, not by closing: processes that the command has left in the background have
        // the lock open as well.
        for guard in guards.into_iter().rev() {
            if let Err(error) = guard.release() {
                exit::warn(&error.to_string());
            }
        }
    } else if end.is_complete() {
        // Closed when we end, not unlocked: the processes that are still at work keep it.
        std::mem::forget(guards.into_iter().map(Guard::hand_over).collect::<Vec<_>>());
    } else {
        // The same; and the record says to the next holder that this one died.
        std::mem::forget(guards);
    }
    drop(ended);
    course.outcome = match end {
        End::Exited(_) | End::AfterSignal(_) => "ran",
        End::Signal(_) => "signal",
        End::HeldTooLong => "held-too-long",
    };
    if let End::Signal(number) = end
        && [libc::SIGINT, libc::SIGQUIT].contains(&number.into())
    {
        course.dies_of = Some(number);
    }
    Ok(end.code())
}

/// Hands the locks to the command and becomes it. Returns why that failed.
fn replaced(guards: Vec<Guard<'_>>, settings: &Settings) -> Failure {
    let handed: Result<Vec<OwnedFd>, _> = guards.into_iter().map(Guard::hand_over).collect();
    match handed {
        Ok(_until_then) => command::become_it(&settings.program, &settings.arguments),
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
            outcome: "error",
            dies_of: None,
            cannot_record: false,
        }
    }
}
