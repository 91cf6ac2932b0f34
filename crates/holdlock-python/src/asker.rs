//! Who asks for a lock: a thread, or a task of asynchronous code.

use std::sync::{Arc, Weak};

use pyo3::prelude::*;

use crate::thread;

/// Who asks.
#[derive(Clone, Copy)]
pub(crate) enum Asker<'a> {
    /// The calling thread.
    Thread,
    Task(&'a Task),
}

impl<'a> Asker<'a> {
    pub(crate) fn of(task: Option<&'a Bound<'_, Task>>) -> Asker<'a> {
        task.map_or(Asker::Thread, |task| Asker::Task(task.get()))
    }

    #[inline]
    pub(crate) fn is_task(self) -> bool {
        matches!(self, Asker::Task(_))
    }

    /// A number that no other thread or task ever gets.
    #[inline]
    pub(crate) fn number(self) -> u64 {
        match self {
            Asker::Thread => thread::number(),
            Asker::Task(task) => task.number,
        }
    }

    /// Goes with the thread or the task.
    pub(crate) fn alive(self) -> Weak<()> {
        match self {
            Asker::Thread => thread::alive(),
            Asker::Task(task) => Arc::downgrade(&task.alive),
        }
    }
}

/// A task of an asynchronous program, as far as locks care. Kept for as long as the task.
#[pyclass(frozen, subclass, module = "holdlock._native")]
pub(crate) struct Task {
    number: u64,
    alive: Arc<()>,
}

#[pymethods]
impl Task {
    #[new]
    fn new() -> Task {
        Task {
            number: thread::fresh_number(),
            alive: Arc::new(()),
        }
    }

    #[getter]
    fn number(&self) -> u64 {
        self.number
    }
}
