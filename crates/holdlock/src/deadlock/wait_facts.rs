//! What is known of a wait of this process.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::acquire::lock_name::LockName;
use crate::gate::{Gate, Occupant};
use crate::inspect::Deadlock;
use crate::sys::thread::ThreadId;
use crate::{Family, Mode};

/// What the watcher and the search for cycles know of a wait.
pub(crate) struct WaitFacts {
    pub(crate) gate: Arc<Gate>,
    pub(crate) name: Arc<LockName>,
    pub(crate) family: Family,
    pub(crate) mode: Mode,
    /// The waiting thread. It is the thread even for a guard that can move to another thread later.
    pub(crate) occupant: Occupant,
    pub(crate) thread_id: ThreadId,
    pub(crate) began: Instant,
    pub(super) generation: u32,
    pub(super) verdict: OnceLock<Deadlock>,
    /// Whether the wait is over; locked while a signal is sent to the thread.
    pub(super) over: Mutex<bool>,
}

impl WaitFacts {
    pub(super) fn over(&self) -> MutexGuard<'_, bool> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
