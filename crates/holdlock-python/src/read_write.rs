//! The `with` statement of a `ReadWriteLock`.
//!
//! It is native, so that no Python code runs between the acquisition of the lock and the beginning
//! of the block: an exception of a signal handler, such as KeyboardInterrupt, could arrive there,
//! and leave the lock held without a `with` statement that releases it.

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::acquire::Call;
use crate::cancel::CancelToken;
use crate::error::Failure;
use crate::hold::Settings;
use crate::lock::{NativeLock, mode_of};
use crate::requester::Requester;
use crate::thread;

/// Acquires a `ReadWriteLock` at the beginning of a `with` statement, and releases it at its end.
#[pyclass(frozen, subclass, module = "holdlock._native")]
pub(crate) struct ReadWriteScope {
    /// The `ReadWriteLock`.
    owner: Py<PyAny>,
    lock: Py<NativeLock>,
    shared: bool,
    timeout: Py<PyAny>,
    blocking: Py<PyAny>,
}

#[pymethods]
impl ReadWriteScope {
    #[new]
    fn new(
        owner: Py<PyAny>,
        lock: Py<NativeLock>,
        shared: bool,
        timeout: Py<PyAny>,
        blocking: Py<PyAny>,
    ) -> ReadWriteScope {
        ReadWriteScope {
            owner,
            lock,
            shared,
            timeout,
            blocking,
        }
    }

    /// For the collector: the owner may keep the scope in an attribute.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        visit.call(&self.lock)
    }

    fn __enter__(&self, py: Python<'_>) -> PyResult<()> {
        let owner = self.owner.bind(py);
        let arguments = (self.shared, &self.timeout, &self.blocking);
        let (limit, closing): (f64, Bound<'_, CancelToken>) = owner
            .call_method1(intern!(py, "_admit"), arguments)?
            .extract()?;
        acquire_until_closed(self.lock.bind(py), self.shared, limit, &closing).map_err(|error| {
            let explained = owner.call_method1(intern!(py, "_explain"), (error.value(py),));
            explained.map_or_else(|error| error, PyErr::from_value)
        })
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        let lock = self.lock.bind(py);
        let core = lock.get().core()?;
        if core.shared.counter(Requester::Thread) == 0 {
            // The block has released the lock, or this is a child of fork: the method raises the
            // error.
            return self.owner.bind(py).call_method0("release").map(drop);
        }
        core.release(lock, false)
            .map_err(|failure| failure.raise(py, core.name()))
    }
}

/// Acquires the lock for the calling thread, unless `closing` is cancelled.
#[pyfunction]
#[pyo3(signature = (lock, shared, limit, closing, /))]
pub(crate) fn acquire_until_closed(
    lock: &Bound<'_, NativeLock>,
    shared: bool,
    limit: f64,
    closing: &Bound<'_, CancelToken>,
) -> PyResult<()> {
    let py = lock.py();
    thread::enter(py)?;
    let core = lock.get().core()?;
    core.acquire(lock, Some(mode_of(shared)), None, || {
        Ok(Call {
            settings: Settings {
                timeout: limit,
                blocking: true,
                poll_interval: 0.05,
            },
            cancel_check: None,
            cancel: Some(closing.clone()),
            // Closing the lock is not a way out of a deadlock.
            notice_deadlocks: true,
        })
    })?;
    if closing.get().is_cancelled() {
        // It was closed at the same time.
        let released = core.shared.release(false, Requester::Thread);
        let failure = released.err().unwrap_or(Failure::Cancelled);
        return Err(failure.raise(py, core.name()));
    }
    Ok(())
}
