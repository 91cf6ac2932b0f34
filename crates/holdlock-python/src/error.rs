//! Which Python exception stands for which error.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use holdlock::{Error, inspect};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::process::Process;
use crate::state::Trouble;

/// Why there is no lock.
pub(crate) enum Failure {
    Trouble(Trouble),
    /// By a token, or by `cancel_check`.
    Cancelled,
    /// By this process, in the way that is said, at the end of the time limit.
    HeldHere(&'static str),
    Raised(PyErr),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        Failure::Trouble(trouble)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Trouble(Trouble::Library(error))
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Failure {
        Failure::Raised(error)
    }
}

impl Failure {
    /// As an exception. `name` is the lock file as the caller has named it.
    pub(crate) fn raise(self, py: Python<'_>, name: &OsStr) -> PyErr {
        let raised = match self {
            Failure::Raised(error) => Ok(error),
            Failure::Cancelled => make(py, "Cancelled", (name,)).map(PyErr::from_value),
            Failure::HeldHere(how) => timeout(py, name, Who::Ourselves(how)),
            Failure::Trouble(trouble) => trouble_raised(py, trouble, name),
        };
        raised.unwrap_or_else(|error| error)
    }
}

fn timeout(py: Python<'_>, name: &OsStr, who: Who) -> PyResult<PyErr> {
    let timeout = make(py, "Timeout", (name,))?;
    timeout.setattr("_conflict", Conflict { who })?;
    Ok(PyErr::from_value(timeout))
}

fn trouble_raised(py: Python<'_>, trouble: Trouble, name: &OsStr) -> PyResult<PyErr> {
    let shown = inspect::printable(name);
    let deadlock = |what: String| make(py, "Deadlock", (what,)).map(PyErr::from_value);
    match trouble {
        Trouble::Library(error) => library_raised(py, error, name),
        Trouble::Inherited => Ok(PyRuntimeError::new_err(format!(
            "lock '{shown}' was held when this process was forked off; make a new lock in the child"
        ))),
        Trouble::Upgrade => deadlock(format!(
            "Deadlock: lock '{shown}' is held shared and asked for exclusively; release it first"
        )),
        Trouble::Nested => deadlock(format!(
            "Deadlock: lock '{shown}' is acquired again by a signal handler of the thread that \
             waits for it"
        )),
        Trouble::NotOurs => Ok(PyRuntimeError::new_err(format!(
            "lock '{shown}' is held by another thread"
        ))),
        Trouble::NotHeld => Ok(PyRuntimeError::new_err(format!(
            "lock '{shown}' is not held, and cannot be handed over"
        ))),
        Trouble::SharedMutex => Ok(PyValueError::new_err(
            "thread_local='mutex' keeps threads apart that shared=True lets in together",
        )),
        Trouble::Nan => Ok(PyValueError::new_err(
            "timeout must be a number of seconds, not nan",
        )),
        Trouble::Unmade => Ok(PyRuntimeError::new_err(
            "the lock was not initialised: __init__() of the base class was not called",
        )),
    }
}

fn library_raised(py: Python<'_>, error: Error, name: &OsStr) -> PyResult<PyErr> {
    match error {
        Error::TimedOut(conflict) | Error::WouldBlock(conflict) => {
            timeout(py, name, Who::Others(conflict))
        }
        Error::Cancelled { .. } => make(py, "Cancelled", (name,)).map(PyErr::from_value),
        Error::Deadlock { ref cycle, .. } => {
            let shown = inspect::printable(name);
            let what = match cycle {
                Some(cycle) => format!("Deadlock: lock '{shown}': {cycle}"),
                None => format!(
                    "Deadlock: lock '{shown}' is already held by this thread, by another lock \
                     object; use one object, or is_singleton=True, to acquire it again"
                ),
            };
            make(py, "Deadlock", (what,)).map(PyErr::from_value)
        }
        Error::RemovedWhileHeld(conflict) => timeout(py, name, Who::OfRemoved(conflict)),
        Error::Open { ref source, .. }
        | Error::Unsupported { ref source, .. }
        | Error::System { ref source, .. } => {
            // Without the path: Python's exceptions add that themselves.
            Ok(system_error(source, &format!("{error:#}"), name))
        }
        error => Ok(PyOSError::new_err(error.to_string())),
    }
}

/// What others have named, as it may be printed: see the library's `inspect::printable`.
#[pyfunction]
#[pyo3(signature = (text, /))]
pub(crate) fn printable(text: &Bound<'_, PyAny>) -> PyResult<String> {
    // A path has bytes that are no text; anything else is shown as Python does.
    Ok(match text.extract::<PathBuf>() {
        Ok(path) => inspect::printable(&path).to_string(),
        Err(_) => inspect::printable(&text.str()?.to_string_lossy().into_owned()).to_string(),
    })
}

/// By its number, Python picks the class: PermissionError and so on.
pub(crate) fn os_error(number: i32, message: &str, name: &OsStr) -> PyErr {
    PyOSError::new_err((number, message.to_owned(), name.to_owned()))
}

fn system_error(source: &io::Error, message: &str, name: &OsStr) -> PyErr {
    let number = match (source.raw_os_error(), source.kind()) {
        (Some(number), _) => number,
        // A path with a zero byte in it.
        (None, io::ErrorKind::InvalidInput) => return PyValueError::new_err(message.to_owned()),
        // What the library refuses by itself, for a fair lock.
        (None, io::ErrorKind::PermissionDenied) => libc::EACCES,
        (None, io::ErrorKind::Unsupported) => libc::ENOTSUP,
        (None, _) => libc::EIO,
    };
    os_error(number, message, name)
}

/// An exception of the package's own.
fn make<'py, A>(py: Python<'py>, class: &str, arguments: A) -> PyResult<Bound<'py, PyAny>>
where
    A: pyo3::call::PyCallArgs<'py>,
{
    py.import("holdlock._errors")?
        .getattr(class)?
        .call1(arguments)
}

