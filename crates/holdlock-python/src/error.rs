//! The Python exception for each failure.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use holdlock::{Error, inspect};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::process::Process;

/// Why a request failed.
pub(crate) enum Failure {
    Library(Error),
    /// A token or `cancel_check` has ended the wait.
    Cancelled,
    /// This process holds the lock, in the way that the text says.
    HeldHere(&'static str),
    /// The object was held when this process was forked.
    Inherited,
    /// The requester holds the lock shared, and requests it exclusively.
    Upgrade,
    /// A signal handler requests the lock for which its own thread waits.
    Nested,
    /// Another thread, or with true another task, holds the object.
    NotOurs(bool),
    /// The requester does not hold the lock that it wants to hand over.
    NotHeld,
    /// The requester does not hold the lock that it wants to leave abandoned.
    NotHeldAbandoned,
    /// The file that `on_acquired` would write to may be another user's.
    SecondName,
    /// `thread_local='mutex'` together with shared mode.
    SharedMutex,
    /// A note for a lock that has no record.
    NoteWithoutRecord,
    /// A run is to be recorded, and the lock has no record.
    RunWithoutRecord,
    /// A run is to be recorded, and the requester does not hold the lock exclusively.
    RunWithoutLock,
    /// `on_acquired` has released the lock.
    ReleasedByHook,
    /// `__init__` was not called.
    NoInit,
    /// The time limit is not a number.
    Nan,
    /// The thread is inside the token gate that it wants to enter.
    InsideAlready,
    /// The thread holds the lock for which it wants the right to upgrade.
    HeldAlready,
    /// The thread holds all slots of a semaphore, and requests another one.
    HoldsAllSlots(u32),
    Raised(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Library(error)
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
        let shown = inspect::printable(name);
        let runtime = |what: String| Ok(PyRuntimeError::new_err(what));
        let deadlock = |what: String| make(py, "Deadlock", (what,)).map(PyErr::from_value);
        let raised = match self {
            Failure::Raised(error) => Ok(error),
            Failure::Library(error) => library_raised(py, error, name),
            Failure::Cancelled => make(py, "Cancelled", (name,)).map(PyErr::from_value),
            Failure::HeldHere(how) => timeout(py, name, Holders::Ourselves(how)),
            Failure::Inherited => runtime(format!(
                "lock '{shown}' was held when this process was forked; make a new lock in the child"
            )),
            Failure::Upgrade => deadlock(format!(
                "Deadlock: this thread holds lock '{shown}' shared and asks for it exclusively; \
                 release it first"
            )),
            Failure::Nested => deadlock(format!(
                "Deadlock: a signal handler acquires lock '{shown}', for which its own thread waits"
            )),
            Failure::InsideAlready => deadlock(format!(
                "Deadlock: this thread is inside the gate '{shown}', and asks to enter it again; \
                 leave it first"
            )),
            Failure::HeldAlready => deadlock(format!(
                "Deadlock: this thread holds lock '{shown}', and asks for a shared lock that it \
                 can upgrade; release it first"
            )),
            Failure::HoldsAllSlots(slots) => {
                let all = match slots {
                    1 => "the only slot".to_owned(),
                    slots => format!("all {slots} slots"),
                };
                deadlock(format!(
                    "Deadlock: this thread holds {all} of '{shown}', or the exclusive lock on the \
                     file, and asks for a slot; release one first"
                ))
            }
            Failure::NotOurs(is_task) => {
                let whose = if is_task { "task" } else { "thread" };
                runtime(format!("lock '{shown}' is held by another {whose}"))
            }
            Failure::NotHeld => runtime(format!(
                "cannot hand over lock '{shown}': it is not held; acquire it first"
            )),
            Failure::NotHeldAbandoned => runtime(format!(
                "cannot release lock '{shown}' as abandoned: it is not held; acquire it first"
            )),
            Failure::SecondName => Ok(os_error(
                libc::EACCES,
                "the lock file has another hard link, in a directory to which other users can \
                 write, so that on_acquired could write to a file of theirs; remove the link, or \
                 use another directory",
                name,
            )),
            Failure::ReleasedByHook => runtime(format!(
                "on_acquired has released lock '{shown}', and an acquire of it is still running"
            )),
            Failure::SharedMutex => Ok(PyValueError::new_err(
                "thread_local='mutex' excludes threads from one another, and shared=True does not; \
                 use one of them",
            )),
            Failure::NoteWithoutRecord => Ok(PyValueError::new_err(format!(
                "a note needs a record: make lock '{shown}' with record=True"
            ))),
            Failure::RunWithoutRecord => Ok(PyValueError::new_err(format!(
                "a run needs a record: make lock '{shown}' with record=True"
            ))),
            Failure::RunWithoutLock => runtime(format!(
                "cannot record a run under lock '{shown}': it is not held exclusively; acquire it \
                 first"
            )),
            Failure::NoInit => runtime("the lock's __init__ was not called".to_owned()),
            Failure::Nan => Ok(nan()),
        };
        raised.unwrap_or_else(|error| error)
    }

    /// Whether this is the package's exception for a wait that was cancelled.
    pub(crate) fn is_cancelled(py: Python<'_>, error: &PyErr) -> bool {
        let class = py
            .import("holdlock._errors")
            .and_then(|module| module.getattr("Cancelled"));
        class.is_ok_and(|class| error.is_instance(py, &class))
    }
}

fn timeout(py: Python<'_>, name: &OsStr, holders: Holders) -> PyResult<PyErr> {
    let timeout = make(py, "Timeout", (name,))?;
    timeout.setattr("_conflict", Conflict { holders })?;
    Ok(PyErr::from_value(timeout))
}

fn library_raised(py: Python<'_>, error: Error, name: &OsStr) -> PyResult<PyErr> {
    match error {
        Error::TimedOut(conflict) | Error::WouldBlock(conflict) => {
            let slots = conflict.slots();
            let error = timeout(py, name, Holders::Others(conflict))?;
            if let Some(slots) = slots {
                let what = match slots {
                    1 => "the only slot is taken".to_owned(),
                    slots => format!("all {slots} slots are taken"),
                };
                let what = format!("could not be acquired: {what}");
                error.value(py).setattr("_what", what)?;
            }
            Ok(error)
        }
        Error::DifferentSlots {
            conflict,
            slots,
            in_use,
            ..
        } => {
            let error = make(py, "DifferentSlots", (name, slots, in_use))?;
            let holders = Holders::Others(conflict);
            error.setattr("_conflict", Conflict { holders })?;
            Ok(PyErr::from_value(error))
        }
        Error::NotAtomic(conflict) => {
            let error = make(py, "NotAtomic", (name,))?;
            let holders = Holders::Others(conflict);
            error.setattr("_conflict", Conflict { holders })?;
            Ok(PyErr::from_value(error))
        }
        Error::StaleToken { token, newest, .. } => {
            make(py, "StaleToken", (name, token, newest)).map(PyErr::from_value)
        }
        Error::Cancelled { .. } => make(py, "Cancelled", (name,)).map(PyErr::from_value),
        Error::Deadlock { ref cycle, .. } => {
            let shown = inspect::printable(name);
            let what = match cycle {
                Some(cycle) => format!("Deadlock: lock '{shown}': {cycle}"),
                None => format!(
                    "Deadlock: lock '{shown}' is already held by this thread, by another lock \
                     object or an upgradeable guard; release that first, or use one object, or \
                     is_singleton=True, to acquire it again"
                ),
            };
            make(py, "Deadlock", (what,)).map(PyErr::from_value)
        }
        Error::RemovedWhileHeld(conflict) => timeout(py, name, Holders::OfRemoved(conflict)),
        Error::Unsupported { ref source, .. } => {
            let number = source.raw_os_error().unwrap_or(libc::ENOTSUP);
            let message = without_number(&format!("{error:#}"), number);
            let arguments = (number, message, name);
            make(py, "UnsupportedFileSystem", arguments).map(PyErr::from_value)
        }
        Error::Open { ref source, .. }
        | Error::Record { ref source, .. }
        | Error::System { ref source, .. } => {
            // Python's exceptions add the path themselves.
            Ok(system_error(source, &format!("{error:#}"), name))
        }
        error => Ok(PyOSError::new_err(error.to_string())),
    }
}

/// Makes a name from another process safe to print: see `inspect::printable`.
#[pyfunction]
#[pyo3(signature = (text, /))]
pub(crate) fn printable(text: &Bound<'_, PyAny>) -> PyResult<String> {
    // A path may have bytes that are not text; any other object is shown as in Python.
    Ok(match text.extract::<PathBuf>() {
        Ok(path) => inspect::printable(&path).to_string(),
        Err(_) => inspect::printable(&text.str()?.to_string_lossy().into_owned()).to_string(),
    })
}

/// A limit that is no number.
pub(crate) fn nan() -> PyErr {
    PyValueError::new_err("timeout must be a number of seconds, not nan")
}

/// Python chooses the class by the number of the error: PermissionError and so on.
pub(crate) fn os_error(number: i32, message: &str, name: &OsStr) -> PyErr {
    PyOSError::new_err((number, message.to_owned(), name.to_owned()))
}

/// The exception for a system call outside of the library.
pub(crate) fn io_error(error: &io::Error, name: &OsStr) -> PyErr {
    system_error(error, &error.to_string(), name)
}

fn system_error(source: &io::Error, message: &str, name: &OsStr) -> PyErr {
    let number = match (source.raw_os_error(), source.kind()) {
        (Some(number), _) => number,
        // A path with a zero byte in it.
        (None, io::ErrorKind::InvalidInput) => return PyValueError::new_err(message.to_owned()),
        // The library itself refuses some files for fair locks.
        (None, io::ErrorKind::PermissionDenied) => libc::EACCES,
        (None, io::ErrorKind::Unsupported) => libc::ENOTSUP,
        // The library itself refuses the content of a file for a record or a token gate.
        (None, io::ErrorKind::InvalidData) => libc::EINVAL,
        (None, _) => libc::EIO,
    };
    if number == libc::ELOOP {
        // The library recommends an option that Python code does not have.
        let message = "Is a symbolic link, which cannot be a lock file";
        return os_error(number, message, name);
    }
    let message = without_number(message, number);
    os_error(number, &message.replace(NOT_IN_PYTHON, ""), name)
}

/// A remedy of the library that Python code does not have: FileLock always creates the missing
/// directories of its path.
const NOT_IN_PYTHON: &str = ", or use LockOptions::create_parents";

/// A message without the number of the error, which the exception shows by itself.
fn without_number(message: &str, number: i32) -> String {
    message.replace(&format!(" (os error {number})"), "")
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

/// The holders of the lock. They are looked up when they are first needed.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Conflict {
    holders: Holders,
}

enum Holders {
    Others(holdlock::Conflict),
    /// The lock file was removed while they hold it.
    OfRemoved(holdlock::Conflict),
    /// This process, in the way that the text says.
    Ourselves(&'static str),
}

impl Conflict {
    fn found(&self, py: Python<'_>) -> Vec<holdlock::Process> {
        py.detach(|| match &self.holders {
            Holders::Others(conflict) | Holders::OfRemoved(conflict) => conflict.holders().to_vec(),
            Holders::Ourselves(_) => holdlock::Process::of(std::process::id())
                .into_iter()
                .collect(),
        })
    }

