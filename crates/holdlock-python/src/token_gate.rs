//! A resource that refuses older tokens.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use holdlock::{CancelToken as Token, Error, Passed, Request};
use pyo3::exceptions::{PyTimeoutError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyInt, PyTuple, PyType};

use crate::blocking::{self, Limits, greenlets, seconds};
use crate::cancel::CancelToken;
use crate::error::{self, Failure};
use crate::in_thread::InThread;
use crate::pending::Pending;
use crate::signal::{Answer, Signal};
use crate::wakeup::Wakeups;
use crate::{fork, open};

/// Lets a writer pass to a resource only if no writer with a later token has passed.
///
/// A lock alone cannot stop a holder that was suspended, or that has lost the lock without
/// noticing: it may go on to write while another process holds the lock. A gate at the resource
/// refuses it, because the later holder has a higher `FileLock.token`. Every writer has to go
/// through the gate.
///
/// >>> import os, tempfile
/// >>> from holdlock import FileLock, StaleToken, TokenGate
/// >>> place = tempfile.mkdtemp()
/// >>> lock = FileLock(os.path.join(place, "job.lock"), record=True)
/// >>> gate = TokenGate(os.path.join(place, "data.gate"))
/// >>> with lock, gate.enter(lock.token):
/// ...     print("write here")
/// write here
/// >>> with lock:
/// ...     old = lock.token
/// >>> with lock, gate.enter(lock.token):
/// ...     pass
/// >>> try:
/// ...     gate.enter(old)
/// ... except StaleToken as error:
/// ...     print(error.token < error.newest)
/// True
///
/// The gate is a file of its own, which keeps the highest token; the first use creates it. A higher
/// token is on the disk before the writer may enter. The file is locked while a writer is inside.
#[pyclass(frozen, weakref, module = "holdlock")]
pub(crate) struct TokenGate {
    name: OsString,
    path: PathBuf,
    opened: Mutex<Option<holdlock::TokenGate>>,
}

#[pymethods]
impl TokenGate {
    #[new]
    fn new(path: &Bound<'_, PyAny>) -> PyResult<TokenGate> {
        let path = open::path_of("path", path)?;
        // A relative path means the working directory at this moment.
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        Ok(TokenGate {
            name: path.into(),
            path: absolute,
            opened: Mutex::new(None),
        })
    }

    /// The path, as it was given.
    #[getter]
    fn path(&self) -> &OsStr {
        &self.name
    }

    /// Enters, and waits until no other writer is inside. The result is left by `leave()`, or at
    /// the end of a `with` statement on it.
    ///
    /// token: the `token` of the lock that the caller holds.
    /// timeout: wait at most this many seconds. Negative, inf or None: no limit. 0: do not wait.
    /// blocking: False: do not wait.
    /// cancel: a CancelToken by which another thread can end the wait.
    ///
    /// Raises StaleToken if a later token has passed, Timeout if another writer is inside for too
    /// long, Deadlock if this thread is inside already, and OSError if the file is not a gate or
    /// cannot be written; then its content stays as it is.
    #[pyo3(signature = (token, timeout=None, *, blocking=None, cancel=None))]
    fn enter(
        slf: &Bound<'_, Self>,
        token: &Bound<'_, PyAny>,
        timeout: Option<&Bound<'_, PyAny>>,
        blocking: Option<&Bound<'_, PyAny>>,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<Py<Inside>> {
        let py = slf.py();
        let (number, limit) = (token_of(token)?, seconds(py, timeout, blocking)?);
        if let Some(greenlets) = greenlets(py)? {
            let inside = greenlets.call_method1("enter_gate", (slf, token, limit, cancel))?;
            return Ok(inside.cast_into::<Inside>()?.unbind());
        }
        let limits = Limits::new(limit, cancel);
        Py::new(py, slf.get().pass(py, number, &limits, true)?)
    }

    /// A task enters if no other writer is inside. None: one is, and the task may wait.
    fn _try(&self, token: &Bound<'_, PyAny>, may_wait: bool) -> PyResult<Option<Inside>> {
        let (py, token) = (token.py(), token_of(token)?);
        match self.pass(py, token, &Limits::new(0.0, None), false) {
            Err(error) if may_wait && error.is_instance_of::<PyTimeoutError>(py) => Ok(None),
            passed => passed.map(Some),
        }
    }

