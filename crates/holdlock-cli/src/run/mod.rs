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
mod memory;
mod progress;
mod reentrant;
mod slots;
mod supervisor;
mod survivors;
mod terminal;
mod watch;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdlock::Mode;
use holdlock::inspect::Process;

#[cfg(feature = "engines")]
use crate::engines;
use crate::exit::{self, Failure, Outcome};
use crate::lockdir::Names;
use crate::say;
use crate::sys::run_child::Manner;
use crate::sys::signals;
use held::Held;
use log::{Log, Record};
pub(crate) use memory::{IfAbandoned, Interval, Memory};
pub(crate) use supervisor::Duties;
use supervisor::{End, Ended, Terms};

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
    /// What to do if an engine's lock is lost.
    #[cfg_attr(
        not(feature = "engines"),
        allow(dead_code, reason = "a file's lock is not lost")
    )]
    pub(crate) on_lost: OnLost,
    pub(crate) log: Option<OsString>,
    pub(crate) memory: Memory,
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

/// What becomes of a command whose lock is lost, which only an engine's lock can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnLost {
    /// It gets TERM, and KILL before the engine gives the lock to another process.
    Term,
    /// It gets KILL just before that.
    Kill,
    /// It continues without the lock.
    Warn,
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
    /// The lock was not acquired because its file cannot have a record.
    cannot_record: bool,
}

impl Course {
    /// The failure of a run that has not acquired the lock: the exit code and the message that the
    /// options ask for.
    fn not_taken(&mut self, error: &holdlock::Error, settings: &Settings) -> Failure {
        let is_mistake = matches!(error, holdlock::Error::DifferentSlots { .. });
        let failure = match error.conflict() {
            // Nothing to keep silent about.
            Some(conflict) if is_mistake => {
                let message = conflict::message(error, conflict, &settings.patience);
                Failure::new(exit::CONFLICT, message)
            }
            Some(_) if settings.quiet => Failure::new(settings.conflict, ""),
            Some(conflict) => {
                let message = conflict::message(error, conflict, &settings.patience);
                Failure::new(settings.conflict, message)
            }
            None => memory::failure(error, settings),
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
        let code = say::report(outcome);
        signals::die_of(signal.into());
        return Ok(code);
    }
    outcome
}

fn attempt(settings: &Settings, course: &mut Course) -> Outcome {
    #[cfg(feature = "engines")]
    if settings.locks.iter().any(|lock| engines::is_meant(lock)) {
        return engine::run(settings, course);
    }
    let (locks, without_record);
    let held: Vec<Held<'_>> = match settings.slots {
        Some(slots) => vec![Held::Slot(slots::take(slots, settings, course)?)],
        None => {
            locks = locks::open(settings, course, true)?;
            if memory::is_recent(&course.locks[0], settings) {
                course.outcome = "skipped";
                return Ok(exit::SUCCESS);
            }
            let guards = match locks::take(&locks, settings, course) {
                // The file is not a lock file but data, or there is no room for a record.
                Err(_) if course.cannot_record && memory::is_optional(settings) => {
                    course.locks.clear();
                    without_record = locks::open(settings, course, false)?;
                    locks::take(&without_record, settings, course)?
                }
                taken => taken?,
            };
            guards.into_iter().map(Held::Lock).collect()
        }
    };
    let since = Instant::now();
    course.slot = held.iter().find_map(Held::slot);
    // Another run may have ended while this one waited. The interval also counts if that run died,
    // as it does for a run that did not have to wait; the next run still learns of the death.
    if memory::is_recent(&course.locks[0], settings) {
        memory::give_back(held);
        course.outcome = "skipped";
        return Ok(exit::SUCCESS);
    }
    if memory::is_abandoned(&held) {
        return after_abandonment(held, since, settings, course);
    }
    run_under(held, since, settings, course)
}

/// The last holder died: does what --if-abandoned says.
fn after_abandonment(
    held: Vec<Held<'_>>,
    since: Instant,
    settings: &Settings,
    course: &mut Course,
) -> Outcome {
    if memory::is_warned_of(settings) {
        memory::warn(&held);
    }
    let (held, why) = match &settings.memory.if_abandoned {
        None | Some(IfAbandoned::Run) => return run_under(held, since, settings, course),
        Some(IfAbandoned::Fail) => (held, memory::NOTHING_WAS_RUN.to_owned()),
        Some(IfAbandoned::Clean(command)) => {
            let words = ["-c".into(), command.clone()];
            let (held, mut ended) = hold(held, since, settings, "sh".as_ref(), &words)?;
            if ended.end == End::Exited(exit::SUCCESS) {
                ended.let_sleep();
                // Kept, so that others see also between two commands for whom holdlock does not
                // wait.
                let done = run_under(held, since, settings, course);
                drop(ended);
                return done;
            }
            ended.stay_awake();
            match ended.end {
                end if end.releases() => (held, memory::not_cleaned(end).0),
                end => {
                    // The processes that are left of it keep the lock, and the next holder is told
                    // that this one died.
                    let (why, code) = memory::not_cleaned(end);
                    let failure = memory::refuse(&held, &why);
                    std::mem::forget(held);
                    course.outcome = "abandoned";
                    course.dies_of = end.kills_us();
                    return Err(Failure { code, ..failure });
                }
            }
        }
    };
    let failure = memory::refuse(&held, &why);
    memory::give_back(held);
    course.outcome = "abandoned";
    Err(failure)
}

