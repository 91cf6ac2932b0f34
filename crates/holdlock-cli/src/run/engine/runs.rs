//! What an engine remembers of earlier runs: the last one that counts, and a holder that died.
//!
//! It is asked for only if an option needs it, because PostgreSQL needs a table for it.

use std::time::Duration;

use holdlock_engines::{BootTime, EngineGuard, EngineLock, History, Member, Run};

use crate::engines::failure;
use crate::exit::{self, ABANDONED, Failure};
use crate::run::Settings;
use crate::run::memory::skipped;
use crate::run::supervisor::End;

/// The engine remembers a run for twice the interval, and at least for this long: another run may
/// have a longer interval.
const LEAST: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Runs<'a> {
    lock: &'a EngineLock,
    settings: &'a Settings,
}

impl<'a> Runs<'a> {
    pub(super) fn new(lock: &'a EngineLock, settings: &'a Settings) -> Runs<'a> {
        Runs { lock, settings }
    }

    /// Asks the engine, if an option needs that.
    pub(super) fn past(&self) -> Result<History, Failure> {
        if !self.are_needed() {
            return Ok(History::default());
        }
        self.lock.last_run().map_err(|error| failure(&error))
    }

    fn are_needed(&self) -> bool {
        let memory = &self.settings.memory;
        memory.at_most_every.is_some() || memory.if_abandoned.is_some()
    }

    /// Whether the last run is so recent that this one is skipped. Then says so.
    pub(super) fn is_recent(&self, past: &History) -> bool {
        let Some(interval) = self.settings.memory.at_most_every else {
            return false;
        };
        let Some(age) = past.last_run.filter(|age| *age < interval.time) else {
            return false;
        };
        if !self.settings.quiet {
            exit::warn(&skipped(self.lock.name().as_ref(), interval, age));
        }
        true
    }

    /// The command is about to be started.
    pub(super) fn begin(&self, guard: &EngineGuard) -> Result<(), Failure> {
        if !self.are_needed() {
            return Ok(());
        }
        let run = match self.settings.memory.at_most_every {
            Some(interval) if interval.always => {
                Run::begins().counted(Duration::ZERO, keep(interval.time))
            }
            _ => Run::begins(),
        };
        let recorded = guard.record_run(run);
        recorded.map(drop).map_err(|error| failure(&error))
    }

    /// The command has ended. If a signal ended it, or the lock was lost, the next holder is told
    /// that this one died.
    pub(super) fn end(&self, guard: &EngineGuard, began: BootTime, end: End) {
        if !self.are_needed() || !end.is_complete() {
            return;
        }
        let run = match self.settings.memory.at_most_every {
            Some(interval) if end.code() == exit::SUCCESS => {
                Run::ends().counted(began.elapsed(), keep(interval.time))
            }
            _ => Run::ends(),
        };
        if let Err(error) = guard.record_run(run) {
            exit::warn(&format!("warning: {error}"));
        }
    }
}

fn keep(interval: Duration) -> Duration {
    interval.saturating_mul(2).max(LEAST)
}

/// `URL: the last holder, pid 7 (make) of ann on host3, died without releasing the lock`
pub(super) fn died(lock: &EngineLock, last: &Member) -> String {
    format!(
        "{}: the last holder, {last}, died without releasing the lock",
        lock.name()
    )
}

/// The failure because of a holder that died.
pub(super) fn refuse(lock: &EngineLock, last: &Member, why: &str) -> Failure {
    Failure::new(ABANDONED, format!("{}; {why}", died(lock, last)))
}
