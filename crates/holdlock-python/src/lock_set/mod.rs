//! The native part of `LockSet` and `AsyncLockSet`: several locks, all or none.
//!
//! A set keeps what it acquires in its locks: within the block each lock object is held, as if it
//! had been acquired by itself. A lock that the requester already holds by its object is acquired
//! once more, and the library acquires the rest.

mod held;
mod members;

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use holdlock::{CancelToken as Token, Error, Request};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};

use self::held::Held;
use self::members::{Members, TaskWaits};
use crate::blocking::{Limits, own_seconds};
use crate::cancel::{Alert, CancelToken};
use crate::error::{self, Failure};
use crate::lock::{NativeLock, mode_of};
use crate::pending::Pending;
use crate::requester::{Requester, Task};
use crate::signal::{Answer, Signal};
use crate::thread;
use crate::unseen::Unseen;
use crate::wakeup::Wakeups;

#[pyclass(frozen, subclass, module = "holdlock._native")]
pub(crate) struct NativeLockSet {
    /// Set by `__init__`.
    members: OnceLock<Arc<Members>>,
    /// The default timeout, and whether a request waits by default.
    settings: Mutex<(f64, bool)>,
    held: Held,
}

impl NativeLockSet {
    fn members(&self) -> PyResult<&Arc<Members>> {
        self.members
            .get()
            .ok_or_else(|| Python::attach(|py| Failure::NoInit.raise(py, OsStr::new(""))))
    }
}

#[pymethods]
impl NativeLockSet {
    #[new]
    #[pyo3(signature = (*_arguments, **_options))]
    fn new(_arguments: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> NativeLockSet {
        NativeLockSet {
            members: OnceLock::new(),
            settings: Mutex::new((-1.0, true)),
            held: Held::new(),
        }
    }

    /// Python code has checked the members: each lock once, and whether it is shared.
    fn __init__(&self, members: Vec<(Py<NativeLock>, bool)>, timeout: f64, blocking: bool) {
        let members = members.into_iter();
        let members = members.map(|(lock, shared)| (lock, mode_of(shared)));
        if self
            .members
            .set(Arc::new(Members(members.collect())))
            .is_ok()
        {
            self._set(timeout, blocking);
        }
    }

    /// For the collector: a lock may keep its set in an attribute.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // A waiting request shares the members, and keeps the set.
        let mut members = self.members.get().into_iter().flat_map(|all| &all.0);
        members.try_for_each(|(lock, _)| visit.call(lock))
    }

    /// Acquires all locks with the set's own limit. Native, so that no exception of a signal
    /// handler comes between the acquisition and the block.
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let limit = own_seconds(slf.get()._settings())?;
        slf.get()._take(slf.py(), limit, None)?;
        Ok(slf.clone())
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self._give_back(py, None)
    }

    /// The thread acquires all locks, and waits for at most `limit` seconds; negative: for as long
    /// as it takes; 0: not at all.
    fn _take(
        &self,
        py: Python<'_>,
        limit: f64,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        thread::enter(py)?;
        self.members()?.acquire(py, &Limits::new(limit, cancel))?;
        self.held.count(None);
        Ok(())
    }

    /// The task acquires all locks if they are free now. False: one is not, and the task may wait.
    fn _try(
        &self,
        py: Python<'_>,
        may_wait: bool,
        task: Option<Bound<'_, Task>>,
    ) -> PyResult<bool> {
        let requester = Requester::of(task.as_ref());
        let taken = self.members()?.attempt(py, requester, may_wait)?.is_none();
        if taken {
            self.held.count(task.as_ref());
        }
        Ok(taken)
    }

    /// A wait of the task for all locks. Its result is True, or False if the task has to try again.
    /// `wakeups` is the pipe of the loop; without it the wait has a pipe of its own.
    #[pyo3(signature = (limit, task, cancel, wakeups=None, /))]
    fn _queue(
        slf: &Bound<'_, Self>,
        limit: f64,
        task: Option<Bound<'_, Task>>,
        cancel: Option<Bound<'_, CancelToken>>,
        wakeups: Option<Bound<'_, Wakeups>>,
    ) -> PyResult<Pending> {
        let py = slf.py();
        let members = slf.get().members()?.clone();
        let signal = Signal::new(wakeups.as_ref())
            .map_err(|error| error::io_error(&error, members.name()))?;
        let requester = Requester::of(task.as_ref());
        let step = members.join(py, requester)?;
        members.leave(&step.joined, requester);
        let set = members.set_of(py, &step.rest, requester)?;
        let token = Token::new();
        let request = Limits::new(limit, None).of(Request::exclusive().cancel(&token));
        let future = set.acquire_async(request);
        let future = async { future.await.map(Unseen::new) };
        let waits = TaskWaits::begin(members, step.rest, &Alert::of(&signal, Some(&token)));
        let finish = move |py: Python<'_>, pending: &Pending, answer: Answer<Unseen<_>>| {
            let members = &waits.members;
            let requester = pending.requester();
            let this = pending.object::<NativeLockSet>(py)?;
            let taken = match answer {
                Ok(guard) if members.join_again(&step.joined, requester) => {
                    if let Some(guard) = guard.keep() {
                        members.keep(guard, &waits.rest, requester);
                    }
                    this.get().held.count(pending.task(py));
                    true
                }
                Ok(_) => false,
                Err(Error::Cancelled { .. }) if !pending.is_cancelled() => false,
                Err(error) => return Err(members.raise(py, error.into())),
            };
            Ok(PyBool::new(py, taken).to_owned().into_any().unbind())
        };
        Ok(Pending::new(token, signal, cancel, future, finish).of(slf, task))
    }

    /// Undoes one acquisition of the thread or task; if it does not hold the set, one of a task
    /// that has ended. Does nothing if there is none.
    fn _give_back(&self, py: Python<'_>, task: Option<Bound<'_, Task>>) -> PyResult<()> {
        let members = self.members()?;
        let Some(task) = self.held.undo(py, Requester::of(task.as_ref())) else {
            return Ok(());
        };
        let requester = task
            .as_ref()
            .map_or(Requester::Thread, |task| Requester::Task(task.get()));
        let all: Vec<usize> = (0..members.0.len()).collect();
        match members.leave(&all, requester) {
            None => Ok(()),
            Some((number, failure)) => Err(failure.raise(py, members.core(number)?.name())),
        }
    }

    /// Undoes the acquisitions of the thread or task until it has acquired the set so many times.
    fn _undo(&self, py: Python<'_>, counter: usize, task: Option<Bound<'_, Task>>) -> PyResult<()> {
        while self._counter(task.clone()) > counter {
            self._give_back(py, task.clone())?;
        }
        Ok(())
    }

    /// How many times the thread or task has acquired the set and not yet released it.
    fn _counter(&self, task: Option<Bound<'_, Task>>) -> usize {
        self.held.counter(Requester::of(task.as_ref()))
    }

    fn _is_held(&self, task: Option<Bound<'_, Task>>) -> bool {
        self._counter(task) > 0
    }

    /// The timeout, and blocking.
    #[getter]
    fn _settings(&self) -> (f64, bool) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn _set(&self, timeout: f64, blocking: bool) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = (timeout, blocking);
    }
}
