//! `holdlock run URL`: a command under a lock that an engine keeps for several hosts.
//!
//! Such a lock can be lost. The command then has to end before the engine gives the lock to another
//! host: TERM goes to it and to all that it has started so early that KILL still comes in time.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdlock::{Request, Waiting};
use holdlock_engines::{EngineGuard, EngineLock, Error, Members, open};
use rustix::process::{Signal, getpid, kill_process};

use super::command;
use super::progress::{Display, Seen};
use super::supervisor::{self, End, Leash};
use super::{Course, Keep, Patience, Settings};
use crate::exit::{self, Failure, Outcome};
use crate::show::time::rounded;
use crate::sys::run_child::Manner;
use crate::sys::signals;

/// The longest time from TERM to KILL.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// How long the engine may take to prove that the lock is held after a pause of this process.
const PROOF: Duration = Duration::from_secs(1);
/// How late this process may look at the clock without having been stopped.
const ON_TIME: Duration = Duration::from_millis(250);
/// How often the holders are asked for while a wait is shown.
const LOOK: Duration = Duration::from_secs(5);

/// Whether one of the locks is kept by an engine.
pub(super) fn is_meant(settings: &Settings) -> bool {
    let is_url = |lock: &str| {
        ["postgres://", "postgresql://"]
            .iter()
            .any(|s| lock.starts_with(s))
    };
    settings
        .locks
        .iter()
        .any(|lock| lock.to_str().is_some_and(is_url))
}

/// Acquires the lock, runs the command, releases, and returns the command's status.
pub(super) fn run(settings: &Settings, course: &mut Course) -> Outcome {
    let duties = match settings.keep {
        Keep::Supervised(duties) => duties,
        Keep::Replaced => {
            return Err(Failure::usage(
                "--exec cannot be used with a URL: holdlock has to stay, to keep the lock",
            ));
        }
    };
    if settings.reentrant {
        return Err(Failure::usage("--reentrant cannot be used with a URL"));
    }
    if settings.slots.is_some() {
        return Err(Failure::usage(
            "--slots cannot be used with a URL: write ?slots=N in the URL",
        ));
    }
    if settings.memory.is_needed() {
        return Err(Failure::usage(
            "--note, --if-abandoned and --at-most-every cannot be used with a URL",
        ));
    }
    let [url] = &settings.locks[..] else {
        return Err(Failure::usage(
            "a URL cannot be combined with other locks; run one holdlock inside the other",
        ));
    };
    // It was recognised as text before.
    let lock = open(url.to_str().unwrap_or_default()).map_err(|error| failure(&error))?;
    let lock = lock.command(&words(settings));
    if !settings.quiet {
        lock.warnings()
            .iter()
            .for_each(|text| exit::warn(&format!("warning: {text}")));
    }
    course.locks.push(PathBuf::from(lock.name()));
    let began = Instant::now();
    let taken = take(&lock, settings, began);
    course.waited = began.elapsed();
    let guard = taken.map_err(|error| not_taken(course, &error, settings))?;

    let token = guard.token().map(|token| token.to_string());
    let environment = [
        ("HOLDLOCK_LOCK", Some(lock.name().to_owned())),
        ("HOLDLOCK_TOKEN", token),
    ];
    // The supervisor looks at the lock whenever a child of ours may have changed.
    guard.lost().on_lost(|_| {
        let _ = kill_process(getpid(), Signal::CHILD);
    });
    let began = Instant::now();
    let leash = GuardLeash(&guard);
    let ended =
        supervisor::supervise_on_leash(duties, settings.quiet, &[], Some(&leash), |signals| {
            let manner = Manner {
                inherits: &[],
                environment: &environment,
                signals,
                // The lock ends with us.
                when_we_end: libc::SIGKILL,
            };
            command::start(&settings.program, &settings.arguments, &manner)
        })?;
    course.held = Some(began.elapsed());
    finish(guard, ended.end, course)
}

