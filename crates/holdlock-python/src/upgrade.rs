//! A shared lock with the right to become exclusive.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdlock::{CancelToken as Token, Error, Mode, OwnedUpgradeableGuard, Request};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::blocking::{self, Limits, greenlets, seconds};
use crate::cancel::CancelToken;
use crate::error::{self, Failure};
use crate::fork;
use crate::hold::Threads;
use crate::in_thread::InThread;
use crate::lock::NativeLock;
use crate::pending::Pending;
use crate::record::Record;
use crate::signal::{Answer, Signal};
use crate::unseen::{Acquired, Unseen};
use crate::wakeup::Wakeups;

/// The result of `FileLock.acquire_upgradeable`: a shared lock with the right to become exclusive.
///
/// A `with` statement releases it at its end.
#[pyclass(frozen, weakref, module = "holdlock")]
pub(crate) struct UpgradeableGuard {
    /// The lock file as the caller has named it.
    name: OsString,
    path: PathBuf,
    /// Shared with the thread that upgrades it for a task.
    state: Arc<Mutex<State>>,
    generation: u32,
}

enum State {
    Held(OwnedUpgradeableGuard),
    /// A thread upgrades it now, and has the guard.
    Upgrading,
    Released,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UpgradeableGuard {
    fn new(name: &OsStr, guard: OwnedUpgradeableGuard) -> UpgradeableGuard {
        UpgradeableGuard {
            name: name.to_owned(),
            path: guard.path().to_owned(),
            state: Arc::new(Mutex::new(State::Held(guard))),
            generation: fork::generation(),
        }
    }

    /// The state. None: this process is a child, made by fork after the guard; a thread of the
    /// parent may have locked the mutex.
    fn state(&self) -> Option<MutexGuard<'_, State>> {
        (self.generation == fork::generation()).then(|| locked(&self.state))
    }

    fn refused(&self, why: &str) -> PyErr {
        let shown = holdlock::inspect::printable(&self.name);
        PyRuntimeError::new_err(format!("lock '{shown}' {why}"))
    }

    /// Takes the guard out, for an upgrade.
    fn take(&self) -> PyResult<OwnedUpgradeableGuard> {
        let mut state = self
            .state()
            .ok_or_else(|| self.refused("was held by the parent of this process"))?;
        match std::mem::replace(&mut *state, State::Upgrading) {
            State::Held(guard) => Ok(guard),
            State::Upgrading => Err(self.refused("is being upgraded by another thread")),
            State::Released => {
                *state = State::Released;
                Err(self.refused("was released"))
            }
        }
    }
}

/// The state after an upgrade or a downgrade.
fn after(guard: OwnedUpgradeableGuard, error: Option<&Error>) -> State {
    match error {
        Some(Error::NotAtomic(_) | Error::System { .. }) => State::Released,
        _ => State::Held(guard),
    }
}

/// An upgrade of the guard, which its task has yet to see.
struct Upgraded(Arc<Mutex<State>>);

impl Acquired for Upgraded {
    /// The task has been cancelled, so it has the shared lock.
    fn release_unseen(self) {
        let mut state = locked(&self.0);
        if let State::Held(guard) = &mut *state
            && let Err(Error::System { .. }) = guard.downgrade_abandoned()
        {
            *state = State::Released;
        }
    }
}

#[pymethods]
impl UpgradeableGuard {
    /// The path, as it was given.
    #[getter]
    fn lock_file(&self) -> &OsStr {
        &self.name
    }

    /// Whether the lock is exclusive; None: it was released, or a thread upgrades it now.
    #[getter]
    fn exclusive(&self) -> Option<bool> {
        self.look(|guard| Some(guard.mode() == Mode::Exclusive))
    }

