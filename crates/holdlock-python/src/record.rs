//! The record in a lock file: the last exclusive holder.

use std::ffi::OsStr;
use std::time::UNIX_EPOCH;

use holdlock::{Moment, RecordState, inspect};
use pyo3::prelude::*;

use crate::error;
use crate::lock::NativeLock;
use crate::open;
use crate::requester::{Requester, Task};
use crate::run::Run;

/// The record of the last exclusive holder of a lock. An attribute is None if it is not known.
#[pyclass(frozen, eq, get_all, module = "holdlock", from_py_object)]
#[derive(Clone, PartialEq)]
pub(crate) struct Record {
    /// The token of the acquisition.
    token: u64,
    /// "held", "released" or "handed over". A holder that died has left "held".
    state: String,
    /// When the lock was acquired, in seconds since 1970.
    since: f64,
    /// The number of the process.
    pid: u32,
    /// The name of its host.
    host: Option<String>,
    /// The name of its user.
    user: Option<String>,
    /// Its command line, shortened.
    command: Option<String>,
    /// The reason that the process has given.
    note: Option<String>,
    /// The last run that was recorded under the lock (`FileLock.record_run`, `holdlock run`).
    last_run: Option<Run>,
    /// When the last run began that ended with exit code 0, in seconds since 1970.
    last_success: Option<f64>,
}

type Fields = (
    u64,
    String,
    f64,
    u32,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<Run>,
    Option<f64>,
);

#[pymethods]
impl Record {
    #[new]
    #[pyo3(signature = (
        token, state, since, pid, host=None, user=None, command=None, note=None, last_run=None,
        last_success=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "the attributes")]
    fn new(
        token: u64,
        state: String,
        since: f64,
        pid: u32,
        host: Option<String>,
        user: Option<String>,
        command: Option<String>,
        note: Option<String>,
        last_run: Option<Run>,
        last_success: Option<f64>,
    ) -> Record {
        Record {
            token,
            state,
            since,
            pid,
            host,
            user,
            command,
            note,
            last_run,
            last_success,
        }
    }

    fn __str__(&self) -> String {
        let mut words = format!("pid {}", self.pid);
        if let Some(command) = &self.command {
            words += &format!(" ({})", inspect::printable(command));
        }
        if let Some(user) = &self.user {
            words += &format!(" of {}", inspect::printable(user));
        }
        if let Some(note) = &self.note {
            words += &format!(": {}", inspect::printable(note));
        }
        words
    }

    fn __repr__(&self) -> String {
        let words = self.__str__();
        format!("<Record token={}, {}, {words}>", self.token, self.state)
    }

    fn __hash__(&self) -> u64 {
        self.token
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyAny>, Fields) {
        let this = slf.get().clone();
        let fields = (
            this.token,
            this.state,
            this.since,
            this.pid,
            this.host,
            this.user,
            this.command,
            this.note,
            this.last_run,
            this.last_success,
        );
        (slf.get_type().into_any(), fields)
    }
}

pub(crate) fn seconds(moment: &Moment) -> f64 {
    let since = moment.time().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

impl From<holdlock::Record> for Record {
    fn from(record: holdlock::Record) -> Record {
        let state = match record.state {
            RecordState::Held => "held",
            RecordState::Released => "released",
            RecordState::HandedOver => "handed over",
            _ => "of a newer version",
        };
        Record {
            token: record.token,
            state: state.to_owned(),
            since: seconds(&record.since),
            pid: record.pid,
            host: record.host,
            user: record.user,
            command: record.command,
            note: record.note,
            last_run: record.last_run.map(Run::from),
            last_success: record.last_success.as_ref().map(seconds),
        }
    }
}

/// The record in the lock file at this path. None: the file is missing or has no record.
///
/// The lock is not acquired, so the record may be out of date at once. OSError if the file cannot
/// be read.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub(crate) fn record(path: &Bound<'_, PyAny>) -> PyResult<Option<Record>> {
    let (py, path) = (path.py(), open::path_of("path", path)?);
    let read = py.detach(|| holdlock::Record::read(&path));
    let found = read.map_err(|error| error::io_error(&error, OsStr::new(&path)))?;
    Ok(found.map(Record::from))
}

/// `FileLock.token`.
#[pyfunction]
#[pyo3(signature = (lock, task, /))]
pub(crate) fn token_of(
    lock: &Bound<'_, NativeLock>,
    task: Option<Bound<'_, Task>>,
) -> PyResult<Option<u64>> {
    let shared = &lock.get().core()?.shared;
    Ok(shared.with_guard(Requester::of(task.as_ref()), |guard| guard.token()))
}

/// `FileLock.abandoned`.
#[pyfunction]
#[pyo3(signature = (lock, task, /))]
pub(crate) fn abandoned_before(
    lock: &Bound<'_, NativeLock>,
    task: Option<Bound<'_, Task>>,
) -> PyResult<Option<Record>> {
    let shared = &lock.get().core()?.shared;
    let found = shared.with_guard(Requester::of(task.as_ref()), |guard| {
        guard.abandoned().cloned()
    });
    Ok(found.map(Record::from))
}
