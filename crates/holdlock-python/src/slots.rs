//! The slots that the threads and tasks of this process hold by one semaphore object.

use std::sync::{Mutex, MutexGuard, PoisonError};

use holdlock::OwnedSemaphoreGuard;

use crate::fork;
use crate::requester::Requester;

/// The slots, in the order in which they were acquired.
pub(crate) struct Slots {
    state: Mutex<State>,
}

struct State {
    generation: u32,
    /// Whether slots were held when this process was forked.
    inherited: bool,
    held: Vec<Held>,
}

struct Held {
    /// The number of the thread or task.
    whose: u64,
    guard: OwnedSemaphoreGuard,
}

impl Slots {
    pub(crate) fn new() -> Slots {
        Slots {
            state: Mutex::new(State {
                generation: fork::generation(),
                inherited: false,
                held: Vec::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.generation != fork::generation() {
            // A child of fork does not hold what its parent holds.
            state.generation = fork::generation();
            state.inherited |= !state.held.is_empty();
            state.held.clear();
        }
        state
    }

    /// Whether slots were held when this process was forked.
    pub(crate) fn inherited(&self) -> bool {
        self.state().inherited
    }

    /// Keeps a slot, and returns its number.
    pub(crate) fn keep(&self, guard: OwnedSemaphoreGuard, requester: Requester<'_>) -> u32 {
        let slot = guard.slot();
        let whose = requester.number();
        self.state().held.push(Held { whose, guard });
        slot
    }

    /// Takes a slot out: that number, whoever has acquired it; None: the one that the requester has
    /// acquired last.
    pub(crate) fn take_out(
        &self,
        slot: Option<u32>,
        requester: Requester<'_>,
    ) -> Option<OwnedSemaphoreGuard> {
        let mut state = self.state();
        let whose = requester.number();
        let position = state.held.iter().rposition(|held| match slot {
            Some(slot) => held.guard.slot() == slot,
            None => held.whose == whose,
        })?;
        Some(state.held.remove(position).guard)
    }

    /// The slots that the requester has acquired, and that are held.
    pub(crate) fn of(&self, requester: Requester<'_>) -> Vec<u32> {
        let whose = requester.number();
        let state = self.state();
        let own = state.held.iter().filter(|held| held.whose == whose);
        own.map(|held| held.guard.slot()).collect()
    }
}