    /// Turns the shared lock into the exclusive one, and waits for the readers and for nobody else.
    /// No other process or thread holds the lock exclusively between the two: what was read is
    /// still true.
    ///
    /// timeout: wait at most this many seconds. Negative, inf or None: no limit. 0: do not wait.
    /// cancel: a CancelToken by which another thread can end the wait.
    ///
    /// Raises Timeout and its subclass Cancelled; the lock is then still shared, and has the right.
    /// Raises NotAtomic if a program that does not use `upgradeable=True` shares the lock; then it
    /// is lost.
    #[pyo3(signature = (timeout=None, *, cancel=None))]
    fn upgrade(
        slf: &Bound<'_, Self>,
        timeout: Option<&Bound<'_, PyAny>>,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let limit = seconds(py, timeout, None)?;
        if let Some(greenlets) = greenlets(py)? {
            let arguments = (slf, limit, cancel);
            return greenlets.call_method1("upgrade", arguments).map(drop);
        }
        let limits = Limits::new(limit, cancel);
        // While a thread waits, the others must not wait for the mutex.
        let mut guard = this.take()?;
        let was_shared = guard.mode() == Mode::Shared;
        let result = blocking::make(py, &limits, None, false, |request| guard.upgrade(request));
        let undone = match result {
            // It may have been upgraded at the same time.
            Err(Failure::Raised(_)) if was_shared => guard.downgrade_abandoned(),
            _ => Ok(()),
        };
        let error = match &result {
            Err(Failure::Library(error)) => Some(error),
            _ => undone.as_ref().err(),
        };
        *locked(&this.state) = after(guard, error);
        result.map_err(|failure| failure.raise(py, &this.name))
    }

    /// The upgrade of a task or greenlet: a wait of at most `limit` seconds. Its result is None.
    fn _queue(
        slf: &Bound<'_, Self>,
        limit: f64,
        cancel: Option<Bound<'_, CancelToken>>,
        wakeups: Option<Bound<'_, Wakeups>>,
    ) -> PyResult<Pending> {
        let this = slf.get();
        let signal =
            Signal::new(wakeups.as_ref()).map_err(|error| error::io_error(&error, &this.name))?;
        let mut guard = this.take()?;
        let token = Token::new();
        let request = Limits::new(limit, None).of(Request::exclusive().cancel(&token));
        let state = this.state.clone();
        let future = InThread::new(move || {
            let result = guard.upgrade(request);
            *locked(&state) = after(guard, result.as_ref().err());
            result.map(|()| Unseen::new(Upgraded(state)))
        });
        let finish = |py: Python<'_>, pending: &Pending, answer: io::Result<Answer<_>>| {
            let this = pending.object::<UpgradeableGuard>(py)?;
            let name = &this.get().name;
            let answer = answer.map_err(|error| error::io_error(&error, name))?;
            let upgraded: Unseen<Upgraded> =
                answer.map_err(|error| Failure::from(error).raise(py, name))?;
            upgraded.keep();
            Ok(py.None())
        };
        Ok(Pending::new(token, signal, cancel, future, finish).of(slf, None))
    }

    /// Turns the exclusive lock back into the shared one, and keeps the right.
    fn downgrade(&self, py: Python<'_>) -> PyResult<()> {
        let mut guard = self.take()?;
        let result = guard.downgrade();
        *locked(&self.state) = after(guard, result.as_ref().err());
        result.map_err(|error| Failure::from(error).raise(py, &self.name))
    }

    /// The token of the upgrade, if the lock was made with `record=True`; see `FileLock.token`.
    /// None while the lock is shared.
    #[getter]
    fn token(&self) -> Option<u64> {
        self.look(OwnedUpgradeableGuard::token)
    }

    /// The record of the last exclusive holder, if that died without releasing the lock; see
    /// `FileLock.abandoned`. None while the lock is shared.
    #[getter]
    fn abandoned(&self) -> Option<Record> {
        self.look(|guard| guard.abandoned().cloned().map(Record::from))
    }

    /// Releases the lock and the right. Does nothing if they were released before. Raises
    /// RuntimeError while another thread upgrades the lock.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.release_by(py, OwnedUpgradeableGuard::release)
    }

    /// Releases the lock as if it had not been upgraded: if the last exclusive holder died, the
    /// next one learns of that, too. For a holder that does not clean up.
    fn release_abandoned(&self, py: Python<'_>) -> PyResult<()> {
        self.release_by(py, OwnedUpgradeableGuard::release_abandoned)
    }

    fn __enter__<'py>(slf: &Bound<'py, Self>) -> Bound<'py, Self> {
        slf.clone()
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.release(py)
    }

    /// Whether the lock is held; also while a thread upgrades it.
    #[getter]
    fn _is_held(&self) -> bool {
        self.state()
            .is_some_and(|state| !matches!(*state, State::Released))
    }

    #[getter]
    fn _absolute_path(&self) -> &OsStr {
        self.path.as_os_str()
    }

    fn __repr__(&self) -> String {
        let how = match self.state().as_deref() {
            None => "held by the parent of this process",
            Some(State::Upgrading) => "being upgraded",
            Some(State::Released) => "released",
            Some(State::Held(guard)) if guard.mode() == Mode::Exclusive => "exclusive",
            Some(State::Held(_)) => "shared",
        };
        let shown = holdlock::inspect::printable(&self.name);
        format!("<UpgradeableGuard '{shown}', {how}>")
    }
}

