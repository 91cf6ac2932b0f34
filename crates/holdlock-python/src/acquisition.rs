//! One acquisition of a task or greenlet, which knows by itself whether it holds the lock.
//!
//! Python handles a signal when a native call returns, before the caller has its result. If the
//! handler raises an exception, the caller does not learn that the call has acquired the lock. So
//! the caller makes this object first, and after an exception the object undoes what it has done.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdlock::{Mode, OwnedGuard};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::cancel::CancelToken;
use crate::core::Core;
use crate::error::Failure;
use crate::lock::{NativeLock, mode_of};
use crate::requester::{Requester, Task};
use crate::shared::Attempt;
use crate::thread;
use crate::waiter::{Waiter, Wish};
use crate::wakeup::Wakeups;

/// An acquisition for a task, or (if `task` is None) for the calling thread. It does not call the
/// hook. Dropping it does not release the lock.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Acquisition {
    lock: Py<NativeLock>,
    mode: Mode,
    task: Option<Py<Task>>,
    /// For the record.
    note: Option<String>,
    /// Whether it has acquired the lock and was not undone.
    holds: AtomicBool,
}

impl Acquisition {
    pub(crate) fn core(&self) -> PyResult<&Core> {
        self.lock.get().core()
    }

    fn requester(&self) -> Requester<'_> {
        self.task
            .as_ref()
            .map_or(Requester::Thread, |task| Requester::Task(task.get()))
    }

    /// Joins the holder, if the requester shares its object. False: there is none.
    pub(crate) fn join(&self, core: &Core) -> Result<bool, Failure> {
        let joined = core.shared.join(self.mode, self.requester())?;
        self.holds.fetch_or(joined, Ordering::AcqRel);
        Ok(joined)
    }

    /// Keeps a lock for which the requester has waited.
    pub(crate) fn commit(&self, core: &Core, guard: OwnedGuard) {
        core.shared.commit(guard, self.mode, self.requester());
        self.holds.store(true, Ordering::Release);
    }
}

#[pymethods]
impl Acquisition {
    #[new]
    #[pyo3(signature = (lock, shared, task, note=None, /))]
    fn new(
        lock: &Bound<'_, NativeLock>,
        shared: Option<bool>,
        task: Option<Bound<'_, Task>>,
        note: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Acquisition> {
        let core = lock.get().core()?;
        Ok(Acquisition {
            lock: lock.clone().unbind(),
            mode: shared.map_or(core.shared.mode, mode_of),
            task: task.map(Bound::unbind),
            note: core.note_of(lock.py(), note)?,
            holds: AtomicBool::new(false),
        })
    }

    /// For the collector: the lock may refer to the task.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.lock)?;
        visit.call(&self.task)
    }

    /// Acquires the lock without waiting. True: it was not held before; False: the task held it
    /// already; None: it is not free, and the task may wait.
    fn attempt(&self, py: Python<'_>, may_wait: bool) -> PyResult<Option<bool>> {
        thread::enter(py)?;
        let core = self.core()?;
        let raise = |failure: Failure| failure.raise(py, core.name());
        core.opened_for_tasks(py).map_err(raise)?;
        let note = self.note.as_deref();
        let attempt = core
            .shared
            .attempt(py, Some(self.mode), self.requester(), note);
        let taken = match attempt.map_err(raise)? {
            Some(Attempt::Again) => false,
            Some(Attempt::Taken) => true,
            Some(Attempt::Busy(busy)) if !may_wait => return Err(raise(busy)),
            Some(Attempt::Busy(_)) | None => return Ok(None),
        };
        self.holds.store(true, Ordering::Release);
        Ok(Some(taken))
    }

    /// A wait for the lock, of `limit` seconds; negative: without a limit. `wakeups` is the pipe of
    /// the loop; without it the wait has a pipe of its own.
    #[pyo3(signature = (limit, cancel, wakeups=None, /))]
    fn queue(
        slf: &Bound<'_, Self>,
        limit: f64,
        cancel: Option<Bound<'_, CancelToken>>,
        wakeups: Option<Bound<'_, Wakeups>>,
    ) -> PyResult<Waiter> {
        let this = slf.get();
        let core = this.core()?;
        let opened = core
            .opened_for_tasks(slf.py())
            .map_err(|failure| failure.raise(slf.py(), core.name()))?;
        let wish = Wish {
            mode: this.mode,
            limit: Duration::try_from_secs_f64(limit).ok(),
            cancel,
            note: this.note.as_deref(),
            wakeups,
        };
        Waiter::new(slf, &opened, wish)
    }

    /// Whether the lock is held by this acquisition.
    #[getter]
    fn holds(&self) -> bool {
        self.holds.load(Ordering::Acquire)
    }

    /// The path of the lock, as it was given.
    #[getter]
    fn lock_file(&self) -> PyResult<&OsStr> {
        Ok(self.core()?.name())
    }

    /// Undoes the acquisition once, if there is something to undo. Other tasks that have joined
    /// keep the lock.
    fn undo(&self, py: Python<'_>) -> PyResult<()> {
        if !self.holds.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let core = self.core()?;
        core.shared
            .release(false, self.requester())
            .map_err(|failure| failure.raise(py, core.name()))
    }
}
