//! A shared lock with the right to become exclusive.

use std::ffi::{OsStr, OsString};
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdlock::{Error, Mode, OwnedUpgradeableGuard};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::blocking::{self, Limits, seconds};
use crate::cancel::CancelToken;
use crate::error::Failure;
use crate::fork;
use crate::lock::NativeLock;

/// The result of `FileLock.acquire_upgradeable`: a shared lock with the right to become exclusive.
///
/// A `with` statement releases it at its end.
#[pyclass(frozen, weakref, module = "holdlock")]
pub(crate) struct UpgradeableGuard {
    /// The lock file as the caller has named it.
    name: OsString,
    state: Mutex<State>,
    generation: u32,
}

enum State {
    Held(OwnedUpgradeableGuard),
    /// A thread upgrades it now, and has the guard.
    Upgrading,
    Released,
}

impl UpgradeableGuard {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process is a child, made by fork after the guard.
    fn is_inherited(&self) -> bool {
        self.generation != fork::generation()
    }

    /// The error for a guard that is not in the state `Held`.
    fn refused(&self, state: &State) -> PyErr {
        let why = match state {
            _ if self.is_inherited() => "was held by the parent of this process",
            State::Upgrading => "is being upgraded by another thread",
            State::Held(_) | State::Released => "was released",
        };
        let shown = holdlock::inspect::printable(&self.name);
        PyRuntimeError::new_err(format!("lock '{shown}' {why}"))
    }

    /// Takes the guard out.
    fn take(&self, leave: State) -> PyResult<OwnedUpgradeableGuard> {
        let mut state = self.state();
        if self.is_inherited() {
            return Err(self.refused(&state));
        }
        match std::mem::replace(&mut *state, leave) {
            State::Held(guard) => Ok(guard),
            other => {
                *state = other;
                Err(self.refused(&state))
            }
        }
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
        match &*self.state() {
            State::Held(guard) if !self.is_inherited() => Some(guard.mode() == Mode::Exclusive),
            _ => None,
        }
    }

    /// Turns the shared lock into the exclusive one, and waits for the readers and for nobody else.
    /// No other process or thread holds the lock exclusively between the two: what was read is
    /// still true.
    ///
    /// timeout: wait at most this many seconds. Negative, inf or None: no limit. 0: do not wait.
    /// cancel: a CancelToken by which another thread can end the wait.
    ///
    /// Raises Timeout and its subclass Cancelled; the lock is then still shared, and has the right.
    /// Raises NotAtomic if a program that does not use `upgradeable=True` shares the lock; then it
    /// is lost.
    #[pyo3(signature = (timeout=None, *, cancel=None))]
    fn upgrade(
        &self,
        py: Python<'_>,
        timeout: Option<&Bound<'_, PyAny>>,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let limits = Limits::new(seconds(py, timeout, None)?, cancel);
        // While a thread waits, the others must not wait for the mutex.
        let mut guard = self.take(State::Upgrading)?;
        let result = blocking::make(py, &limits, None, false, |request| guard.upgrade(request));
        let is_lost = matches!(
            result,
            Err(Failure::Library(Error::NotAtomic(_) | Error::System { .. }))
        );
        *self.state() = if is_lost {
            State::Released
        } else {
            State::Held(guard)
        };
        result.map_err(|failure| failure.raise(py, &self.name))
    }

    /// Turns the exclusive lock back into the shared one, and keeps the right.
    fn downgrade(&self, py: Python<'_>) -> PyResult<()> {
        let mut guard = self.take(State::Upgrading)?;
        let result = guard.downgrade();
        *self.state() = State::Held(guard);
        result.map_err(|error| Failure::from(error).raise(py, &self.name))
    }

    /// Releases the lock and the right. Does nothing if they were released before. Raises
    /// RuntimeError while another thread upgrades the lock.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let mut state = self.state();
        if matches!(*state, State::Upgrading) && !self.is_inherited() {
            return Err(self.refused(&state));
        }
        let State::Held(guard) = std::mem::replace(&mut *state, State::Released) else {
            return Ok(());
        };
        drop(state);
        // In a child of fork it releases nothing.
        let result = guard.release();
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
        let how = match &*self.state() {
            _ if self.is_inherited() => "held by the parent of this process",
            State::Upgrading => "being upgraded",
            State::Released => "released",
            State::Held(guard) if guard.mode() == Mode::Exclusive => "exclusive",
            State::Held(_) => "shared",
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
    let raise = |failure: Failure| {
        match failure {
            Failure::Library(Error::Deadlock { cycle: None, .. }) => Failure::HeldAlready,
            failure => failure,
        }
        .raise(py, core.name())
    };
    let opened = core.opened(py).map_err(raise)?;
    let limits = Limits::new(limit, cancel);
    let guard = blocking::make(py, &limits, None, false, |request| {
        opened.acquire_upgradeable_owned(request)
    })
    .map_err(raise)?;
    Ok(UpgradeableGuard {
        name: core.name().to_owned(),
        state: Mutex::new(State::Held(guard)),
        generation: fork::generation(),
    })
}
