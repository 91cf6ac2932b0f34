//! The class of locks that an engine keeps, as Python code sees it.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use holdlock::{CancelToken as Token, Mode, Request};
use holdlock_engines::{EngineGuard, EngineLock, Error, Run};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::acquire::acquire;
use super::answer::{done, duration, history};
use super::at_end;
use super::holds::{Held, Holds, Join, Leave};
use super::lost::NativeLost;
use super::raise::{self, raised};
use crate::blocking::{Limits, own_seconds};
use crate::cancel::CancelToken;
use crate::error::{Failure, io_error};
use crate::lock::mode_of;
use crate::pending::Pending;
use crate::requester::{Requester, Task};
use crate::thread;
use crate::unseen::Unseen;

/// The native part of `EngineLock` and `AsyncEngineLock`.
#[pyclass(frozen, subclass, module = "holdlock._native")]
pub(crate) struct NativeEngineLock {
    /// Set by `__init__`.
    core: OnceLock<Core>,
}

struct Core {
    lock: EngineLock,
    mode: Mode,
    note: Option<String>,
    /// The default timeout, and whether a request waits by default.
    settings: Mutex<(f64, bool)>,
    holds: Arc<Holds>,
}

impl Core {
    fn request(&self, shared: Option<bool>, note: Option<String>) -> Request {
        let request = Request::new(shared.map_or(self.mode, mode_of));
        match note.or_else(|| self.note.clone()) {
            Some(note) => request.note(note),
            None => request,
        }
    }

    /// Whether the requester holds the lock already. Then it has acquired it once more.
    fn join(&self, py: Python<'_>, mode: Mode, requester: Requester<'_>) -> PyResult<bool> {
        match self.holds.join(mode, requester) {
            Join::Joined => Ok(true),
            Join::Free => Ok(false),
            Join::Upgrade => Err(Failure::Upgrade.raise(py, OsStr::new(self.lock.name()))),
            Join::Invalid => Err(self.lost(py, requester)),
        }
    }

    /// The exception for a lock that is not valid.
    fn lost(&self, py: Python<'_>, requester: Requester<'_>) -> PyErr {
        let loss = self.holds.look(requester, |held| held.lost.get().known(py));
        match loss {
            Some(Some(loss)) => raise::lost(py, self.lock.name(), &loss),
            // The signal fires a moment after the deadline.
            Some(None) => raise::expired(py, self.lock.name()),
            None => self.not_held(),
        }
    }

    /// Keeps a lock that the requester has acquired.
    fn keep(&self, py: Python<'_>, guard: EngineGuard, requester: Requester<'_>) -> PyResult<()> {
        let lost = Py::new(py, NativeLost::new(self.lock.name(), guard.lost()))?;
        at_end::note(py, &self.holds)?;
        self.holds.keep(Held { guard, lost }, requester);
        Ok(())
    }

    fn not_held(&self) -> PyErr {
        let shown = holdlock::inspect::printable(self.lock.name());
        PyRuntimeError::new_err(format!("lock '{shown}' is not held; acquire it first"))
    }

    /// The guard that has to be released.
    fn leave(
        &self,
        py: Python<'_>,
        all: bool,
        requester: Requester<'_>,
    ) -> PyResult<Option<EngineGuard>> {
        if all {
            let ended = self.holds.take_ended();
            ended
                .into_iter()
                .for_each(|held| held.guard.release_in_background());
        }
        match self.holds.leave(all, requester) {
            Leave::Last(held) => Ok(Some(held.guard)),
            Leave::Nested => {
                // The end of the outer block asks the engine.
                let loss = self.holds.look(requester, |held| held.lost.get().known(py));
                match loss.flatten().filter(|loss| loss.is_definite()) {
                    Some(loss) => Err(raise::lost(py, self.lock.name(), &loss)),
                    None => Ok(None),
                }
            }
            Leave::NotOurs if !all => {
                let shown = holdlock::inspect::printable(self.lock.name());
                Err(PyRuntimeError::new_err(format!(
                    "lock '{shown}' is held by another thread or task, which has to release it"
                )))
            }
            Leave::NotOurs | Leave::NotHeld => Ok(None),
        }
    }

