//! What the record of the lock adds to a run: tokens, the news that the last holder died, and the
//! time of the last run.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use holdlock::{Error, FileLock, Guard, LockOptions, Mode, Moment, Record, Run};

use super::Settings;
use super::held::Held;
use super::supervisor::End;
use crate::exit::{self, ABANDONED, Failure};
use crate::show::text;
use crate::show::time::span;

/// The token of the lock, if the command runs under one lock that has a record.
const TOKEN: &str = "HOLDLOCK_TOKEN";
/// 1 if the last holder died.
const IS_ABANDONED: &str = "HOLDLOCK_ABANDONED";

/// The settings that need a record.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Why the lock is held.
    pub(crate) note: Option<String>,
    /// What to do if the last holder died. None: run, as with `IfAbandoned::Run`.
    pub(crate) if_abandoned: Option<IfAbandoned>,
    pub(crate) at_most_every: Option<Interval>,
}

/// What to do if the last holder died without releasing the lock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum IfAbandoned {
    Run,
    Fail,
    /// Run this command line of the shell first.
    Clean(OsString),
}

/// How often the command may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) time: Duration,
    /// Runs that failed count, too.
    pub(crate) always: bool,
}

impl Memory {
    /// The option because of which the run makes no sense without a record.
    fn needed_for(&self) -> Option<&'static str> {
        let note = self.note.as_ref().map(|_| "--note");
        let if_abandoned = self.if_abandoned.as_ref().map(|_| "--if-abandoned");
        let at_most_every = self.at_most_every.map(|_| "--at-most-every");
        at_most_every.or(if_abandoned).or(note)
    }
}

/// Whether a run whose lock file cannot have a record may do without it.
pub(super) fn is_optional(settings: &Settings) -> bool {
    settings.memory.needed_for().is_none()
}

/// The failure of a run whose lock file cannot have a record: names the option that needs one.
pub(super) fn failure(error: &Error, settings: &Settings) -> Failure {
    let mut failure = Failure::from(error);
    let Some(option) = settings.memory.needed_for() else {
        return failure;
    };
    match error {
        Error::Record { .. } => failure.message.push_str(&format!(" ({option} needs it)")),
        // Without the option a directory works as a lock file.
        Error::Open { source, .. } if source.kind() == io::ErrorKind::IsADirectory => {
            let why = format!(" ({option} needs a record, and a directory cannot have one)");
            failure.message.push_str(&why);
        }
        _ => {}
    }
    failure
}

/// Opens a lock: with a record where that touches nothing of the user's.
pub(super) fn open(
    options: &LockOptions,
    path: &Path,
    settings: &Settings,
) -> Result<FileLock, Error> {
    if settings.mode == Mode::Shared || is_optional(settings) && !may_have_record(path, settings) {
        return options.open(path);
    }
    match options.clone().record(true).open(path) {
        Err(Error::Record { .. } | Error::Open { .. }) if is_optional(settings) => {
            options.open(path)
        }
        opened => opened,
    }
}

