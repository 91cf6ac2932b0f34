//! The native part of `Semaphore` and `AsyncSemaphore`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use holdlock::{CancelToken as Token, Error, LockOptions, Request};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::blocking::{self, Limits};
use crate::cancel::CancelToken;
use crate::error::{self, Failure};
use crate::open;
use crate::pending::Pending;
use crate::process::Process;
use crate::requester::{Requester, Task};
use crate::signal::{Answer, Signal};
use crate::slots::{Slots, Which};
use crate::thread;
use crate::wakeup::Wakeups;

#[pyclass(frozen, subclass, module = "holdlock._native")]
pub(crate) struct NativeSemaphore {
    /// Set by `__init__`.
    core: OnceLock<Core>,
}

struct Core {
    /// The lock file as the caller has named it.
    name: OsString,
    path: PathBuf,
    slots: u32,
    options: LockOptions,
    /// The default timeout, and whether a request waits by default.
    settings: Mutex<(f64, bool)>,
    /// Opened by the first request.
    semaphore: Mutex<Option<holdlock::Semaphore>>,
    held: Slots,
}

impl Core {
    fn opened(&self, py: Python<'_>) -> Result<holdlock::Semaphore, Failure> {
        let place = || {
            self.semaphore
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(semaphore) = &*place() {
            return Ok(semaphore.clone());
        }
        let open = |path: &Path| self.options.open_semaphore(path, self.slots);
        // Opening can take long on a network file system.
        let opened = py.detach(|| open::checked(&self.name, &self.path, open))?;
        Ok(place().get_or_insert(opened).clone())
    }

    fn raise(&self, py: Python<'_>, failure: Failure) -> PyErr {
        match failure {
            Failure::Library(Error::Deadlock { .. }) => Failure::HoldsAllSlots(self.slots),
            failure => failure,
        }
        .raise(py, &self.name)
    }

    fn keep(&self, guard: holdlock::OwnedSemaphoreGuard, requester: Requester<'_>) -> (u32, u64) {
        self.held.keep(guard, requester)
    }

    fn look(
        &self,
        py: Python<'_>,
        look: impl Fn(&holdlock::Semaphore) -> std::io::Result<Vec<holdlock::Process>> + Sync,
    ) -> PyResult<Vec<Process>> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let semaphore = self.opened(py).map_err(|failure| self.raise(py, failure))?;
        let found = py
            .detach(|| look(&semaphore))
            .map_err(|error| error::io_error(&error, &self.name))?;
        Ok(found.into_iter().map(Process::from).collect())
    }
}

impl NativeSemaphore {
    fn core(&self) -> PyResult<&Core> {
        self.core
            .get()
            .ok_or_else(|| Python::attach(|py| Failure::NoInit.raise(py, OsStr::new(""))))
    }
}

#[pymethods]
impl NativeSemaphore {
    #[new]
    #[pyo3(signature = (*_arguments, **_options))]
    fn new(
        _arguments: &Bound<'_, PyTuple>,
        _options: Option<&Bound<'_, PyDict>>,
    ) -> NativeSemaphore {
        NativeSemaphore {
            core: OnceLock::new(),
        }
    }

    /// Python code has checked the options.
    fn __init__(
        &self,
        path: &Bound<'_, PyAny>,
        slots: u32,
        timeout: f64,
        blocking: bool,
        mode: i32,
        follow_symlinks: bool,
    ) -> PyResult<()> {
        let path = open::path_of("path", path)?;
        let mut options = LockOptions::new()
            .create_parents(true)
            .follow_symlinks(follow_symlinks);
        if let Ok(mode) = u32::try_from(mode) {
            options = options.permissions(mode);
        }
        // A relative path means the working directory at this moment.
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        // A second call changes nothing: a holder keeps its slot.
        let _ = self.core.set(Core {
            name: path.into(),
            path: absolute,
            slots,
            options,
            settings: Mutex::new((timeout, blocking)),
            semaphore: Mutex::new(None),
            held: Slots::new(),
        });
        Ok(())
    }