/// Who was in the way. Looked up when first asked for.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Conflict {
    who: Who,
}

enum Who {
    Others(holdlock::Conflict),
    /// Somebody has removed the lock file while they hold it.
    OfRemoved(holdlock::Conflict),
    /// This process, in a way that only we know.
    Ourselves(&'static str),
}

impl Conflict {
    fn found(&self, py: Python<'_>) -> Vec<holdlock::Process> {
        py.detach(|| match &self.who {
            Who::Others(conflict) | Who::OfRemoved(conflict) => conflict.holders().to_vec(),
            Who::Ourselves(_) => holdlock::Process::of(std::process::id())
                .into_iter()
                .collect(),
        })
    }

    fn in_words(&self, holder: &holdlock::Process) -> String {
        match self.who {
            Who::Ourselves(how) => format!("{holder} ({how})"),
            Who::OfRemoved(_) => format!("{holder} (the lock file was removed meanwhile)"),
            Who::Others(_) if holder.pid == std::process::id() => {
                format!("{holder} (this process)")
            }
            Who::Others(_) => holder.to_string(),
        }
    }
}

#[pymethods]
impl Conflict {
    /// The processes that have the lock.
    fn holders(&self, py: Python<'_>) -> Vec<Process> {
        self.found(py).into_iter().map(Process::from).collect()
    }

    /// The holders in words; None where none is known.
    fn description(&self, py: Python<'_>) -> Option<String> {
        const NAMED: usize = 3;
        let holders = self.found(py);
        let named = holders.iter().take(NAMED);
        let mut words: Vec<String> = named.map(|holder| self.in_words(holder)).collect();
        if holders.len() > NAMED {
            words.push(format!("and {} more", holders.len() - NAMED));
        }
        (!words.is_empty()).then(|| words.join(", "))
    }
}
