//! The token that ends waits from another thread.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::signal::Signal;
use crate::wakeup::Wakeup;

/// A way to make a waiting thread or task look at its request again.
#[derive(Clone)]
pub(crate) enum Alert {
    /// For a thread in the kernel's queue.
    Token(holdlock::CancelToken),
    /// For a task whose loop watches a descriptor.
    Wakeup(Arc<Wakeup>),
    /// For a task whose request also has to end.
    Both(holdlock::CancelToken, Arc<Wakeup>),
    /// For a wait in another native library.
    Function(Arc<Py<PyAny>>),
}

impl Alert {
    /// For a task; `token` ends its request.
    pub(crate) fn of(signal: &Signal, token: Option<&holdlock::CancelToken>) -> Alert {
        match (token.cloned(), signal.wakeup()) {
            (None, Some(wakeup)) => Alert::Wakeup(wakeup),
            (Some(token), Some(wakeup)) => Alert::Both(token, wakeup),
            (token, None) => Alert::Token(token.unwrap_or_default()),
        }
    }

    pub(crate) fn send(&self) {
        match self {
            Alert::Token(token) => token.cancel(),
            Alert::Wakeup(wakeup) => wakeup.send(),
            Alert::Both(token, wakeup) => {
                token.cancel();
                wakeup.send();
            }
            Alert::Function(function) => Python::attach(|py| {
                if let Err(error) = function.call0(py) {
                    error.write_unraisable(py, Some(function.bind(py)));
                }
            }),
        }
    }
}

/// Ends waits for locks from another thread or from a signal handler.
///
/// The token is a flag that can only be set. Setting it ends every wait that uses the token, now
/// and later, with `Cancelled`. A request with a cancelled token still acquires a free lock.
///
/// >>> token = CancelToken()
/// >>> token.cancelled
/// False
/// >>> token.cancel()
/// >>> token.cancelled
/// True
#[pyclass(frozen, weakref, module = "holdlock")]
#[derive(Default)]
pub(crate) struct CancelToken {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    /// The waits that use the token, by number.
    waits: Vec<(u64, Alert)>,
    last: u64,
}

impl CancelToken {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Alerts this wait when the token is cancelled. Returns a number for
    /// [`forget`](Self::forget).
    pub(crate) fn add(&self, wait: &Alert) -> u64 {
        let mut state = self.state();
        if state.cancelled {
            wait.send();
        }
        state.last += 1;
        let number = state.last;
        state.waits.push((number, wait.clone()));
        number
    }

    /// The wait with this number has ended.
    pub(crate) fn forget(&self, number: u64) {
        self.state().waits.retain(|(other, _)| *other != number);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.state().cancelled
    }
}

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> CancelToken {
        CancelToken::default()
    }

    /// Ends the waits that use this token. Never blocks.
    fn cancel(&self) {
        let mut state = self.state();
        state.cancelled = true;
        for (_, wait) in state.waits.drain(..) {
            wait.send();
        }
    }

    /// Whether `cancel` was called.
    #[getter]
    fn cancelled(&self) -> bool {
        self.is_cancelled()
    }

    /// Calls the function when the token is cancelled. It must not use this token. Returns a number
    /// for `_forget`.
    fn _add(&self, function: Py<PyAny>) -> u64 {
        self.add(&Alert::Function(Arc::new(function)))
    }

    fn _forget(&self, number: u64) {
        self.forget(number);
    }

    fn __repr__(&self) -> String {
        let cancelled = if self.is_cancelled() { "True" } else { "False" };
        format!("<CancelToken cancelled={cancelled}>")
    }
}
