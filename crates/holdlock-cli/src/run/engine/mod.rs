//! `holdlock run URL`: a command under a lock that an engine keeps for several hosts.
//!
//! Such a lock can be lost. The command then has to end before the engine gives the lock to another
//! host: TERM goes to it and to all that it has started so early that KILL still comes in time.

mod leash;
mod runs;
mod shown;

use std::cell::Cell;
use std::ffi::{OsStr, OsString, c_int};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use holdlock::{CancelToken, Request, Waiting};
use holdlock_engines::{BootTime, EngineGuard, EngineLock, Error, Member};
use rustix::process::{Signal, getpid, kill_process};

use super::supervisor::{self, Duties, End, Ended, Terms};
use super::{Course, IfAbandoned, Keep, OnLost, Patience, Settings, command, memory};
use crate::engines::{self, failure};
use crate::exit::{self, Failure, Outcome};
use crate::sys::cancel_on_signal::CancelOnSignal;
use crate::sys::run_child::Manner;
use leash::GuardLeash;
use runs::Runs;
use shown::Shown;

/// Acquires the lock, runs the command, releases, and returns the command's status.
pub(super) fn run(settings: &Settings, course: &mut Course) -> Outcome {
    let duties = match settings.keep {
        Keep::Supervised(duties) => duties,
        Keep::Replaced => {
            return Err(Failure::usage(
                "--exec cannot be used with a lock of an engine: holdlock has to stay, to keep it",
            ));
        }
    };
    if settings.reentrant {
        return Err(Failure::usage(
            "--reentrant cannot be used with a lock of an engine; leave the inner run's lock out",
        ));
    }
    if settings.slots.is_some() {
        return Err(Failure::usage(
            "--slots cannot be used with a lock of an engine: write ?slots=N in the URL",
        ));
    }
    let [word] = &settings.locks[..] else {
        return Err(Failure::usage(
            "a lock of an engine cannot be combined with other locks; run one holdlock inside the \
             other",
        ));
    };
    let lock = engines::open(word, settings.names)?.command(&words(settings));
    if !settings.quiet {
        engines::tell(lock.warnings());
    }
    course.locks.push(PathBuf::from(lock.name()));
    let runs = Runs::new(&lock, settings);
    if runs.is_recent(&runs.past()?) {
        course.outcome = "skipped";
        return Ok(exit::SUCCESS);
    }
    let began = Instant::now();
    let caught = CancelOnSignal::new(&supervisor::ENDING);
    let (taken, acquired) = take(&lock, settings, began, &caught.token());
    course.waited = acquired.duration_since(began);
    let guard = match (taken, caught.arrived()) {
        (Ok(guard), None) => guard,
        (Err(error), None) => return Err(not_taken(course, &error, settings)),
        // A guard is dropped here, which releases the lock.
        (_, Some(number)) => return Err(ended_by(number, course)),
    };
    // Another run may have succeeded while this one waited.
    let past = runs.past()?;
    if runs.is_recent(&past) {
        course.outcome = "skipped";
        return Ok(exit::SUCCESS);
    }
    let job = Job {
        acquired,
        lock: &lock,
        guard: &guard,
        settings,
        duties,
        is_abandoned: past.at_work.is_some(),
        caught: Cell::new(Some(caught)),
    };
    // Kept, so that others see also between two commands for whom holdlock does not wait.
    let cleaned = match &past.at_work {
        Some(last) => job.after_abandonment(last, course)?,
        None => None,
    };
    let is_lost = |cleaned: &Ended| cleaned.end == End::LockLost;
    if cleaned.as_ref().is_some_and(is_lost) {
        return finish(guard, End::LockLost, settings, course);
    }
    runs.begin(&guard)?;
    let since = BootTime::now();
    let mut ended = job.hold(&settings.program, &settings.arguments, course)?;
    ended.stay_awake();
    course.held = Some(job.acquired.elapsed());
    runs.end(&guard, since, ended.end);
    finish(guard, ended.end, settings, course)
}

/// The command, and what it runs under.
struct Job<'a> {
    acquired: Instant,
    lock: &'a EngineLock,
    guard: &'a EngineGuard,
    settings: &'a Settings,
    duties: Duties,
    /// The last holder died.
    is_abandoned: bool,
    /// Until the first command starts, signals are put off, so that they leave no lock behind.
    caught: Cell<Option<CancelOnSignal>>,
}