    fn pending<F: Future<Output: Send> + Send + 'static>(
        &self,
        future: F,
        finish: impl FnOnce(Python<'_>, F::Output) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> PyResult<Pending> {
        let finish = |py: Python<'_>, _: &Pending, answer| finish(py, answer);
        Pending::alone(Token::new(), None, future, finish)
            .map_err(|error| io_error(&error, OsStr::new(self.lock.name())))
    }
}

impl NativeEngineLock {
    fn core(&self) -> PyResult<&Core> {
        self.core
            .get()
            .ok_or_else(|| Python::attach(|py| Failure::NoInit.raise(py, OsStr::new(""))))
    }
}

#[pymethods]
impl NativeEngineLock {
    #[new]
    #[pyo3(signature = (*_arguments, **_options))]
    fn new(
        _arguments: &Bound<'_, PyTuple>,
        _options: Option<&Bound<'_, PyDict>>,
    ) -> NativeEngineLock {
        NativeEngineLock {
            core: OnceLock::new(),
        }
    }

    /// Python code has checked the options.
    #[expect(clippy::too_many_arguments, reason = "the options")]
    fn __init__(
        &self,
        py: Python<'_>,
        url: &str,
        timeout: f64,
        blocking: bool,
        shared: bool,
        note: Option<String>,
        command: Option<String>,
    ) -> PyResult<()> {
        // It reads files, which can be pipes or on a server that is silent.
        let opened = py.detach(|| holdlock_engines::open(url));
        let mut lock = opened.map_err(|error| raised(py, &error))?;
        if let Some(command) = command {
            lock = lock.command(&command);
        }
        // A second call changes nothing: a holder keeps the lock.
        let _ = self.core.set(Core {
            lock,
            mode: mode_of(shared),
            note,
            settings: Mutex::new((timeout, blocking)),
            holds: Arc::new(Holds::new()),
        });
        Ok(())
    }

