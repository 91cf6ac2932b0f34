//! The thread or the task that makes a request.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::thread;

/// The thread or the task that makes a request and then holds the lock.
#[derive(Clone, Copy)]
pub(crate) enum Requester<'a> {
    /// The calling thread.
    Thread,
    /// A task of asynchronous code.
    Task(&'a Task),
}

impl<'a> Requester<'a> {
    /// The task; None: the calling thread.
    pub(crate) fn of(task: Option<&'a Bound<'_, Task>>) -> Requester<'a> {
        task.map_or(Requester::Thread, |task| Requester::Task(task.get()))
    }

    #[inline]
    pub(crate) fn is_task(self) -> bool {
        matches!(self, Requester::Task(_))
    }

    /// A number that no other thread or task gets, ever.
    #[inline]
    pub(crate) fn number(self) -> u64 {
        match self {
            Requester::Thread => thread::number(),
            Requester::Task(task) => task.number,
        }
    }

    /// A reference that dies with the thread or the task.
    pub(crate) fn alive(self) -> Weak<()> {
        match self {
            Requester::Thread => thread::alive(),
            Requester::Task(task) => task.alive(),
        }
    }
}

/// The facts about a task that locks need. Python code keeps them as long as the task lives.
#[pyclass(frozen, subclass, module = "holdlock._native")]
pub(crate) struct Task {
    number: u64,
    /// None: the task has ended.
    alive: Mutex<Option<Arc<()>>>,
}

impl Task {
    fn alive(&self) -> Weak<()> {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.as_ref().map_or_else(Weak::new, Arc::downgrade)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.alive().strong_count() == 0
    }
}

#[pymethods]
impl Task {
    #[new]
    #[pyo3(signature = (*_arguments))]
    fn new(_arguments: &Bound<'_, PyTuple>) -> Task {
        Task {
            number: thread::fresh_number(),
            alive: Mutex::new(Some(Arc::new(()))),
        }
    }

    #[getter]
    fn number(&self) -> u64 {
        self.number
    }

    /// Notes that the task has ended: from now on another one may release what it holds.
    fn end(&self) {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.take();
    }

    #[getter]
    fn ended(&self) -> bool {
        self.has_ended()
    }
}
