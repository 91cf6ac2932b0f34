//! The debug log, which is written where a program has switched it on. See `_log.py`.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

const DEBUG: i32 = 10;

/// What there is to say; the names of the messages in `_log.py`.
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

/// Whether anybody listens. Asked at each acquisition, so it looks where the logger keeps its
/// own answer, and calls it only if that is not there.
#[inline]
pub(crate) fn is_wanted(py: Python<'_>) -> bool {
    static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let modules = MODULES.get_or_try_init(py, || {
        let modules = py.import("sys")?.getattr("modules")?;
        Ok::<_, PyErr>(modules.cast_into::<PyDict>()?.unbind())
    });
    let Ok(modules) = modules else {
        return false;
    };
    match modules.bind(py).contains(intern!(py, "logging")) {
        Ok(true) => logger_wants_it(py).unwrap_or(false),
        _ => false,
    }
}

fn logger_wants_it(py: Python<'_>) -> PyResult<bool> {
    static LOGGER: PyOnceLock<(Py<PyAny>, Option<Py<PyDict>>)> = PyOnceLock::new();
    let (logger, answers) = LOGGER.get_or_try_init(py, || {
        let logger = py
            .import("logging")?
            .call_method1("getLogger", ("filelock",))?;
        let answers = logger.getattr("_cache").ok();
        let answers = answers.and_then(|answers| answers.cast_into::<PyDict>().ok());
        Ok::<_, PyErr>((logger.unbind(), answers.map(Bound::unbind)))
    })?;
    if let Some(answers) = answers
        && let Some(answer) = answers.bind(py).get_item(DEBUG)?
    {
        return answer.is_truthy();
    }
    let answer = logger.bind(py).call_method1("isEnabledFor", (DEBUG,))?;
    answer.is_truthy()
}

/// Says it, if anybody listens.
pub(crate) fn say(lock: &Bound<'_, PyAny>, event: Event) {
    let py = lock.py();
    if !is_wanted(py) {
        return;
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
    // A log that cannot be written changes nothing.
    let _ = said();
}