    fn in_words(&self, holder: &holdlock::Process) -> String {
        match self.holders {
            Holders::Ourselves(how) => format!("{holder} ({how})"),
            Holders::OfRemoved(_) => format!("{holder} (the lock file was removed meanwhile)"),
            Holders::Others(ref conflict) => {
                let record = conflict.record();
                let record = record.filter(|record| record.pid == holder.pid);
                let ours = holder.pid == std::process::id();
                let ours = if ours { " (this process)" } else { "" };
                format!("{holder}{ours}{}", record.map_or_else(String::new, since))
            }
        }
    }
}

/// For how long the lock has been held, and why.
fn since(record: &holdlock::Record) -> String {
    let age = record.since.age().map(|age| age.as_secs());
    let mut words = match age {
        None => String::new(),
        Some(seconds @ ..60) => format!(" for {seconds} s"),
        Some(seconds @ 60..3600) => format!(" for {} min", seconds / 60),
        Some(seconds @ 3600..86_400) => format!(" for {} h", seconds / 3600),
        Some(seconds) => format!(" for {} d", seconds / 86_400),
    };
    if let Some(note) = &record.note {
        words += &format!(": {}", inspect::printable(note));
    }
    words
}

#[pymethods]
impl Conflict {
    /// The holders.
    fn holders(&self, py: Python<'_>) -> Vec<Process> {
        self.found(py).into_iter().map(Process::from).collect()
    }

    /// The holders in words; None: no holder is known.
    fn description(&self, py: Python<'_>) -> Option<String> {
        const NAMED: usize = 3;
        let found = self.found(py);
        let named = found.iter().take(NAMED);
        let mut words: Vec<String> = named.map(|holder| self.in_words(holder)).collect();
        if found.len() > NAMED {
            words.push(format!("and {} more", found.len() - NAMED));
        }
        (!words.is_empty()).then(|| words.join(", "))
    }
}
