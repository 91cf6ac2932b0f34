//! The Python exception for each error of an engine, and members as Python objects.

use std::time::UNIX_EPOCH;

use holdlock_engines::{Error, Loss, Member};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyList;

/// The exception for an error.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).unwrap_or_else(|failed| failed)
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let lock = error.lock();
    // The exceptions name the lock themselves.
    let what = format!("{error:#}");
    let class = match error {
        Error::Url { .. } => return Ok(PyValueError::new_err(what)),
        Error::WouldBlock(conflict) | Error::TimedOut(conflict) => {
            let holders = members(py, &conflict.holders)?;
            return make(py, "EngineTimeout", (lock, what, holders));
        }
        Error::Cancelled { .. } => return make(py, "cancelled", (lock,)),
        Error::Lost { loss, .. } => return Ok(lost(py, lock, loss)),
        Error::Unreachable { .. } => "EngineUnreachable",
        Error::Credentials { .. } => "LoginRefused",
        Error::Unsuitable { .. } => "EngineUnsuitable",
        _ => "EngineError",
    };
    make(py, class, (lock, what))
}

/// The exception for a lock that was lost.
pub(crate) fn lost(py: Python<'_>, lock: &str, loss: &Loss) -> PyErr {
    make(py, "LockLost", (lock, loss.to_string(), loss.is_definite()))
        .unwrap_or_else(|failed| failed)
}

/// The same for a lock whose deadline has passed.
pub(crate) fn expired(py: Python<'_>, lock: &str) -> PyErr {
    let what = "the lock may have been lost: its deadline has passed";
    make(py, "LockLost", (lock, what, false)).unwrap_or_else(|failed| failed)
}

fn make<'py, A>(py: Python<'py>, class: &str, arguments: A) -> PyResult<PyErr>
where
    A: pyo3::call::PyCallArgs<'py>,
{
    let errors = py.import("holdlock._engine_errors")?;
    let error = errors.getattr(class)?.call1(arguments)?;
    Ok(PyErr::from_value(error))
}

/// A list of `Member`.
pub(crate) fn members<'py>(py: Python<'py>, members: &[Member]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for one in members {
        list.append(member(py, one)?)?;
    }
    Ok(list)
}

/// A `Member`, or None.
pub(crate) fn member_or_none<'py>(
    py: Python<'py>,
    found: Option<&Member>,
) -> PyResult<Bound<'py, PyAny>> {
    match found {
        Some(found) => member(py, found),
        None => Ok(py.None().into_bound(py)),
    }
}

fn member<'py>(py: Python<'py>, member: &Member) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("holdlock._engine_types")?.getattr("Member")?;
    let since = member
        .since
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    class.call1((
        member.mode.to_string(),
        member.host.as_deref(),
        member.pid,
        member.user.as_deref(),
        member.command.as_deref(),
        member.note.as_deref(),
        since.map(|since| since.as_secs_f64()),
        member.token,
        member.session.as_deref(),
        member.login.as_deref(),
    ))
}
