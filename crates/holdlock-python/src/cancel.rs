//! Ending waits from another thread.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::bell::Bell;

/// How one that waits is told that there is something to look at.
#[derive(Clone)]
pub(crate) enum Call {
    /// A thread, in the kernel.
    Token(holdlock::CancelToken),
    /// A task, whose loop watches a descriptor.
    Bell(Arc<Bell>),
}

impl Call {
    pub(crate) fn ring(&self) {
        match self {
            Call::Token(token) => token.cancel(),
            Call::Bell(bell) => bell.ring(),
        }
    }
}

/// Ends waits for locks from another thread or from a signal handler.
///
/// A flag that can only be set: every wait with it, present or future, ends with `Cancelled`.
/// A lock that is free is taken all the same.
///
/// >>> token = CancelToken()
/// >>> token.cancelled
/// False
/// >>> token.cancel()
/// >>> token.cancelled
/// True
#[pyclass(frozen, module = "holdlock")]
#[derive(Default)]
pub(crate) struct CancelToken {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    /// One for each wait, numbered: a wait can be ended by others, too.
    waits: Vec<(u64, Call)>,
    last: u64,
}

impl CancelToken {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a wait told when this is cancelled. The number is for [`forget`](Self::forget).
    pub(crate) fn pass_on_to(&self, wait: &Call) -> u64 {
        let mut state = self.state();
        if state.cancelled {
            wait.ring();
        }
        state.last += 1;
        let number = state.last;
        state.waits.push((number, wait.clone()));
        number
    }

    /// That wait is over.
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
            wait.ring();
        }
    }

    /// Whether `cancel` was called.
    #[getter]
    fn cancelled(&self) -> bool {
        self.is_cancelled()
    }

    fn __repr__(&self) -> String {
        let cancelled = if self.is_cancelled() { "True" } else { "False" };
        format!("<CancelToken cancelled={cancelled}>")
    }
}