/// Whether the file is missing, or is empty and not for other output, or has the size of a record.
/// Other files are not opened for writing.
fn may_have_record(path: &Path, settings: &Settings) -> bool {
    match fs::symlink_metadata(path) {
        Ok(found) if found.len() == 0 => {
            found.is_file() && !is_our_output(&found) && !is_our_log(&found, settings)
        }
        Ok(found) => found.is_file() && found.len() == Record::SIZE,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Whether the command writes its output into this file: `holdlock run ./a -- date >a`.
fn is_our_output(found: &fs::Metadata) -> bool {
    let streams = [rustix::stdio::stdout(), rustix::stdio::stderr()];
    streams.into_iter().any(|stream| {
        rustix::fs::fstat(stream)
            .is_ok_and(|stream| (stream.st_dev, stream.st_ino) == (found.dev(), found.ino()))
    })
}

/// Whether the line of `--log` will be written into this file.
fn is_our_log(found: &fs::Metadata, settings: &Settings) -> bool {
    let log = settings.log.as_ref().map(fs::metadata);
    log.is_some_and(|log| log.is_ok_and(|log| (log.dev(), log.ino()) == (found.dev(), found.ino())))
}

/// Whether the last run is so recent that this one is skipped. Then says so.
///
/// A record that is read without the lock may be out of date, but a success in it stays one.
pub(super) fn is_recent(path: &Path, settings: &Settings) -> bool {
    let Some(interval) = settings.memory.at_most_every else {
        return false;
    };
    let record = Record::read(path).ok().flatten();
    let last = record.and_then(|record| match interval.always {
        true => record.last_run.map(|run| run.began),
        false => record.last_success,
    });
    // A time in the future says nothing: the clock was set back.
    let Some(age) = last.and_then(|last| last.age()) else {
        return false;
    };
    if age >= interval.time {
        return false;
    }
    if !settings.quiet {
        exit::warn(&skipped(&settings.locks[0], interval, age));
    }
    true
}

/// The message about a run that is skipped.
pub(super) fn skipped(lock: &OsStr, interval: Interval, age: Duration) -> String {
    let which = match interval.always {
        true => "run",
        false => "run that succeeded",
    };
    format!(
        "{}: skipped: the last {which} began {} ago; the interval is {}",
        text::path(lock),
        span(age),
        span(interval.time)
    )
}

/// Why a run with `--if-abandoned fail` fails, and what the user can do.
pub(super) const NOTHING_WAS_RUN: &str = "what it did may be half done, so nothing was run; clean \
                                          up, and run once with --if-abandoned run";

/// Whether to warn of a holder that died. A run that fails because of it says so in its error.
pub(super) fn is_warned_of(settings: &Settings) -> bool {
    !settings.quiet && settings.memory.if_abandoned != Some(IfAbandoned::Fail)
}

/// The lock was acquired: whether the last holder died.
pub(super) fn is_abandoned(held: &[Held<'_>]) -> bool {
    abandoned(held).next().is_some()
}

/// Warns of the holders that died.
pub(super) fn warn(held: &[Held<'_>]) {
    for (path, last) in abandoned(held) {
        exit::warn(&format!(
            "warning: {}; what it did may be half done",
            died(path, last)
        ));
    }
}

/// The failure because of a holder that died.
pub(super) fn refuse(held: &[Held<'_>], why: &str) -> Failure {
    let died = abandoned(held).map(|(path, last)| died(path, last));
    let died: Vec<String> = died.collect();
    Failure::new(ABANDONED, format!("{}; {why}", died.join("; ")))
}

/// Why nothing is run after a cleaning up that ended like this, and the exit code.
pub(super) fn not_cleaned(end: End) -> (String, u8) {
    let (why, code) = match end {
        End::Exited(code) => (
            format!("cleaning up failed with exit code {code}"),
            ABANDONED,
        ),
        End::HeldTooLong => ("cleaning up held the lock too long".to_owned(), end.code()),
        End::LockLost => ("cleaning up lost its lock".to_owned(), end.code()),
        // The code of a cleaning up that was asked to end says nothing about the command.
        End::AfterSignal(..=128) => ("a signal ended cleaning up".to_owned(), ABANDONED),
        End::AfterSignal(_) | End::Signal(_) => {
            ("a signal ended cleaning up".to_owned(), end.code())
        }
    };
    (format!("{why}; nothing was run"), code)
}

fn abandoned<'h>(held: &'h [Held<'_>]) -> impl Iterator<Item = (&'h Path, &'h Record)> {
    let locks = held.iter().filter_map(Held::lock);
    locks.filter_map(|guard| Some((guard.path(), guard.abandoned()?)))
}

/// `PATH: pid 7 (make) of ann since 2026-11-26 03:47:33 UTC died without releasing the lock`
fn died(path: &Path, last: &Record) -> String {
    let of_last = |run: &Run| run.began.time() >= last.since.time();
    let exit = last.last_run.filter(of_last).and_then(|run| run.exit);
    let how = match exit {
        Some(exit::HELD_TOO_LONG) => "ended its command, which held the lock too long".to_owned(),
        Some(code @ 129..=192) => format!("lost its command by signal {}", code - 128),
        Some(code @ 193..) => {
            format!("was asked to end by a signal, and its command ended with exit code {code}")
        }
        _ => "died without releasing the lock".to_owned(),
    };
    format!("{}: the last holder, {last}, {how}", text::path(path))
}

/// Gives the locks back as if they had not been acquired.
pub(super) fn give_back(held: Vec<Held<'_>>) {
    for one in held.into_iter().rev() {
        if let Err(error) = one.give_back() {
            exit::warn(&error.to_string());
        }
    }
}

/// The records of the holders that died, by the position of their lock, with our tokens.
pub(super) fn news(held: &[Held<'_>]) -> Vec<Option<(Record, u64)>> {
    let of_one = |one: &Held<'_>| {
        let guard = one.lock()?;
        Some((guard.abandoned()?.clone(), guard.token()?))
    };
    held.iter().map(of_one).collect()
}

/// Gives locks that were handed over back as if they had not been acquired.
pub(super) fn take_back(handed: &[OwnedFd], news: &[Option<(Record, u64)>]) {
    for (lock, news) in handed.iter().zip(news) {
        if let Some((last, token)) = news
            && let Err(error) = last.leave_to_next(lock, *token)
        {
            exit::warn(&format!(
                "warning: the next run is not told that the last holder died: {error}"
            ));
        }
    }
}

/// What a command is told: the token, and whether the last holder died.
pub(super) fn environment(held: &[Held<'_>]) -> Vec<(&'static str, Option<String>)> {
    // Without a lock of our own (--reentrant) those of the outer run stay.
    if held.is_empty() {
        return Vec::new();
    }
    let token = match held {
        [one] => one.lock().and_then(Guard::token),
        _ => None,
    };
    vec![
        (TOKEN, token.map(|token| token.to_string())),
        (IS_ABANDONED, is_abandoned(held).then(|| "1".to_owned())),
    ]
}

/// The command is about to be started.
pub(super) fn begin(held: &[Held<'_>]) -> Moment {
    let began = Moment::now();
    record(
        held,
        Run {
            began,
            ended: None,
            exit: None,
        },
    );
    began
}

/// The command has ended.
pub(super) fn end(held: &[Held<'_>], began: Moment, end: End) {
    record(
        held,
        Run {
            began,
            ended: Some(Moment::now()),
            exit: Some(end.code()),
        },
    );
}

fn record(held: &[Held<'_>], run: Run) {
    for guard in held.iter().filter_map(Held::lock) {
        if let Err(error) = guard.record_run(run) {
            exit::warn(&format!("warning: {error}"));
        }
    }
}
