//! The wait of a thread for an engine: without the interpreter's lock.

use holdlock::{CancelToken as Token, Request};
use holdlock_engines::{EngineGuard, EngineLock};
use pyo3::prelude::*;

use super::raise::raised;
use crate::blocking::{Callback, Limits, run_handlers};
use crate::cancel::Alert;

/// Acquires the lock for the calling thread. Python's handlers of signals run during the wait. An
/// exception that a handler raises ends the wait, and withdraws the request.
pub(super) fn acquire(
    py: Python<'_>,
    lock: &EngineLock,
    request: Request,
    limits: &Limits<'_>,
) -> PyResult<EngineGuard> {
    py.check_signals()?;
    let request = limits.of(request);
    let token = Token::new();
    let cancel = limits.cancel.as_ref().map(Bound::get);
    let number = cancel.map(|cancel| cancel.add(&Alert::Token(token.clone())));
    let mut failed = None;
    let taken = py.detach(|| {
        let mut on_wait = |event| run_handlers(event, &mut failed);
        let mut request = request.on_wait(&mut on_wait as Callback<'_>);
        if cancel.is_some() {
            request = request.cancel(&token);
        }
        lock.acquire(request)
    });
    if let (Some(cancel), Some(number)) = (cancel, number) {
        cancel.forget(number);
    }
    match (taken, failed) {
        (Ok(guard), None) => Ok(guard),
        (Ok(guard), Some(failed)) => {
            guard.release_in_background();
            Err(failed)
        }
        (Err(_), Some(failed)) => Err(failed),
        (Err(error), None) => Err(raised(py, &error)),
    }
}