impl Job<'_> {
    /// The last holder died: does what --if-abandoned says. Returns the end of a cleaning up, if
    /// there was one: it has succeeded, or the lock was lost.
    fn after_abandonment(
        &self,
        last: &Member,
        course: &mut Course,
    ) -> Result<Option<Ended>, Failure> {
        if memory::is_warned_of(self.settings) {
            exit::warn(&format!(
                "warning: {}; what it did may be half done",
                runs::died(self.lock, last)
            ));
        }
        let (why, code) = match &self.settings.memory.if_abandoned {
            None | Some(IfAbandoned::Run) => return Ok(None),
            Some(IfAbandoned::Fail) => (memory::NOTHING_WAS_RUN.to_owned(), exit::ABANDONED),
            Some(IfAbandoned::Clean(words)) => {
                let words = ["-c".into(), words.clone()];
                let mut ended = self.hold("sh".as_ref(), &words, course)?;
                if ended.end == End::Exited(exit::SUCCESS) {
                    ended.let_sleep();
                    return Ok(Some(ended));
                }
                ended.stay_awake();
                match ended.end {
                    End::LockLost => return Ok(Some(ended)),
                    end => {
                        course.dies_of = end.kills_us();
                        memory::not_cleaned(end)
                    }
                }
            }
        };
        course.outcome = "abandoned";
        let failure = runs::refuse(self.lock, last, &why);
        Err(Failure { code, ..failure })
    }

    /// Runs a command while the lock is held.
    fn hold(
        &self,
        program: &OsStr,
        arguments: &[OsString],
        course: &mut Course,
    ) -> Result<Ended, Failure> {
        let environment = self.environment();
        // The supervisor looks at the lock whenever a child of ours may have changed.
        self.guard.lost().on_lost(|_| {
            let _ = kill_process(getpid(), Signal::CHILD);
        });
        let leash = GuardLeash {
            guard: self.guard,
            on_lost: self.settings.on_lost,
        };
        let terms = Terms {
            duties: self.duties,
            since: self.acquired,
            quiet: self.settings.quiet,
            held: &[],
            leash: Some(&leash),
        };
        supervisor::supervise(&terms, |signals| {
            // From now on the supervisor fetches the signals that arrive.
            let caught = self.caught.take();
            if let Some(number) = caught.and_then(|caught| caught.arrived()) {
                return Err(ended_by(number, course));
            }
            // Somebody may have stopped us since the acquisition. From here on the supervisor's
            // timer continues us in time.
            if let Some(why) = leash.is_over() {
                course.outcome = "lost";
                return Err(Failure::new(exit::LOST, format!("{why}; nothing was run")));
            }
            let manner = Manner {
                inherits: &[],
                environment: &environment,
                signals,
                // The lock ends with us.
                when_we_end: libc::SIGKILL,
            };
            command::start(program, arguments, &manner)
        })
    }

    /// The variables that a command gets.
    fn environment(&self) -> [(&'static str, Option<String>); 5] {
        let token = self.guard.token().map(|token| token.to_string());
        let ttl = self.guard.ttl().as_secs_f64().to_string();
        let abandoned = self.is_abandoned.then(|| "1".to_owned());
        [
            ("HOLDLOCK_LOCK", Some(self.lock.exact_name())),
            ("HOLDLOCK_TOKEN", token),
            ("HOLDLOCK_ENGINE_KIND", Some(self.lock.kind().to_owned())),
            ("HOLDLOCK_TTL", Some(ttl)),
            ("HOLDLOCK_ABANDONED", abandoned),
        ]
    }
}

/// A signal came before the command was started.
fn ended_by(number: c_int, course: &mut Course) -> Failure {
    let number = u8::try_from(number).unwrap_or(exit::OS_ERROR);
    course.outcome = "signal";
    course.dies_of = Some(number);
    Failure::new(128_u8.saturating_add(number), "")
}

fn finish(guard: EngineGuard, end: End, settings: &Settings, course: &mut Course) -> Outcome {
    let released = guard.release();
    let (outcome, code) = match end {
        End::LockLost => ("lost", exit::LOST),
        End::HeldTooLong => ("held-too-long", exit::HELD_TOO_LONG),
        End::Signal(number) => ("signal", 128 + number),
        End::Exited(code) | End::AfterSignal(code) => ("ran", code),
    };
    course.outcome = outcome;
    course.dies_of = end.kills_us();
    match released {
        Ok(()) => Ok(code),
        // The reason was said when the command was ended.
        Err(_) if end == End::LockLost => Ok(code),
        // The command was to go on without the lock.
        Err(error) if settings.on_lost == OnLost::Warn => {
            course.outcome = "lost";
            exit::warn(&error.to_string());
            Ok(code)
        }
        Err(error) => {
            course.outcome = "lost";
            course.dies_of = None;
            Err(failure(&error))
        }
    }
}

/// What the others see.
fn words(settings: &Settings) -> String {
    let words = std::iter::once(&settings.program).chain(&settings.arguments);
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Acquires the lock. Also returns when that has ended.
fn take(
    lock: &EngineLock,
    settings: &Settings,
    began: Instant,
    token: &CancelToken,
) -> (Result<EngineGuard, Error>, Instant) {
    let mut shown = None;
    let on_wait = |event| {
        if event == Waiting::Began {
            shown = Some(Shown::start(lock.clone(), settings, began));
        }
        ControlFlow::Continue(())
    };
    let request = Request::new(settings.mode).cancel(token);
    let request = match &settings.memory.note {
        Some(note) => request.note(note.as_str()),
        None => request,
    };
    let request = request.on_wait(on_wait);
    let request = match settings.patience {
        Patience::Endless => request,
        Patience::For(limit) if !limit.is_zero() => request.timeout(limit),
        _ => request.try_once(),
    };
    let taken = lock.acquire(request);
    // Not later: the messages and the engine may take their time while the lock is held.
    let acquired = Instant::now();
    if let Some(shown) = shown {
        shown.end(taken.is_ok());
    }
    (taken, acquired)
}

/// Why the lock was not acquired, with the exit code and the message asked for.
fn not_taken(course: &mut Course, error: &Error, settings: &Settings) -> Failure {
    course.outcome = match error {
        Error::TimedOut(_) => "timeout",
        _ if error.is_conflict() => "conflict",
        _ => "error",
    };
    let failure = failure(error);
    match error.is_conflict() {
        true if settings.quiet => Failure::new(settings.conflict, ""),
        true => Failure::new(settings.conflict, failure.message),
        false => failure,
    }
}