/// The variables that a command gets.
fn environment(held: &[Held<'_>]) -> Vec<(&'static str, Option<String>)> {
    let slot = held.iter().find_map(Held::slot);
    let slot = slot.map(|slot| ("HOLDLOCK_SLOT", Some(slot.to_string())));
    slot.into_iter().chain(memory::environment(held)).collect()
}

/// Runs a command while the locks are held. If it cannot be started, gives the locks back: the next
/// run learns of a last holder that died.
fn hold<'l>(
    held: Vec<Held<'l>>,
    since: Instant,
    settings: &Settings,
    program: &OsStr,
    arguments: &[OsString],
) -> Result<(Vec<Held<'l>>, Ended), Failure> {
    let duties = match settings.keep {
        Keep::Supervised(duties) => duties,
        // For a command that cleans up before holdlock becomes the other one.
        Keep::Replaced => Duties::default(),
    };
    let inherits: Vec<BorrowedFd<'_>> = if settings.close {
        Vec::new()
    } else {
        held.iter().map(Held::as_fd).collect()
    };
    let environment = environment(&held);
    let terms = Terms {
        duties,
        since,
        quiet: settings.quiet,
        held: &held,
        leash: None,
    };
    let ended = supervisor::supervise(&terms, |signals| {
        let manner = Manner {
            inherits: &inherits,
            environment: &environment,
            signals,
            when_we_end: libc::SIGTERM,
        };
        command::start(program, arguments, &manner)
    });
    match ended {
        Ok(ended) => Ok((held, ended)),
        Err(failure) => {
            memory::give_back(held);
            Err(failure)
        }
    }
}

fn run_under(
    held: Vec<Held<'_>>,
    since: Instant,
    settings: &Settings,
    course: &mut Course,
) -> Outcome {
    let run = memory::begin(&held);
    if settings.keep == Keep::Replaced {
        let environment = environment(&held);
        return Err(replaced(held, settings, &environment));
    }
    let (program, arguments) = (&settings.program, &settings.arguments);
    let (held, mut ended) = hold(held, since, settings, program, arguments)?;
    ended.stay_awake();
    course.held = Some(since.elapsed());

    let end = ended.end;
    memory::end(&held, run, end);
    if end.releases() {
        // By an unlock, not by closing, because processes that the command has left in the
        // background also have the lock open.
        for one in held.into_iter().rev() {
            if let Err(error) = one.release() {
                exit::warn(&error.to_string());
            }
        }
    } else if end.is_complete() {
        // Closed at the end of holdlock, not unlocked, so that the processes that are still at work
        // keep the lock.
        let handed = held.into_iter().map(Held::hand_over);
        std::mem::forget(handed.collect::<Vec<_>>());
    } else {
        // The same; and the record tells the next holder that this one died.
        std::mem::forget(held);
    }
    drop(ended);
    course.outcome = match end {
        End::Exited(_) | End::AfterSignal(_) => "ran",
        End::Signal(_) => "signal",
        End::HeldTooLong => "held-too-long",
        End::LockLost => "lost",
    };
    course.dies_of = end.kills_us();
    Ok(end.code())
}

/// Hands the locks to the command and becomes it. Returns why that failed.
fn replaced(
    held: Vec<Held<'_>>,
    settings: &Settings,
    environment: &[(&str, Option<String>)],
) -> Failure {
    let news = memory::news(&held);
    let mut handed: Vec<OwnedFd> = Vec::with_capacity(held.len());
    let mut held = held.into_iter();
    let failure = loop {
        match held.next().map(Held::hand_over) {
            Some(Ok(lock)) => handed.push(lock),
            Some(Err(error)) => break Failure::from(&error),
            None => {
                let (program, arguments) = (&settings.program, &settings.arguments);
                say::finish();
                break command::become_it(program, arguments, environment);
            }
        }
    };
    memory::take_back(&handed, &news);
    memory::give_back(held.collect());
    failure
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
            cannot_record: false,
        }
    }
}
