//! The class of locks that the kernel keeps, as Python code sees it.

use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;

use holdlock::{FileLock, Mode};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::acquire::Call;
use crate::cancel::CancelToken;
use crate::core::Core;
use crate::error::Failure;
use crate::hold::{Settings, Threads};
use crate::open;
use crate::process::Process;
use crate::proxy::AcquireReturnProxy;
use crate::requester::Requester;
use crate::shared::Shared;
use crate::thread;

/// The native part of `FileLock`.
#[pyclass(frozen, subclass, module = "holdlock._native")]
pub(crate) struct NativeLock {
    /// Set by `__init__`.
    core: OnceLock<Core>,
}

pub(crate) fn mode_of(shared: bool) -> Mode {
    if shared {
        Mode::Shared
    } else {
        Mode::Exclusive
    }
}

#[pymethods]
impl NativeLock {
    #[new]
    #[pyo3(signature = (*_arguments, **_options))]
    fn new(_arguments: &Bound<'_, PyTuple>, _options: Option<&Bound<'_, PyDict>>) -> NativeLock {
        NativeLock {
            core: OnceLock::new(),
        }
    }

    /// Python code keeps the options that are not named here, see `_options.keep`.
    #[pyo3(signature = (
        lock_file, timeout=-1.0, mode=-1, thread_local=None, *, blocking=true, poll_interval=0.05,
        shared=false, fair=false, record=false, note=None, upgradeable=false,
        **options
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "the constructor of `filelock`, and some more"
    )]
    fn __init__(
        slf: &Bound<'_, Self>,
        lock_file: &Bound<'_, PyAny>,
        timeout: f64,
        mode: i32,
        thread_local: Option<&Bound<'_, PyAny>>,
        blocking: bool,
        poll_interval: f64,
        shared: bool,
        fair: bool,
        record: bool,
        note: Option<&Bound<'_, PyAny>>,
        upgradeable: bool,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let note = open::note_of(note)?;
        let name: OsString = open::path_of("lock_file", lock_file)?.into();
        let settings = Settings {
            timeout,
            blocking,
            poll_interval,
        };
        let threads = match thread_local {
            None => Threads::Apart,
            Some(word) if word.eq("mutex")? => Threads::Exclude,
            Some(flag) if flag.is_truthy()? => Threads::Apart,
            Some(_) => Threads::Together,
        };
        if shared && threads == Threads::Exclude {
            return Err(Failure::SharedMutex.raise(py, &name));
        }
        let mut hook = false;
        if let Some(options) = options {
            let keep = py.import("holdlock._options")?.getattr("keep")?;
            keep.call1((slf, options))?;
            let given = options.get_item("on_acquired")?;
            hook = given.is_some_and(|hook| !hook.is_none());
        }
        if note.is_some() && !record {
            return Err(Failure::NoteWithoutRecord.raise(py, &name));
        }
        let mut shared = Shared::new(threads, settings, mode_of(shared), fair);
        (shared.record, shared.note) = (record, note);
        shared.upgradeable = upgradeable;
        let core = Core::new(name, mode, hook, shared);
        // A second call changes nothing: a holder keeps the lock.
        let _ = slf.get().core.set(core);
        Ok(())
    }

    #[inline]
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        thread::enter(slf.py())?;
        let core = slf.get().core()?;
        core.acquire(slf, None, None, || {
            Ok(Call {
                settings: core.shared.settings(),
                cancel_check: None,
                cancel: None,
                notice_deadlocks: true,
            })
        })?;
        Ok(slf.clone())
    }

    #[inline]
    fn __exit__(
        slf: &Bound<'_, Self>,
        kind: &Bound<'_, PyAny>,
        body: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = (kind, traceback);
        let core = slf.get().core()?;
        let Err(failure) = core.release(slf, false) else {
            return Ok(());
        };
        let error = failure.raise(slf.py(), core.name());
        slf.call_method1("_failed_release", (body, error.value(slf.py())))?;
        Err(error)
    }

    /// Acquires the lock, and waits until it is free.
    ///
    /// The result may be used in a `with` statement, which releases the lock once at its end.
    ///
    /// timeout: wait at most this many seconds. Negative or inf: no limit. 0: do not wait.
    ///     None: the lock's own `timeout`.
    /// blocking: False: do not wait.
    /// cancel_check: a function that is called every `poll_interval` seconds of the wait; the wait
    ///     ends when it returns True.
    /// shared: True: acquire together with other shared holders. None: as the lock was made.
    /// cancel: a CancelToken by which another thread can end the wait.
    /// note: the reason, for the record of the lock. None: the lock's own `note`.
    ///
    /// Raises Timeout if the lock is not acquired in time, and its subclass Cancelled if the wait
    /// was cancelled. Raises Deadlock, a RuntimeError, if the wait would never end. Raises OSError
    /// if the file cannot be opened or locked.
    #[pyo3(signature = (
        timeout=None, poll_interval=None, *, poll_intervall=None, blocking=None,
        cancel_check=None, shared=None, cancel=None, note=None
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "the method of `filelock`, and some more"
    )]
    fn acquire<'py>(
        slf: &Bound<'py, Self>,
        timeout: Option<&Bound<'py, PyAny>>,
        poll_interval: Option<&Bound<'py, PyAny>>,
        poll_intervall: Option<&Bound<'py, PyAny>>,
        blocking: Option<&Bound<'py, PyAny>>,
        cancel_check: Option<Bound<'py, PyAny>>,
        shared: Option<bool>,
        cancel: Option<Bound<'py, CancelToken>>,
        note: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<AcquireReturnProxy> {
        let py = slf.py();
        thread::enter(py)?;
        let core = slf.get().core()?;
        let note = core.note_of(py, note)?;
        let mut settings = core.shared.settings();
        let asked = [timeout, poll_interval, poll_intervall, blocking];
        if asked.iter().any(Option::is_some) || settings.timeout.is_nan() {
            let resolve = py.import("holdlock._options")?.getattr("request")?;
            let stored = (settings.timeout, settings.blocking, settings.poll_interval);
            let (timeout, poll_interval): (f64, f64) = resolve
                .call1((timeout, poll_interval, poll_intervall, blocking, stored))?
                .extract()?;
            settings = Settings {
                timeout,
                blocking: true,
                poll_interval,
            };
        }
        core.acquire(slf, shared.map(mode_of), note.as_deref(), || {
            Ok(Call {
                settings,
                notice_deadlocks: cancel.is_none(),
                cancel_check,
                cancel,
            })
        })?;
        Ok(AcquireReturnProxy::new(slf.clone().into_any().unbind()))
    }

    /// Undoes one acquisition. The lock is released when all acquisitions are undone.
    ///
    /// With `force`, releases the lock at once, and what ended threads hold by this object. Does
    /// nothing if the lock is not held.
    #[pyo3(signature = (force=false))]
    fn release(slf: &Bound<'_, Self>, force: bool) -> PyResult<()> {
        let core = slf.get().core()?;
        core.release(slf, force)
            .map_err(|failure| failure.raise(slf.py(), core.name()))
    }

    /// Gives the lock to processes that this process starts, and returns a descriptor that holds
    /// it.
    ///
    /// Children made by os.fork() inherit the descriptor; subprocess.Popen(pass_fds=[descriptor])
    /// passes it on. The lock is released when every process that has the descriptor has closed it
    /// or has ended. This object then does not hold the lock.
    ///
    /// Raises RuntimeError if the object does not hold the lock, and OSError if the process has too
    /// many open files.
    fn hand_over(slf: &Bound<'_, Self>) -> PyResult<i32> {
        slf.get().core()?.hand_over(slf.py(), Requester::Thread)
    }

    /// Releases the lock, however often it was acquired, and leaves what was abandoned so: if the
    /// last holder died, the next one learns of that too. For a holder that does not clean up.
    ///
    /// Raises RuntimeError if the object does not hold the lock.
    fn release_abandoned(slf: &Bound<'_, Self>) -> PyResult<()> {
        slf.get()
            .core()?
            .release_abandoned(slf.py(), Requester::Thread)
    }

    /// Whether this object holds the lock (in this thread, unless threads share it). If other code
    /// has closed the descriptor, the lock is lost, and `release` says so.
    #[getter]
    fn is_locked(&self) -> PyResult<bool> {
        Ok(self.lock_counter()? > 0)
    }

    /// Whether this object holds the lock (in this thread, unless threads share it).
    #[getter]
    fn locked(&self) -> PyResult<bool> {
        self.is_locked()
    }

    /// How many times the lock was acquired and not yet released.
    #[getter]
    fn lock_counter(&self) -> PyResult<usize> {
        Ok(self.core()?.shared.counter(Requester::Thread))
    }

    /// The path, as it was given.
    #[getter]
    fn lock_file(&self) -> PyResult<&OsStr> {
        Ok(self.core()?.name())
    }

    /// Whether `with` acquires the lock together with other shared holders.
    #[getter]
    fn shared(&self) -> PyResult<bool> {
        Ok(self.core()?.shared.mode == Mode::Shared)
    }

    /// Whether requests are served in the order in which they arrive.
    #[getter]
    fn fair(&self) -> PyResult<bool> {
        Ok(self.core()?.shared.fair)
    }

    /// Whether one of the shared holders can have the right to upgrade.
    #[getter]
    fn upgradeable(&self) -> PyResult<bool> {
        Ok(self.core()?.shared.upgradeable)
    }

    /// Whether the lock file has a record of the holder.
    #[getter]
    fn has_record(&self) -> PyResult<bool> {
        Ok(self.core()?.shared.record)
    }

    /// The reason that the record gives if `acquire` does not give one.
    #[getter]
    fn note(&self) -> PyResult<Option<&str>> {
        Ok(self.core()?.shared.note.as_deref())
    }

    /// The permissions that were asked for; 0o644 if none were and the umask decides.
    #[getter]
    fn mode(&self) -> PyResult<i32> {
        let mode = self.core()?.mode_setting();
        Ok(if mode < 0 { 0o644 } else { mode })
    }

    /// Whether permissions were asked for.
    #[getter]
    fn has_explicit_mode(&self) -> PyResult<bool> {
        Ok(self.core()?.mode_setting() >= 0)
    }

    /// Whether each thread holds the lock by itself.
    fn is_thread_local(&self) -> PyResult<bool> {
        Ok(self.core()?.shared.threads == Threads::Apart)
    }

    /// The processes that hold a lock on the file now, as far as this process can see them.
    /// Processes that took the lock by other means than this package are listed too.
    fn holders(slf: &Bound<'_, Self>) -> PyResult<Vec<Process>> {
        slf.get().core()?.look(slf.py(), FileLock::holders)
    }

    /// The processes that wait for the lock now, in the order in which they arrived.
    fn waiters(slf: &Bound<'_, Self>) -> PyResult<Vec<Process>> {
        slf.get().core()?.look(slf.py(), FileLock::waiters)
    }

    /// Releases the lock when the object is collected.
    fn _finalize(&self) {
        if let Some(core) = self.core.get() {
            // A finalizer cannot raise.
            let _ = core.shared.release(true, Requester::Thread);
        }
    }

    #[getter]
    fn _absolute_path(&self) -> PyResult<&OsStr> {
        Ok(self.core()?.path().as_os_str())
    }

    #[getter]
    fn _mode_setting(&self) -> PyResult<i32> {
        Ok(self.core()?.mode_setting())
    }

    #[getter]
    fn _thread_local_setting<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self.core()?.shared.threads {
            Threads::Apart => true.into_pyobject(py)?.to_owned().into_any(),
            Threads::Together => false.into_pyobject(py)?.to_owned().into_any(),
            Threads::Exclude => "mutex".into_pyobject(py)?.into_any(),
        })
    }

    /// The timeout, blocking, and the poll interval.
    #[getter]
    fn _settings(&self) -> PyResult<(f64, bool, f64)> {
        let settings = self.core()?.shared.settings();
        Ok((settings.timeout, settings.blocking, settings.poll_interval))
    }

    /// Changes the settings that are given.
    #[pyo3(signature = (*, timeout=None, blocking=None, poll_interval=None))]
    fn _set(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        blocking: Option<bool>,
        poll_interval: Option<f64>,
    ) -> PyResult<()> {
        thread::enter(py)?;
        self.core()?.shared.set(|settings| {
            settings.timeout = timeout.unwrap_or(settings.timeout);
            settings.blocking = blocking.unwrap_or(settings.blocking);
            settings.poll_interval = poll_interval.unwrap_or(settings.poll_interval);
        });
        Ok(())
    }
}

impl NativeLock {
    #[inline]
    pub(crate) fn core(&self) -> PyResult<&Core> {
        self.core
            .get()
            .ok_or_else(|| Python::attach(|py| Failure::NoInit.raise(py, OsStr::new(""))))
    }
}
