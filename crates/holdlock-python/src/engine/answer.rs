//! The answers of an engine as Python objects, and the seconds in the questions.

use std::time::Duration;

use holdlock_engines::{Error, History};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::raise::{member_or_none, raised};

/// What the engine remembers.
pub(super) fn history(py: Python<'_>, answer: Result<History, Error>) -> PyResult<Py<PyAny>> {
    let found = answer.map_err(|error| raised(py, &error))?;
    let last_run = found.last_run.map(|ago| ago.as_secs_f64());
    let at_work = member_or_none(py, found.at_work.as_ref())?;
    let class = py.import("holdlock._engine_types")?.getattr("History")?;
    class.call1((last_run, at_work)).map(Bound::unbind)
}

pub(super) fn duration(name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        PyValueError::new_err(format!(
            "{name} must be a number of seconds from 0 on, not {seconds}"
        ))
    })
}

/// The answer of the engine to a release or a check.
pub(super) fn done(py: Python<'_>, answer: Result<(), Error>) -> PyResult<Py<PyAny>> {
    match answer {
        Ok(()) => Ok(py.None()),
        Err(error) => Err(raised(py, &error)),
    }
}
