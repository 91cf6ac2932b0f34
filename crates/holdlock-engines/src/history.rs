//! What an engine remembers of a lock between its holders.

use std::time::Duration;

use crate::Member;

/// What earlier holders have told the engine ([`EngineGuard::record_run`]).
///
/// [`EngineGuard::record_run`]: crate::EngineGuard::record_run
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// How long ago, on the engine's clock, the last run began that counts. An engine may forget it
    /// after the time for which it was asked to keep it.
    pub last_run: Option<Duration>,
    /// The last holder that said that it was at work, if it has not said since that it has ended.
    pub at_work: Option<Member>,
}

/// What a holder tells the engine about its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// The holder is at work from now on. If it dies, the next holder finds it in
    /// [`History::at_work`].
    pub at_work: bool,
    /// The run counts.
    pub counted: Option<Counted>,
}

/// A run that counts for [`History::last_run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counted {
    /// How long ago it began.
    pub ago: Duration,
    /// For how long from now the engine has to remember it.
    pub keep: Duration,
}

impl Run {
    /// The holder begins its work.
    pub fn begins() -> Run {
        Run {
            at_work: true,
            counted: None,
        }
    }

    /// The holder has ended its work.
    pub fn ends() -> Run {
        Run::default()
    }

    /// Lets the run count. It began `ago`, and the engine has to remember it for `keep`.
    pub fn counted(mut self, ago: Duration, keep: Duration) -> Run {
        self.counted = Some(Counted { ago, keep });
        self
    }
}