fn finish(guard: EngineGuard, end: End, course: &mut Course) -> Outcome {
    let released = guard.release();
    let (outcome, code) = match end {
        End::LockLost => ("lost", exit::LOST),
        End::HeldTooLong => ("held-too-long", exit::HELD_TOO_LONG),
        End::Signal(number) => ("signal", 128 + number),
        End::Exited(code) | End::AfterSignal(code) => ("ran", code),
    };
    course.outcome = outcome;
    if let End::Signal(number) = end
        && [libc::SIGINT, libc::SIGQUIT].contains(&number.into())
    {
        course.dies_of = Some(number);
    }
    match released {
        // The reason was said when the command was ended.
        Ok(()) | Err(_) if end == End::LockLost => Ok(code),
        Ok(()) => Ok(code),
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

fn take(lock: &EngineLock, settings: &Settings, began: Instant) -> Result<EngineGuard, Error> {
    let mut shown = None;
    let on_wait = |event| {
        if event == Waiting::Began {
            shown = Some(Shown::start(lock.clone(), settings, began));
        }
        ControlFlow::Continue(())
    };
    let request = Request::new(settings.mode).on_wait(on_wait);
    let request = match settings.patience {
        Patience::Endless => request,
        Patience::For(limit) if !limit.is_zero() => request.timeout(limit),
        _ => request.try_once(),
    };
    let taken = lock.acquire(request);
    if let Some(shown) = shown {
        shown.end(taken.is_ok());
    }
    taken
}

/// Progress while the request waits, in a thread of its own.
struct Shown {
    display: Arc<Mutex<Display>>,
    over: Sender<()>,
}

impl Shown {
    fn start(lock: EngineLock, settings: &Settings, began: Instant) -> Shown {
        let mut display = Display::new(settings, began);
        display.turn_to(lock.name().as_ref());
        let display = Arc::new(Mutex::new(display));
        let (over, told) = channel();
        let shared = display.clone();
        let show = move || {
            let (mut seen, mut next_look) = (Seen::default(), Instant::now());
            loop {
                let now = Instant::now();
                let shows = lock_display(&shared).shows_holders(now);
                if shows && now >= next_look {
                    seen = lock
                        .members()
                        .map_or_else(|_| Seen::default(), |m| seen_of(&m));
                    next_look = Instant::now() + LOOK;
                }
                let now = Instant::now();
                let Some(next) = lock_display(&shared).show(&seen, now) else {
                    return;
                };
                let pause = next.min(next_look.max(now)).saturating_duration_since(now);
                let pause = pause.max(Duration::from_millis(10));
                if told.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("holdlock-show".to_owned());
        // Signals are for the thread that supervises the command. Without a thread, the wait is not
        // shown.
        let _ = signals::without_any(|| thread.spawn(show));
        Shown { display, over }
    }

    fn end(self, acquired: bool) {
        lock_display(&self.display).end(acquired);
        let _ = self.over.send(());
    }
}

fn lock_display(display: &Mutex<Display>) -> std::sync::MutexGuard<'_, Display> {
    display.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seen_of(members: &Members) -> Seen {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let us = |member: &holdlock_engines::Member| {
        member.pid == Some(std::process::id()) && member.host.as_deref() == Some(&*host)
    };
    let place = members.waiters.iter().position(us);
    let holder = members.holders.first();
    Seen::elsewhere(
        holder.map(ToString::to_string),
        holder.and_then(|holder| holder.since),
        members.holders.len().saturating_sub(1),
        place.map(|place| (place + 1, members.waiters.len())),
    )
}

/// The lock, as the supervisor asks for it.
struct GuardLeash<'a>(&'a EngineGuard);

impl GuardLeash<'_> {
    /// How long it is until TERM.
    fn stop_point(&self) -> Duration {
        let rest = self.0.deadline().remaining();
        rest.saturating_sub(kill_after(self.0))
    }
}

impl Leash for GuardLeash<'_> {
    fn left(&self) -> Duration {
        match self.0.lost().loss() {
            Some(loss) if loss.is_definite() => Duration::ZERO,
            _ => self.stop_point(),
        }
    }

    fn why_over(&self) -> Option<String> {
        if let Some(loss) = self.0.lost().loss()
            && loss.is_definite()
        {
            return Some(loss.to_string());
        }
        let rest = self.0.deadline().remaining();
        let late = kill_after(self.0).saturating_sub(rest);
        // After a pause of ours, the connection has not been heard yet.
        if late > ON_TIME && self.0.check_within(PROOF).is_ok() {
            return None;
        }
        Some(format!(
            "the engine does not answer, and frees the lock in {} at the earliest",
            rounded(self.0.deadline().remaining())
        ))
    }

    /// KILL comes before the engine frees the lock. If the lock is lost already, the command gets
    /// the time to end by itself.
    fn kill_after(&self) -> Duration {
        match self.0.deadline().remaining() {
            Duration::ZERO => kill_after(self.0),
            rest => kill_after(self.0).min(rest),
        }
    }
}

/// From TERM to KILL. Half of the reserve is for renewals that are late.
fn kill_after(guard: &EngineGuard) -> Duration {
    KILL_AFTER.min(guard.reserve() / 2)
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

fn failure(error: &Error) -> Failure {
    let code = match error {
        Error::Url { .. } => exit::USAGE,
        _ if error.is_conflict() => exit::CONFLICT,
        Error::Unreachable { .. } => exit::UNREACHABLE,
        Error::Credentials { .. } => exit::CREDENTIALS,
        Error::Unsuitable { .. } => exit::UNSUITABLE,
        Error::Lost { .. } => exit::LOST,
        _ => exit::OS_ERROR,
    };
    Failure::new(code, error.to_string())
}
