//! The signal of a lost lock, as Python code sees it.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdlock_engines::{Loss, LostSignal};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::raise;

/// The native part of `LostSignal`. The hold of a lock has one as long as it lasts.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct NativeLost {
    lock: String,
    signal: LostSignal,
    functions: Functions,
    /// Whether Python code has learned of the loss. Changed only together with the interpreter: the
    /// collector asks more than once, and takes living objects for dead if the answer changes.
    is_known: AtomicBool,
}

/// What to call when the lock is lost. The signal shares it, and the collector finds it here: such
/// a function often refers to the lock.
type Functions = Arc<Mutex<Vec<Py<PyAny>>>>;

impl NativeLost {
    pub(super) fn new(lock: &str, signal: &LostSignal) -> NativeLost {
        NativeLost {
            lock: lock.to_owned(),
            signal: signal.clone(),
            functions: Arc::default(),
            is_known: AtomicBool::new(false),
        }
    }

    /// Also remembers for the collector that Python code has asked.
    pub(super) fn known(&self, _: Python<'_>) -> Option<Loss> {
        let loss = self.signal.loss()?;
        self.is_known.store(true, Ordering::Relaxed);
        Some(loss)
    }
}

/// Python code must not run while this is locked.
fn locked(functions: &Functions) -> MutexGuard<'_, Vec<Py<PyAny>>> {
    functions.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl NativeLost {
    /// The `LockLost` of a lock that was lost; None: it was not.
    fn loss(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let loss = self.known(py)?;
        Some(exception(py, &self.lock, &loss))
    }

    /// The descriptor that becomes readable.
    fn fileno(&self) -> i32 {
        self.signal.as_fd().as_raw_fd()
    }

    /// Calls the function with the `LockLost`, in a thread of its own.
    fn add_callback(&self, function: Py<PyAny>) {
        locked(&self.functions).push(function);
        let (lock, functions) = (self.lock.clone(), self.functions.clone());
        self.signal.on_lost(move |loss| {
            // No callback runs while the interpreter ends.
            Python::try_attach(|py| {
                let functions = std::mem::take(&mut *locked(&functions));
                for function in functions {
                    let called = function.call1(py, (exception(py, &lock, loss),));
                    if let Err(error) = called {
                        error.write_unraisable(py, Some(function.bind(py)));
                    }
                }
            });
        });
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.functions.try_lock() {
            // A lock that was lost is about to call them, also if nothing else refers to it.
            Ok(functions) if !self.is_known.load(Ordering::Relaxed) => functions
                .iter()
                .try_for_each(|function| visit.call(function)),
            _ => Ok(()),
        }
    }

    fn __clear__(&self) {
        let functions = std::mem::take(&mut *locked(&self.functions));
        drop(functions);
    }
}

fn exception(py: Python<'_>, lock: &str, loss: &Loss) -> Py<PyAny> {
    raise::lost(py, lock, loss).into_value(py).into_any()
}