    /// A wait of a task until no other writer is inside. Its result is that of `enter`.
    fn _queue(
        &self,
        token: &Bound<'_, PyAny>,
        limit: f64,
        cancel: Option<Bound<'_, CancelToken>>,
        wakeups: Option<Bound<'_, Wakeups>>,
    ) -> PyResult<Pending> {
        let (py, token) = (token.py(), token_of(token)?);
        let signal =
            Signal::new(wakeups.as_ref()).map_err(|error| error::io_error(&error, &self.name))?;
        let gate = self
            .opened(py)
            .map_err(|failure| failure.raise(py, &self.name))?;
        let ending = Token::new();
        let request = Limits::new(limit, None).of(Request::exclusive().cancel(&ending));
        let future = InThread::new(move || gate.pass_with(token, request));
        let name = self.name.clone();
        let finish = move |py: Python<'_>, _: &Pending, answer: io::Result<Answer<Passed>>| {
            let answer = answer.map_err(|error| error::io_error(&error, &name))?;
            let passed = answer.map_err(|error| Failure::from(error).raise(py, &name))?;
            let inside = Inside::new(&name, token, passed);
            Ok(inside.into_pyobject(py)?.into_any().unbind())
        };
        Ok(Pending::new(ending, signal, cancel, future, finish))
    }

    fn __repr__(&self) -> String {
        format!("<TokenGate '{}'>", holdlock::inspect::printable(&self.name))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (PathBuf,)) {
        (slf.get_type(), (slf.get().path.clone(),))
    }
}

impl TokenGate {
    /// `stays` promises that the calling thread also leaves.
    fn pass(
        &self,
        py: Python<'_>,
        token: u64,
        limits: &Limits<'_>,
        stays: bool,
    ) -> PyResult<Inside> {
        let raise = |failure: Failure| {
            match failure {
                Failure::Library(Error::Deadlock { cycle: None, .. }) => Failure::InsideAlready,
                failure => failure,
            }
            .raise(py, &self.name)
        };
        let gate = self.opened(py).map_err(raise)?;
        let pass = |request: Request<blocking::Callback<'_>>| gate.pass_with(token, request);
        let passed = blocking::make(py, limits, None, stays, pass).map_err(raise)?;
        Ok(Inside::new(&self.name, token, passed))
    }

    fn opened(&self, py: Python<'_>) -> Result<holdlock::TokenGate, Failure> {
        let place = || self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = &*place() {
            return Ok(gate.clone());
        }
        let open = |path: &Path| holdlock::TokenGate::open(path);
        let opened = py.detach(|| open::checked(&self.name, &self.path, open))?;
        Ok(place().get_or_insert(opened).clone())
    }
}

/// A token as an argument.
fn token_of(given: &Bound<'_, PyAny>) -> PyResult<u64> {
    if given.is_none() {
        return Err(PyTypeError::new_err(
            "token must be an int, not None: a lock has a token if it is made with record=True, \
             while it is held exclusively",
        ));
    }
    let not_int = |_| {
        let kind = given.get_type().qualname();
        let kind = kind.map_or_else(|_| "another type".to_owned(), |kind| kind.to_string());
        PyTypeError::new_err(format!("token must be an int, not {kind}"))
    };
    let number = given.cast::<PyInt>().map_err(not_int)?;
    number.extract().map_err(|_| {
        PyValueError::new_err(format!(
            "token must be a number from 0 to 2**64 - 1, not {number}"
        ))
    })
}

/// Being inside a `TokenGate`.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Inside {
    /// The path of the gate, as it was given.
    name: OsString,
    token: u64,
    passed: Mutex<Option<Passed>>,
    generation: u32,
}

impl Inside {
    fn new(name: &OsStr, token: u64, passed: Passed) -> Inside {
        Inside {
            name: name.to_owned(),
            token,
            passed: Mutex::new(Some(passed)),
            generation: fork::generation(),
        }
    }
}

#[pymethods]
impl Inside {
    /// Leaves the gate. Does nothing if it was left before, nor in a child of fork. Raises OSError
    /// if other code has closed the descriptor of the gate: another writer may have entered since.
    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        if self.generation != fork::generation() {
            return Ok(()); // the parent is inside
        }
        let passed = self
            .passed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let left = passed.map_or(Ok(()), Passed::leave);
        left.map_err(|error| Failure::from(error).raise(py, &self.name))
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
        slf.clone()
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.leave(py)
    }

    fn __repr__(&self) -> String {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let how = if passed.is_some() { "inside" } else { "left" };
        let shown = holdlock::inspect::printable(&self.name);
        format!("<Inside '{shown}', token {}, {how}>", self.token)
    }
}
