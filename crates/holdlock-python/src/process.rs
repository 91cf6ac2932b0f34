//! Processes that hold a lock or wait for one.

use std::time::SystemTime;

use holdlock::inspect;
use pyo3::prelude::*;

/// A process that holds a lock or waits for it. An attribute is None if it could not be read.
#[pyclass(frozen, eq, get_all, module = "holdlock", from_py_object)]
#[derive(Clone, PartialEq)]
pub(crate) struct Process {
    /// Its number.
    pid: u32,
    /// Its command line, shortened.
    command: Option<String>,
    /// The name of its user.
    user: Option<String>,
    /// The number of its user.
    uid: Option<u32>,
    /// When it was started, in seconds since 1970.
    started: Option<f64>,
    /// Its state: "running", "sleeping", "stopped" and so on.
    state: Option<String>,
    /// The process that started it.
    parent: Option<u32>,
}

type Fields = (
    u32,
    Option<String>,
    Option<String>,
    Option<u32>,
    Option<f64>,
    Option<String>,
    Option<u32>,
);

#[pymethods]
impl Process {
    #[new]
    #[pyo3(signature = (pid, command=None, user=None, uid=None, started=None, state=None, parent=None))]
    fn new(
        pid: u32,
        command: Option<String>,
        user: Option<String>,
        uid: Option<u32>,
        started: Option<f64>,
        state: Option<String>,
        parent: Option<u32>,
    ) -> Process {
        Process {
            pid,
            command,
            user,
            uid,
            started,
            state,
            parent,
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
        words
    }

    fn __repr__(&self) -> String {
        format!("<Process {}>", self.__str__())
    }

    fn __hash__(&self) -> u64 {
        u64::from(self.pid)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyAny>, Fields) {
        let this = slf.get();
        let fields = (
            this.pid,
            this.command.clone(),
            this.user.clone(),
            this.uid,
            this.started,
            this.state.clone(),
            this.parent,
        );
        (slf.get_type().into_any(), fields)
    }
}

impl From<holdlock::Process> for Process {
    fn from(process: holdlock::Process) -> Process {
        let since_1970 = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok();
        Process {
            pid: process.pid,
            command: process.command,
            user: process.user,
            uid: process.uid,
            started: process
                .started
                .and_then(since_1970)
                .map(|since| since.as_secs_f64()),
            state: process.state.map(|state| state.to_string()),
            parent: process.parent,
        }
    }
}
