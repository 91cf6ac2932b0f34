//! How long a command may go on under a lock of an engine.

use std::time::Duration;

use holdlock_engines::EngineGuard;

use crate::run::OnLost;
use crate::run::supervisor::Leash;
use crate::show::time::rounded;

/// The longest time from TERM to KILL.
const KILL_AFTER: Duration = Duration::from_secs(5);
/// How long KILL takes, where it comes without TERM.
const REACTION: Duration = Duration::from_millis(250);
/// How long the engine may take to prove that the lock is held after a pause of this process.
const PROOF: Duration = Duration::from_secs(1);
/// How late this process may look at the clock without having been stopped.
const ON_TIME: Duration = Duration::from_millis(250);

/// The lock, as the supervisor asks for it.
pub(super) struct GuardLeash<'a> {
    pub(super) guard: &'a EngineGuard,
    pub(super) on_lost: OnLost,
}

impl GuardLeash<'_> {
    /// Why a command may not start. None: it may.
    pub(super) fn is_over(&self) -> Option<String> {
        self.left().is_zero().then(|| self.why_over()).flatten()
    }

    /// How long it is until the command begins to be ended.
    fn stop_point(&self) -> Duration {
        let rest = self.guard.deadline().remaining();
        rest.saturating_sub(self.before_deadline())
    }

    /// How long before the deadline the command begins to be ended.
    fn before_deadline(&self) -> Duration {
        match self.on_lost {
            OnLost::Term => kill_after(self.guard),
            OnLost::Kill => REACTION,
            OnLost::Warn => Duration::ZERO,
        }
    }
}

impl Leash for GuardLeash<'_> {
    fn left(&self) -> Duration {
        match self.guard.lost().loss() {
            Some(loss) if loss.is_definite() => Duration::ZERO,
            _ => self.stop_point(),
        }
    }

    fn why_over(&self) -> Option<String> {
        if let Some(loss) = self.guard.lost().loss()
            && loss.is_definite()
        {
            return Some(loss.to_string());
        }
        let rest = self.guard.deadline().remaining();
        let late = self.before_deadline().saturating_sub(rest);
        // After a pause of ours, the connection has not been heard yet.
        if late > ON_TIME && self.guard.check_within(PROOF).is_ok() {
            return None;
        }
        let what = match self.guard.refusal() {
            Some(why) => format!("the engine does not renew the lock: {why}; it"),
            None => "the engine does not answer, and".to_owned(),
        };
        let left = rounded(self.guard.deadline().remaining());
        Some(format!("{what} frees the lock in {left} at the earliest"))
    }

    fn only_warns(&self) -> bool {
        self.on_lost == OnLost::Warn
    }

    /// KILL comes before the engine frees the lock. If the lock is lost already, the command gets
    /// the time to end by itself.
    fn kill_after(&self) -> Duration {
        if self.on_lost == OnLost::Kill {
            return Duration::ZERO;
        }
        match self.guard.deadline().remaining() {
            Duration::ZERO => kill_after(self.guard),
            rest => kill_after(self.guard).min(rest),
        }
    }
}

/// From TERM to KILL. Half of the reserve is for renewals that are late.
fn kill_after(guard: &EngineGuard) -> Duration {
    KILL_AFTER.min(guard.reserve() / 2)
}
