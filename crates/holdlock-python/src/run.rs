//! Runs under a lock, as its record has them.

use holdlock::Moment;
use pyo3::prelude::*;

use crate::error::Failure;
use crate::lock::NativeLock;
use crate::record::seconds;
use crate::requester::{Requester, Task};

/// A run under a lock, from the record in its file.
#[pyclass(frozen, eq, get_all, module = "holdlock", from_py_object)]
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Run {
    /// When it began, in seconds since 1970.
    began: f64,
    /// When it ended. None: it is running, or its end was not recorded.
    ended: Option<f64>,
    /// Its exit code, or 128 + n if signal n ended it. None: it has not ended.
    exit: Option<u8>,
}

#[pymethods]
impl Run {
    #[new]
    #[pyo3(signature = (began, ended=None, exit=None))]
    fn new(began: f64, ended: Option<f64>, exit: Option<u8>) -> Run {
        Run { began, ended, exit }
    }

    fn __repr__(&self) -> String {
        let ended = match self.exit {
            Some(exit) => format!("ended with exit code {exit}"),
            None => "not ended".to_owned(),
        };
        format!("<Run began at {}, {ended}>", self.began)
    }

    fn __hash__(&self) -> u64 {
        self.began.to_bits()
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> (Bound<'py, PyAny>, (f64, Option<f64>, Option<u8>)) {
        let this = slf.get();
        let fields = (this.began, this.ended, this.exit);
        (slf.get_type().into_any(), fields)
    }
}

impl From<holdlock::Run> for Run {
    fn from(run: holdlock::Run) -> Run {
        Run {
            began: seconds(&run.began),
            ended: run.ended.as_ref().map(seconds),
            exit: run.exit,
        }
    }
}

/// `FileLock.record_run`.
#[pyfunction]
#[pyo3(signature = (lock, exit, task, /))]
pub(crate) fn record_run(
    lock: &Bound<'_, NativeLock>,
    exit: Option<u8>,
    task: Option<Bound<'_, Task>>,
) -> PyResult<()> {
    let core = lock.get().core()?;
    let recorded = if core.shared.record {
        core.shared.record_run(Requester::of(task.as_ref()), exit)
    } else {
        Err(Failure::RunWithoutRecord)
    };
    recorded.map_err(|failure| failure.raise(lock.py(), core.name()))
}

/// The run that begins now, or that ends now with this exit code.
pub(crate) fn at_this_moment(began: &mut Option<Moment>, exit: Option<u8>) -> holdlock::Run {
    let now = Moment::now();
    match exit {
        None => holdlock::Run {
            began: *began.insert(now),
            ended: None,
            exit: None,
        },
        Some(_) => holdlock::Run {
            began: began.take().unwrap_or(now),
            ended: Some(now),
            exit,
        },
    }
}
