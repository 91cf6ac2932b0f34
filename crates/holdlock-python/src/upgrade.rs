//! A shared lock with the right to become exclusive.

use std::ffi::{OsStr, OsString};
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdlock::{Mode, OwnedUpgradeableGuard};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::blocking::{self, Limits};
use crate::cancel::CancelToken;
use crate::error::Failure;
use crate::lock::NativeLock;

/// The result of `FileLock.acquire_upgradeable`: a shared lock with the right to become exclusive.
///
/// A `with` statement releases it at its end.
#[pyclass(frozen, module = "holdlock")]
pub(crate) struct UpgradeableGuard {
    /// The lock file as the caller has named it.
    name: OsString,
    /// None: it was released, or a thread upgrades it now.
    guard: Mutex<Option<OwnedUpgradeableGuard>>,
}

impl UpgradeableGuard {
    fn guard(&self) -> MutexGuard<'_, Option<OwnedUpgradeableGuard>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_held(&self) -> PyErr {
        let shown = holdlock::inspect::printable(&self.name);
        PyRuntimeError::new_err(format!(
            "lock '{shown}' was released, or another thread upgrades it"
        ))
    }
}

#[pymethods]
impl UpgradeableGuard {
    /// The path, as it was given.
    #[getter]
    fn lock_file(&self) -> &OsStr {
        &self.name
    }

    /// Whether the lock is exclusive; None: it was released, or a thread upgrades it now.
    #[getter]
    fn exclusive(&self) -> Option<bool> {
        let guard = self.guard();
        let guard = guard.as_ref()?;
        Some(guard.mode() == Mode::Exclusive)
    }

    /// Turns the shared lock into the exclusive one, and waits for the readers and for nobody else.
    /// No other process or thread holds the lock exclusively between the two: what was read is
    /// still true.
    ///
    /// timeout: wait at most this many seconds. Negative: no limit. 0: do not wait.
    /// cancel: a CancelToken by which another thread can end the wait.
    ///
    /// Raises Timeout and its subclass Cancelled; the lock is then still shared, and has the right.
    /// Raises NotAtomic if a program that does not use `upgradeable=True` shares the lock; then it
    /// is lost.
    #[pyo3(signature = (timeout=-1.0, *, cancel=None))]
    fn upgrade(
        &self,
        py: Python<'_>,
        timeout: f64,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        if timeout.is_nan() {
            return Err(Failure::Nan.raise(py, &self.name));
        }
        // While a thread waits, the others must not wait for the mutex.
        let taken = self.guard().take();
        let mut guard = taken.ok_or_else(|| self.not_held())?;
        let limits = Limits::new(timeout, cancel);
        let result = blocking::make(py, &limits, None, false, |request| guard.upgrade(request));
        let is_lost = matches!(
            result,
            Err(Failure::Library(
                holdlock::Error::NotAtomic(_) | holdlock::Error::System { .. }
            ))
        );
        if !is_lost {
            *self.guard() = Some(guard);
        }
        result.map_err(|failure| failure.raise(py, &self.name))
    }

    /// Turns the exclusive lock back into the shared one, and keeps the right.
    fn downgrade(&self, py: Python<'_>) -> PyResult<()> {
        let mut place = self.guard();
        let guard = place.as_mut().ok_or_else(|| self.not_held())?;
        let result = guard.downgrade();
        result.map_err(|error| Failure::from(error).raise(py, &self.name))
    }

    /// Releases the lock and the right. Does nothing if they were released before.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let guard = self.guard().take();
        let result = guard.map_or(Ok(()), OwnedUpgradeableGuard::release);
        result.map_err(|error| Failure::from(error).raise(py, &self.name))
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
        slf.clone()
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.release(py)
    }

    fn __repr__(&self) -> String {
        let how = match self.exclusive() {
            Some(true) => "exclusive",
            Some(false) => "shared",
            None => "released or being upgraded",
        };
        let shown = holdlock::inspect::printable(&self.name);
        format!("<UpgradeableGuard '{shown}', {how}>")
    }
}

/// `FileLock.acquire_upgradeable`, with the limit of the wait.
#[pyfunction]
#[pyo3(signature = (lock, limit, cancel, /))]
pub(crate) fn acquire_upgradeable(
    lock: &Bound<'_, NativeLock>,
    limit: f64,
    cancel: Option<Bound<'_, CancelToken>>,
) -> PyResult<UpgradeableGuard> {
    let py = lock.py();
    let core = lock.get().core()?;
    let raise = |failure: Failure| failure.raise(py, core.name());
    let opened = core.opened(py).map_err(raise)?;
    let limits = Limits::new(limit, cancel);
    let guard = blocking::make(py, &limits, None, false, |request| {
        opened.acquire_upgradeable_owned(request)
    })
    .map_err(raise)?;
    Ok(UpgradeableGuard {
        name: core.name().to_owned(),
        guard: Mutex::new(Some(guard)),
    })
}