    /// Acquires a slot with the semaphore's own limit, and returns its number. Native, so that no
    /// Python code, and no exception of a signal handler, comes between the acquisition and the
    /// block.
    fn __enter__(slf: &Bound<'_, Self>) -> PyResult<u32> {
        let limit = blocking::own_seconds(slf.get()._settings()?)?;
        Ok(NativeSemaphore::_take(slf, limit, None)?.0)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(slf: &Bound<'_, Self>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        slf.get()._give_back(slf.py(), None, None, None)
    }

    /// The thread acquires a slot, and waits for at most `limit` seconds; negative: for as long as
    /// it takes; 0: not at all. Returns the number of the slot, and that of the acquisition.
    fn _take(
        slf: &Bound<'_, Self>,
        limit: f64,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<(u32, u64)> {
        let py = slf.py();
        thread::enter(py)?;
        let core = slf.get().core()?;
        let semaphore = core.opened(py).map_err(|failure| core.raise(py, failure))?;
        let limits = Limits::new(limit, cancel);
        let guard = blocking::make(py, &limits, None, true, |request| {
            semaphore.acquire_owned(request)
        })
        .map_err(|failure| core.raise(py, failure))?;
        Ok(core.keep(guard, Requester::Thread))
    }

    /// The task acquires a slot that is free now. None: none is free, and the task may wait.
    fn _try(
        slf: &Bound<'_, Self>,
        may_wait: bool,
        task: Option<Bound<'_, Task>>,
    ) -> PyResult<Option<(u32, u64)>> {
        let py = slf.py();
        let core = slf.get().core()?;
        let semaphore = core.opened(py).map_err(|failure| core.raise(py, failure))?;
        match py.detach(|| semaphore.acquire_owned(Request::exclusive().try_once())) {
            Ok(guard) => Ok(Some(core.keep(guard, Requester::of(task.as_ref())))),
            Err(Error::WouldBlock(_) | Error::RemovedWhileHeld(_)) if may_wait => Ok(None),
            Err(error) => Err(core.raise(py, error.into())),
        }
    }

    /// A wait of the task for a slot. Its result is that of `_take`. `wakeups` is the pipe of the
    /// loop; without it the wait has a pipe of its own.
    #[pyo3(signature = (limit, task, cancel, wakeups=None, /))]
    fn _queue(
        slf: &Bound<'_, Self>,
        limit: f64,
        task: Option<Bound<'_, Task>>,
        cancel: Option<Bound<'_, CancelToken>>,
        wakeups: Option<Bound<'_, Wakeups>>,
    ) -> PyResult<Pending> {
        let py = slf.py();
        let core = slf.get().core()?;
        let signal =
            Signal::new(wakeups.as_ref()).map_err(|error| error::io_error(&error, &core.name))?;
        let semaphore = core.opened(py).map_err(|failure| core.raise(py, failure))?;
        let token = Token::new();
        let request = Limits::new(limit, None).of(Request::exclusive().cancel(&token));
        let future = semaphore.acquire_async(request);
        let finish = |py: Python<'_>, pending: &Pending, answer: Answer<_>| {
            let this = pending.object::<NativeSemaphore>(py)?;
            let core = this.get().core()?;
            let guard = answer.map_err(|error| core.raise(py, error.into()))?;
            Ok(core
                .keep(guard, pending.requester())
                .into_pyobject(py)?
                .into_any()
                .unbind())
        };
        Ok(Pending::new(token, signal, cancel, future, finish).of(slf, task))
    }

    /// Gives a slot back: that of the acquisition, or the one with this number, or the one that the
    /// thread or task has acquired last.
    #[pyo3(signature = (slot, task, acquisition=None, /))]
    fn _give_back(
        &self,
        py: Python<'_>,
        slot: Option<u32>,
        task: Option<Bound<'_, Task>>,
        acquisition: Option<u64>,
    ) -> PyResult<()> {
        let core = self.core()?;
        let requester = Requester::of(task.as_ref());
        let which = match (acquisition, slot) {
            (Some(number), _) => Which::Acquisition(number),
            (None, Some(slot)) => Which::Slot(slot),
            (None, None) => Which::LastOf(requester),
        };
        if let Some(guard) = core.held.take_out(&which) {
            let released = guard.release();
            return released.map_err(|error| core.raise(py, error.into()));
        }
        if core.held.inherited() {
            // This child of fork leaves a block that its parent has entered.
            return Ok(());
        }
        let shown = holdlock::inspect::printable(&core.name);
        let what = match slot {
            Some(slot) if acquisition.is_some() => {
                format!("slot {slot} of '{shown}': it was given back before")
            }
            Some(slot) => format!("slot {slot} of '{shown}': it is not held by this object"),
            None if requester.is_task() => format!("a slot of '{shown}': this task holds none"),
            None => format!("a slot of '{shown}': this thread holds none"),
        };
        Err(PyRuntimeError::new_err(format!("Cannot release {what}")))
    }

    /// Gives back what the thread or task has acquired beyond this number of slots.
    fn _undo(&self, slots: usize, task: Option<Bound<'_, Task>>) -> PyResult<()> {
        let held = &self.core()?.held;
        let requester = Requester::of(task.as_ref());
        while held.of(requester).len() > slots {
            drop(held.take_out(&Which::LastOf(requester)));
        }
        Ok(())
    }

    /// The slots that the thread or task has acquired and not yet released, in this order.
    fn _slots_of(&self, task: Option<Bound<'_, Task>>) -> PyResult<Vec<u32>> {
        Ok(self.core()?.held.of(Requester::of(task.as_ref())))
    }

    /// The path, as it was given.
    #[getter]
    fn lock_file(&self) -> PyResult<&OsStr> {
        Ok(&self.core()?.name)
    }

    /// The number of slots.
    #[getter]
    fn n(&self) -> PyResult<u32> {
        Ok(self.core()?.slots)
    }

    /// The processes that hold a slot now, or another lock on the file, as far as this process can
    /// see them.
    fn holders(&self, py: Python<'_>) -> PyResult<Vec<Process>> {
        self.core()?.look(py, holdlock::Semaphore::holders)
    }

    /// The processes that wait for a slot now, in the order of service.
    fn waiters(&self, py: Python<'_>) -> PyResult<Vec<Process>> {
        self.core()?.look(py, holdlock::Semaphore::waiters)
    }

    #[getter]
    fn _absolute_path(&self) -> PyResult<&OsStr> {
        Ok(self.core()?.path.as_os_str())
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
