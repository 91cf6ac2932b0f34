//! The threads and tasks of this process that hold a lock by one object.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use holdlock::Mode;
use holdlock_engines::EngineGuard;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::lost::NativeLost;
use crate::fork;
use crate::requester::Requester;

/// The holds, in the order in which the lock was acquired.
///
/// The mutex is locked only together with the interpreter, and never while a thread waits for the
/// engine, or while Python code may run.
pub(super) struct Holds(Mutex<State>);

struct State {
    generation: u32,
    holds: Vec<Hold>,
}

struct Hold {
    /// The number of the thread or task.
    whose: u64,
    /// Dead when the thread or task has ended.
    alive: Weak<()>,
    /// How often the lock was acquired and not yet released.
    counter: usize,
    held: Held,
}

/// A lock that was acquired.
pub(super) struct Held {
    pub(super) guard: EngineGuard,
    /// Its signal. Dropping it may run Python code.
    pub(super) lost: Py<NativeLost>,
}

/// The answer of the holds to a request.
pub(super) enum Join {
    /// The requester holds the lock; its counter was increased.
    Joined,
    /// The requester holds the lock shared, and requests it exclusively.
    Upgrade,
    /// What the requester holds is no longer valid.
    Invalid,
    /// The requester does not hold the lock.
    Free,
}

/// The answer of the holds to a release.
pub(super) enum Leave {
    /// The lock has to be released.
    Last(Held),
    /// Another acquisition is left.
    Nested,
    /// Another thread or task holds the lock.
    NotOurs,
    NotHeld,
}

impl Holds {
    pub(super) fn new() -> Holds {
        Holds(Mutex::new(State {
            generation: fork::generation(),
            holds: Vec::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.generation != fork::generation() {
            // A child of fork does not hold what its parent holds. Dropping it could run code of
            // callbacks, which must not find the mutex locked.
            state.generation = fork::generation();
            std::mem::forget(std::mem::take(&mut state.holds));
        }
        state
    }

    /// Acquires once more a lock that the requester holds.
    pub(super) fn join(&self, mode: Mode, requester: Requester<'_>) -> Join {
        let whose = requester.number();
        let mut state = self.state();
        match state.holds.iter_mut().find(|hold| hold.whose == whose) {
            None => Join::Free,
            Some(hold) if !hold.held.guard.is_valid() => Join::Invalid,
            Some(hold) if hold.held.guard.mode() == Mode::Shared && mode == Mode::Exclusive => {
                Join::Upgrade
            }
            Some(hold) => {
                hold.counter += 1;
                Join::Joined
            }
        }
    }

    /// Keeps a lock that the requester has acquired.
    pub(super) fn keep(&self, held: Held, requester: Requester<'_>) {
        self.state().holds.push(Hold {
            whose: requester.number(),
            alive: requester.alive(),
            counter: 1,
            held,
        });
    }

    /// Gives the requester what a task with this number holds. Returns whether it holds something.
    pub(super) fn hand_over(&self, number: u64, requester: Requester<'_>) -> bool {
        let mut state = self.state();
        let hold = state.holds.iter_mut().find(|hold| hold.whose == number);
        let found = hold.is_some();
        if let Some(hold) = hold {
            hold.whose = requester.number();
            hold.alive = requester.alive();
        }
        found
    }

    /// Undoes one acquisition of the requester, or with `all` all of them.
    pub(super) fn leave(&self, all: bool, requester: Requester<'_>) -> Leave {
        let whose = requester.number();
        let mut state = self.state();
        let Some(place) = state.holds.iter().position(|hold| hold.whose == whose) else {
            return match state.holds.is_empty() {
                true => Leave::NotHeld,
                false => Leave::NotOurs,
            };
        };
        if state.holds[place].counter > 1 && !all {
            state.holds[place].counter -= 1;
            return Leave::Nested;
        }
        Leave::Last(state.holds.remove(place).held)
    }

    /// Takes what threads and tasks hold that have ended without releasing the lock.
    pub(super) fn take_ended(&self) -> Vec<Held> {
        let mut state = self.state();
        let ended = state
            .holds
            .extract_if(.., |hold| hold.alive.strong_count() == 0);
        ended.map(|hold| hold.held).collect()
    }

    /// Releases everything, and does not block.
    pub(super) fn release_in_background(&self) {
        let holds = std::mem::take(&mut self.state().holds);
        for hold in holds {
            hold.held.guard.release_in_background();
        }
    }

    /// How often the requester has acquired the lock and not yet released it.
    pub(super) fn counter(&self, requester: Requester<'_>) -> usize {
        let whose = requester.number();
        let state = self.state();
        let own = state.holds.iter().find(|hold| hold.whose == whose);
        own.map_or(0, |hold| hold.counter)
    }

    /// Looks at what the requester holds; if it holds nothing, at the newest hold of the object.
    pub(super) fn look<T>(
        &self,
        requester: Requester<'_>,
        look: impl FnOnce(&Held) -> T,
    ) -> Option<T> {
        let whose = requester.number();
        let state = self.state();
        let own = state.holds.iter().find(|hold| hold.whose == whose);
        own.or(state.holds.last()).map(|hold| look(&hold.held))
    }

    /// Shows the collector the signals, and so the functions that refer to the lock.
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_lock() {
            Ok(state) if state.generation == fork::generation() => {
                let mut holds = state.holds.iter();
                holds.try_for_each(|hold| visit.call(&hold.held.lost))
            }
            _ => Ok(()),
        }
    }
}

/// An object that is collected releases its lock.
impl Drop for Holds {
    fn drop(&mut self) {
        self.release_in_background();
    }
}
