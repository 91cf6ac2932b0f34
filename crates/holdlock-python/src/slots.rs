//! The slots that the threads and tasks of this process hold by one semaphore object.

use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use holdlock::OwnedSemaphoreGuard;

use crate::requester::Requester;
use crate::{fork, thread};

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
    /// The number of the acquisition. Unlike that of the slot, it is never used again.
    number: u64,
    /// The number of the thread or task.
    whose: u64,
    /// For a task. Dead when it has ended.
    alive: Option<Weak<()>>,
    guard: OwnedSemaphoreGuard,
}

/// One of the held slots.
pub(crate) enum Which<'a> {
    /// The one that the requester has acquired last. If a task holds none, the last one of a task
    /// that has ended: `asyncio.wait_for` runs an acquisition in a task of its own.
    LastOf(Requester<'a>),
    /// The slot with this number, whoever has acquired it.
    Slot(u32),
    /// The slot of the acquisition with this number.
    Acquisition(u64),
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

    /// Keeps a slot. Returns its number, and that of the acquisition.
    pub(crate) fn keep(&self, guard: OwnedSemaphoreGuard, requester: Requester<'_>) -> (u32, u64) {
        let (slot, number) = (guard.slot(), thread::fresh_number());
        self.state().held.push(Held {
            number,
            whose: requester.number(),
            alive: requester.is_task().then(|| requester.alive()),
            guard,
        });
        (slot, number)
    }

    /// Takes a slot out.
    pub(crate) fn take_out(&self, which: &Which<'_>) -> Option<OwnedSemaphoreGuard> {
        let mut state = self.state();
        let last = |is_it: &dyn Fn(&Held) -> bool| state.held.iter().rposition(is_it);
        let position = match which {
            Which::LastOf(requester) => {
                let whose = requester.number();
                let has_ended = |held: &Held| {
                    let alive = held.alive.as_ref();
                    alive.is_some_and(|alive| alive.strong_count() == 0)
                };
                last(&|held| held.whose == whose)
                    .or_else(|| last(&has_ended).filter(|_| requester.is_task()))
            }
            Which::Slot(slot) => last(&|held| held.guard.slot() == *slot),
            Which::Acquisition(number) => last(&|held| held.number == *number),
        }?;
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