    /// For the collector: a function that is to be called at the loss of the lock may refer to it.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.core.get() {
            Some(core) => core.holds.visit(&visit),
            None => Ok(()),
        }
    }

    /// Acquires the lock with its own limit. Native, so that no Python code, and no exception of a
    /// signal handler, comes between the acquisition and the block.
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let limit = own_seconds(slf.get()._settings()?)?;
        slf.get()._take(slf.py(), limit, None, None, None)?;
        Ok(slf.clone())
    }

    /// Releases the lock. Raises `LockLost` if the block ends without the lock; if it ends by
    /// another exception, that one gets a note.
    fn __exit__(
        &self,
        py: Python<'_>,
        _kind: &Bound<'_, PyAny>,
        body: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let Err(error) = self._release(py, false) else {
            return Ok(());
        };
        if body.is_none() {
            return Err(error);
        }
        let note = py.import("holdlock._engine_errors")?.getattr("note")?;
        note.call1((body, error.value(py))).map(drop)
    }

    /// The thread acquires the lock, and waits for at most `limit` seconds; negative: for as long
    /// as it takes; 0: not at all.
    fn _take(
        &self,
        py: Python<'_>,
        limit: f64,
        shared: Option<bool>,
        note: Option<String>,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        thread::enter(py)?;
        let core = self.core()?;
        let request = core.request(shared, note);
        if !core.join(py, request.mode(), Requester::Thread)? {
            let guard = acquire(py, &core.lock, request, &Limits::new(limit, cancel))?;
            core.keep(py, guard, Requester::Thread)?;
        }
        Ok(())
    }

    /// A request of the task. None: it holds the lock already, and has acquired it once more.
    fn _queue(
        slf: &Bound<'_, Self>,
        limit: f64,
        shared: Option<bool>,
        note: Option<String>,
        task: Option<Bound<'_, Task>>,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<Option<Pending>> {
        let py = slf.py();
        thread::enter(py)?;
        let core = slf.get().core()?;
        let request = core.request(shared, note);
        if core.join(py, request.mode(), Requester::of(task.as_ref()))? {
            return Ok(None);
        }
        let token = Token::new();
        let request = Limits::new(limit, None).of(request.cancel(&token));
        let future = core.lock.acquire_async(request);
        let future = async { future.await.map(Unseen::new) };
        let finish = |py: Python<'_>, pending: &Pending, answer: Result<Unseen<_>, Error>| {
            let guard = answer.map_err(|error| raised(py, &error))?.keep();
            if let Some(guard) = guard {
                let this = pending.object::<NativeEngineLock>(py)?;
                this.get().core()?.keep(py, guard, pending.requester())?;
            }
            Ok(py.None())
        };
        Pending::alone(token, cancel, future, finish)
            .map(|pending| Some(pending.of(slf, task)))
            .map_err(|error| io_error(&error, OsStr::new(core.lock.name())))
    }

    /// The thread undoes one acquisition, or with `force` all.
    fn _release(&self, py: Python<'_>, force: bool) -> PyResult<()> {
        match self.core()?.leave(py, force, Requester::Thread)? {
            Some(guard) => py
                .detach(|| guard.release())
                .map_err(|error| raised(py, &error)),
            None => Ok(()),
        }
    }

    /// Releases what the thread or task has acquired more often than this. Does not wait.
    fn _undo(&self, counter: usize, task: Option<Bound<'_, Task>>) -> PyResult<()> {
        let holds = &self.core()?.holds;
        let requester = Requester::of(task.as_ref());
        while holds.counter(requester) > counter {
            if let Leave::Last(held) = holds.leave(false, requester) {
                held.guard.release_in_background();
            }
        }
        Ok(())
    }

    /// The task undoes one acquisition, or with `force` all. None: there is nothing to wait for.
    fn _releasing(
        &self,
        py: Python<'_>,
        force: bool,
        task: Option<Bound<'_, Task>>,
    ) -> PyResult<Option<Pending>> {
        let core = self.core()?;
        let guard = core.leave(py, force, Requester::of(task.as_ref()))?;
        let pending = guard.map(|guard| core.pending(guard.release_async(), done));
        pending.transpose()
    }

    /// Gives the task what another task holds, by the number of that one. False: it holds nothing.
    fn _hand_over(&self, number: u64, task: Option<Bound<'_, Task>>) -> PyResult<bool> {
        let requester = Requester::of(task.as_ref());
        Ok(self.core()?.holds.hand_over(number, requester))
    }

    /// A question to the engine: is the lock held? If not, the answer is `LockLost`.
    fn _checking(&self, task: Option<Bound<'_, Task>>) -> PyResult<Pending> {
        let core = self.core()?;
        let requester = Requester::of(task.as_ref());
        let asked = core.holds.look(requester, |held| held.guard.check_async());
        core.pending(asked.ok_or_else(|| core.not_held())?, done)
    }

    /// A question to the engine: the holders and the waiters.
    fn _asking_members(&self) -> PyResult<Pending> {
        let core = self.core()?;
        core.pending(core.lock.members_async(), |py, answer| {
            let found = answer.map_err(|error| raised(py, &error))?;
            let holders = raise::members(py, &found.holders)?;
            let waiters = raise::members(py, &found.waiters)?;
            let class = py.import("holdlock._engine_types")?.getattr("Members")?;
            class.call1((holders, waiters)).map(Bound::unbind)
        })
    }

    /// A request to the engine to end the holder with this token. Its result is that holder, or
    /// None.
    fn _breaking(&self, token: u64) -> PyResult<Pending> {
        let core = self.core()?;
        core.pending(core.lock.break_holder_async(token), |py, answer| {
            let broken = answer.map_err(|error| raised(py, &error))?;
            raise::member_or_none(py, broken.as_ref()).map(Bound::unbind)
        })
    }

    /// A question to the engine: what it remembers of earlier holders.
    fn _asking_last_run(&self) -> PyResult<Pending> {
        let core = self.core()?;
        core.pending(core.lock.last_run_async(), history)
    }

    /// Tells the engine about the work of the holder. The run counts if `ago` and `keep` are given,
    /// in seconds. The result is what was remembered before.
    fn _recording_run(
        &self,
        at_work: bool,
        counted: Option<(f64, f64)>,
        task: Option<Bound<'_, Task>>,
    ) -> PyResult<Pending> {
        let core = self.core()?;
        let mut run = match at_work {
            true => Run::begins(),
            false => Run::ends(),
        };
        if let Some((ago, keep)) = counted {
            run = run.counted(duration("ago", ago)?, duration("keep", keep)?);
        }
        let requester = Requester::of(task.as_ref());
        let asked = core
            .holds
            .look(requester, |held| held.guard.record_run_async(run));
        core.pending(asked.ok_or_else(|| core.not_held())?, history)
    }

    /// Raises `LockLost` unless the lock is certainly held.
    fn _ensure(&self, py: Python<'_>, task: Option<Bound<'_, Task>>) -> PyResult<()> {
        match self._is_valid(task.clone())? {
            true => Ok(()),
            false => Err(self.core()?.lost(py, Requester::of(task.as_ref()))),
        }
    }

    fn _is_valid(&self, task: Option<Bound<'_, Task>>) -> PyResult<bool> {
        let requester = Requester::of(task.as_ref());
        let holds = &self.core()?.holds;
        Ok(holds.look(requester, |held| held.guard.is_valid()) == Some(true))
    }

    fn _counter(&self, task: Option<Bound<'_, Task>>) -> PyResult<usize> {
        Ok(self.core()?.holds.counter(Requester::of(task.as_ref())))
    }

    fn _token(&self, task: Option<Bound<'_, Task>>) -> PyResult<Option<u64>> {
        let requester = Requester::of(task.as_ref());
        let token = self
            .core()?
            .holds
            .look(requester, |held| held.guard.token());
        Ok(token.flatten())
    }

    /// In seconds of CLOCK_BOOTTIME.
    fn _deadline(&self, task: Option<Bound<'_, Task>>) -> PyResult<Option<f64>> {
        let requester = Requester::of(task.as_ref());
        let deadline = self
            .core()?
            .holds
            .look(requester, |held| held.guard.deadline());
        Ok(deadline.map(|deadline| deadline.since_boot().as_secs_f64()))
    }

    fn _lost(&self, py: Python<'_>, task: Option<Bound<'_, Task>>) -> PyResult<Py<NativeLost>> {
        let core = self.core()?;
        let requester = Requester::of(task.as_ref());
        let lost = core.holds.look(requester, |held| held.lost.clone_ref(py));
        lost.ok_or_else(|| core.not_held())
    }

    /// The URL without user, password and options.
    #[getter]
    fn name(&self) -> PyResult<&str> {
        Ok(self.core()?.lock.name())
    }

    /// Whether `with` acquires the lock together with other shared holders.
    #[getter]
    fn shared(&self) -> PyResult<bool> {
        Ok(self.core()?.mode == Mode::Shared)
    }

    /// The reason that others see if `acquire` does not give one.
    #[getter]
    fn note(&self) -> PyResult<Option<&str>> {
        Ok(self.core()?.note.as_deref())
    }

    #[getter]
    fn _warnings(&self) -> PyResult<Vec<String>> {
        Ok(self.core()?.lock.warnings().to_vec())
    }

    /// The timeout, and blocking.
    #[getter]
    fn _settings(&self) -> PyResult<(f64, bool)> {
        let settings = &self.core()?.settings;
        Ok(*settings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn _set(&self, timeout: f64, blocking: bool) -> PyResult<()> {
        let settings = &self.core()?.settings;
        *settings.lock().unwrap_or_else(PoisonError::into_inner) = (timeout, blocking);
        Ok(())
    }
}
