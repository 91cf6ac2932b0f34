//! The signal of a lost lock, as Python code sees it.

use std::os::fd::{AsFd, AsRawFd};

use holdlock_engines::{Loss, LostSignal};
use pyo3::prelude::*;

use super::raise;

/// The native part of `LostSignal`.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct NativeLost {
    lock: String,
    signal: LostSignal,
}

impl NativeLost {
    pub(super) fn new(lock: &str, signal: &LostSignal) -> NativeLost {
        NativeLost {
            lock: lock.to_owned(),
            signal: signal.clone(),
        }
    }
}

#[pymethods]
impl NativeLost {
    /// The `LockLost` of a lock that was lost; None: it was not.
    fn loss(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let loss = self.signal.loss()?;
        Some(exception(py, &self.lock, &loss))
    }

    /// The descriptor that becomes readable.
    fn fileno(&self) -> i32 {
        self.signal.as_fd().as_raw_fd()
    }

    /// Calls the function with the `LockLost`, in a thread of its own.
    fn add_callback(&self, function: Py<PyAny>) {
        let lock = self.lock.clone();
        self.signal.on_lost(move |loss| {
            // No callback runs while the interpreter ends.
            Python::try_attach(|py| {
                let called = function.call1(py, (exception(py, &lock, loss),));
                if let Err(error) = called {
                    error.write_unraisable(py, Some(function.bind(py)));
                }
            });
        });
    }
}

fn exception(py: Python<'_>, lock: &str, loss: &Loss) -> Py<PyAny> {
    raise::lost(py, lock, loss).into_value(py).into_any()
}
