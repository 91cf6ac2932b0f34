//! The debug log, which is written if a program has switched it on. See `_log.py`.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::once::once;

const DEBUG: i32 = 10;

/// Whether the logger is that of `filelock`.
static AS_FILELOCK: AtomicBool = AtomicBool::new(false);

/// Chooses the logger: `filelock`, or else `holdlock`.
#[pyfunction]
#[pyo3(signature = (flag, /))]
pub(crate) fn log_as_filelock(flag: bool) {
    AS_FILELOCK.store(flag, Ordering::Relaxed);
}

/// The events that are logged, by the names of their messages in `_log.py`.
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Attempt,
    Acquired,
    Waiting,
    Timeout,
    Cancelled,
    Release,
    Released,
}

/// Whether the program has switched the log on. Each acquisition asks this, so this function reads
/// the answer that the logger has cached, and calls the logger only if there is none.
#[inline]
pub(crate) fn is_wanted(py: Python<'_>) -> bool {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = once(py, &MODULES, || {
        let modules = py.import("sys")?.getattr("modules")?;
        Ok(modules.cast_into::<PyDict>()?.unbind())
    });
    let Ok(modules) = modules else {
        return false;
    };
    match modules.bind(py).contains(intern!(py, "logging")) {
        Ok(true) => logger_wants_it(py).unwrap_or(false),
        _ => false,
    }
}

/// A logger, and the answers that it has cached by level.
type Logger = (Py<PyAny>, Option<Py<PyDict>>);

fn logger_wants_it(py: Python<'_>) -> PyResult<bool> {
    static LOGGERS: [PyOnceLock<Logger>; 2] = [PyOnceLock::new(), PyOnceLock::new()];
    let as_filelock = AS_FILELOCK.load(Ordering::Relaxed);
    let (logger, answers) = once(py, &LOGGERS[usize::from(as_filelock)], || {
        let name = if as_filelock { "filelock" } else { "holdlock" };
        let logger = py.import("logging")?.call_method1("getLogger", (name,))?;
        let answers = logger.getattr("_cache").ok();
        let answers = answers.and_then(|answers| answers.cast_into::<PyDict>().ok());
        Ok((logger.unbind(), answers.map(Bound::unbind)))
    })?;
    if let Some(answers) = answers
        && let Some(answer) = answers.bind(py).get_item(DEBUG)?
    {
        return answer.is_truthy();
    }
    let answer = logger.bind(py).call_method1("isEnabledFor", (DEBUG,))?;
    answer.is_truthy()
}

/// Logs the event, if the program has switched the log on.
///
/// An error of the log is not an error of the lock. Only what is to end more than that is raised,
/// such as the KeyboardInterrupt of a signal that came while the log was written.
pub(crate) fn say(lock: &Bound<'_, PyAny>, event: Event) -> PyResult<()> {
    let py = lock.py();
    if !is_wanted(py) {
        return Ok(());
    }
    let name = match event {
        Event::Attempt => "ATTEMPT",
        Event::Acquired => "ACQUIRED",
        Event::Waiting => "WAITING",
        Event::Timeout => "TIMEOUT",
        Event::Cancelled => "CANCELLED",
        Event::Release => "RELEASE",
        Event::Released => "RELEASED",
    };
    let said = || {
        let log = py.import("holdlock._log")?;
        let path = lock.getattr("lock_file")?;
        log.call_method1("debug", (log.getattr(name)?, lock, path))
    };
    match said() {
        Err(error) if !error.is_instance_of::<PyException>(py) => Err(error),
        _ => Ok(()),
    }
}