impl UpgradeableGuard {
    fn look<T>(&self, look: impl FnOnce(&OwnedUpgradeableGuard) -> Option<T>) -> Option<T> {
        match &*self.state()? {
            State::Held(guard) => look(guard),
            State::Upgrading | State::Released => None,
        }
    }

    fn release_by(
        &self,
        py: Python<'_>,
        release: impl FnOnce(OwnedUpgradeableGuard) -> Result<(), Error>,
    ) -> PyResult<()> {
        let Some(mut state) = self.state() else {
            return Ok(()); // a child of fork holds nothing
        };
        match std::mem::replace(&mut *state, State::Released) {
            State::Released => Ok(()),
            State::Upgrading => {
                *state = State::Upgrading;
                Err(self.refused("is being upgraded by another thread"))
            }
            State::Held(guard) => {
                drop(state);
                let result = release(guard);
                result.map_err(|error| Failure::from(error).raise(py, &self.name))
            }
        }
    }
}

/// A wait of a task for the lock with the right to upgrade it. Its result is the guard.
#[pyfunction]
#[pyo3(signature = (lock, limit, cancel, wakeups, /))]
pub(crate) fn queue_upgradeable(
    lock: &Bound<'_, NativeLock>,
    limit: f64,
    cancel: Option<Bound<'_, CancelToken>>,
    wakeups: Option<Bound<'_, Wakeups>>,
) -> PyResult<Pending> {
    let py = lock.py();
    let core = lock.get().core()?;
    let signal =
        Signal::new(wakeups.as_ref()).map_err(|error| error::io_error(&error, core.name()))?;
    let opened = core
        .opened_for_tasks(py)
        .map_err(|failure| failure.raise(py, core.name()))?;
    let token = Token::new();
    let request = Limits::new(limit, None).of(Request::exclusive().cancel(&token));
    let future = opened.acquire_upgradeable_async(request);
    let name = core.name().to_owned();
    let finish = move |py: Python<'_>, _: &Pending, answer: Answer<OwnedUpgradeableGuard>| {
        let guard = answer.map_err(|error| Failure::from(error).raise(py, &name))?;
        let guard = UpgradeableGuard::new(&name, guard);
        Ok(guard.into_pyobject(py)?.into_any().unbind())
    };
    Ok(Pending::new(token, signal, cancel, future, finish))
}

/// `FileLock.acquire_upgradeable`, with the limit of the wait. `is_task`: a task asks, and the
/// thread does not hold the lock.
#[pyfunction]
#[pyo3(signature = (lock, limit, cancel, is_task=false, /))]
pub(crate) fn acquire_upgradeable(
    lock: &Bound<'_, NativeLock>,
    limit: f64,
    cancel: Option<Bound<'_, CancelToken>>,
    is_task: bool,
) -> PyResult<UpgradeableGuard> {
    let py = lock.py();
    let core = lock.get().core()?;
    let raise = |failure: Failure| {
        match failure {
            Failure::Library(Error::Deadlock { cycle: None, .. }) => Failure::HeldAlready,
            failure => failure,
        }
        .raise(py, core.name())
    };
    let opened = core.opened(py).map_err(raise)?;
    let limits = Limits::new(limit, cancel);
    // A thread that requests what its own guard keeps from it would wait for ever.
    let stays = !is_task && core.shared.threads != Threads::Together;
    let guard = blocking::make(py, &limits, None, stays, |request| {
        opened.acquire_upgradeable_owned(request)
    })
    .map_err(raise)?;
    Ok(UpgradeableGuard::new(core.name(), guard))
}
