//! The threads and tasks that hold a set, and how often.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::fork;
use crate::requester::{Requester, Task};

pub(super) struct Held(Mutex<State>);

/// The holders, and the process to which they belong.
struct State {
    generation: u32,
    by: HashMap<u64, Holder>,
}

#[derive(Default)]
struct Holder {
    /// How often it holds the set.
    count: usize,
    /// None: a thread.
    task: Option<Py<Task>>,
}

impl Held {
    pub(super) fn new() -> Held {
        Held(Mutex::new(State::nothing()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.generation != fork::generation() {
            // A child of fork does not hold what its parent holds.
            *state = State::nothing();
        }
        state
    }

    /// The requester has acquired the set once more.
    pub(super) fn count(&self, task: Option<&Bound<'_, Task>>) {
        let mut state = self.state();
        let holder = state.by.entry(Requester::of(task).number()).or_default();
        holder.count += 1;
        holder.task = task.map(|task| task.clone().unbind());
    }

    /// How often the requester holds the set.
    pub(super) fn counter(&self, requester: Requester<'_>) -> usize {
        let state = self.state();
        let holder = state.by.get(&requester.number());
        holder.map_or(0, |holder| holder.count)
    }

    /// Undoes one acquisition of the requester; if it has none, one of a task that has ended.
    /// Returns the task of the acquisition, which is None for a thread. None: there is none.
    pub(super) fn undo(
        &self,
        py: Python<'_>,
        requester: Requester<'_>,
    ) -> Option<Option<Py<Task>>> {
        let mut state = self.state();
        let own = state.undo(py, requester.number());
        own.or_else(|| {
            let ended = state.ended()?;
            state.undo(py, ended)
        })
    }
}

impl State {
    fn nothing() -> State {
        State {
            generation: fork::generation(),
            by: HashMap::new(),
        }
    }

    fn undo(&mut self, py: Python<'_>, number: u64) -> Option<Option<Py<Task>>> {
        let holder = self.by.get_mut(&number)?;
        holder.count -= 1;
        let task = holder.task.as_ref().map(|task| task.clone_ref(py));
        if holder.count == 0 {
            self.by.remove(&number);
        }
        Some(task)
    }

    /// A task that has ended and holds the set: `asyncio.wait_for` runs an acquisition in a task of
    /// its own.
    fn ended(&self) -> Option<u64> {
        let mut tasks = self.by.values().filter_map(|holder| holder.task.as_ref());
        let ended = tasks.find(|task| task.get().has_ended())?;
        Some(Requester::Task(ended.get()).number())
    }
}
