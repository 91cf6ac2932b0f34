//! The class, as Python sees it.

use std::ffi::{OsStr, OsString};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use holdlock::{FileLock, LockOptions, Mode};
use pyo3::exceptions::{PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::asker::{Asker, Task};
use crate::cancel::CancelToken;
use crate::error::{self, Failure};
use crate::log::{self, Event};
use crate::process::Process;
use crate::proxy::AcquireReturnProxy;
use crate::state::{Attempt, Settings, Shared, Threads, Trouble};
use crate::thread;
use crate::wait::{self, Terms};
use crate::waiter::{Waiter, Wish};

/// The native part of `FileLock`.
#[pyclass(frozen, subclass, module = "holdlock._native")]
pub(crate) struct NativeLock {
    made: OnceLock<Made>,
}

/// What the constructor was told.
pub(crate) struct Made {
    /// As the caller named it.
    name: OsString,
    path: PathBuf,
    /// -1: the umask decides.
    mode: i32,
    /// Whether a Python function wants to hear of each acquisition.
    hook: bool,
    pub(crate) shared: Shared,
}

fn mode_of(shared: bool) -> Mode {
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
            made: OnceLock::new(),
        }
    }

    #[pyo3(signature = (
        lock_file, timeout=-1.0, mode=-1, thread_local=None, *, blocking=true, is_singleton=false,
        poll_interval=0.05, lifetime=None, context_error_policy=None, close_error_policy=None,
        fallback_to_soft=true, preserve_lock_file=false, on_acquired=None, shared=false,
        fair=false
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "the constructor of `filelock`, and two more"
    )]
    fn __init__(
        slf: &Bound<'_, Self>,
        lock_file: &Bound<'_, PyAny>,
        timeout: f64,
        mode: i32,
        thread_local: Option<&Bound<'_, PyAny>>,
        blocking: bool,
        is_singleton: bool,
        poll_interval: f64,
        lifetime: Option<&Bound<'_, PyAny>>,
        context_error_policy: Option<&Bound<'_, PyAny>>,
        close_error_policy: Option<&Bound<'_, PyAny>>,
        fallback_to_soft: bool,
        preserve_lock_file: bool,
        on_acquired: Option<&Bound<'_, PyAny>>,
        shared: bool,
        fair: bool,
    ) -> PyResult<()> {
        let _ = lifetime; // no native lock has one
        let name: OsString = lock_file.extract::<PathBuf>()?.into();
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
            return Err(Failure::from(Trouble::SharedMutex).raise(slf.py(), &name));
        }
        // What is asked for seldom is kept in attributes, where the base class has the defaults.
        for (attribute, value) in [
            ("_context_error_policy", context_error_policy),
            ("_close_error_policy", close_error_policy),
            ("_on_acquired", on_acquired),
        ] {
            if let Some(value) = value {
                slf.setattr(attribute, value)?;
            }
        }
        for (attribute, value, default) in [
            ("_is_singleton", is_singleton, false),
            ("_fallback_to_soft", fallback_to_soft, true),
            ("_preserve_lock_file", preserve_lock_file, false),
        ] {
            if value != default {
                slf.setattr(attribute, value)?;
            }
        }
        let path = std::path::absolute(&name).unwrap_or_else(|_| PathBuf::from(&name));
        let made = Made {
            name,
            path,
            mode,
            hook: on_acquired.is_some(),
            shared: Shared::new(threads, settings, mode_of(shared), fair),
        };
        // A second call changes nothing: who has the lock keeps it.
        let _ = slf.get().made.set(made);
        Ok(())
    }

    #[inline]
    fn __enter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        thread::enter(slf.py())?;
        let made = slf.get().made()?;
        made.told(slf, |made| {
            if !made.acquire_at_once(slf, None)? {
                made.acquire(slf, None, made.shared.settings(), None, None)?;
            }
            Ok(())
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
        let made = slf.get().made()?;
        let Err(failure) = made.leave(slf, false) else {
            return Ok(());
        };
        let error = Failure::from(failure).raise(slf.py(), &made.name);
        slf.call_method1("_failed_release", (body, error.value(slf.py())))?;
        Err(error)
    }

    /// Takes the lock, and waits for it if need be. What is returned can be used in a `with`
    /// statement, which releases the lock once, or ignored.
    ///
    /// timeout: seconds to wait at most; negative or inf: for ever; 0: not at all; None: as the
    ///     lock's `timeout` says.
    /// blocking: False: do not wait.
    /// cancel_check: called every `poll_interval` seconds of the wait; True ends it.
    /// shared: together with other shared holders; None: as the lock was made.
    /// cancel: a CancelToken by which another thread can end the wait.
    ///
    /// Raises Timeout (Cancelled, when the wait was cancelled); Deadlock, a RuntimeError, when
    /// the wait would never end; OSError when the file cannot be opened or locked.
    #[pyo3(signature = (
        timeout=None, poll_interval=None, *, poll_intervall=None, blocking=None,
        cancel_check=None, shared=None, cancel=None
    ))]
    #[expect(
        clippy::too_many_arguments,
        reason = "that of `filelock`, and two more"
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
    ) -> PyResult<AcquireReturnProxy> {
        let py = slf.py();
        thread::enter(py)?;
        let made = slf.get().made()?;
        let mut settings = made.shared.settings();
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
        let mode = shared.map(mode_of);
        made.told(slf, |made| {
            if !made.acquire_at_once(slf, mode)? {
                made.acquire(slf, mode, settings, cancel_check, cancel)?;
            }
            Ok(())
        })?;
        Ok(AcquireReturnProxy::new(slf.clone().into_any().unbind()))
    }

    /// Gives the lock back, if it was acquired as often as it was released, or by `force`, which
    /// also gives back what threads held that have ended. Of a lock that is not held: nothing.
    #[pyo3(signature = (force=false))]
    fn release(slf: &Bound<'_, Self>, force: bool) -> PyResult<()> {
        let made = slf.get().made()?;
        made.leave(slf, force)
            .map_err(|trouble| Failure::from(trouble).raise(slf.py(), &made.name))
    }

    /// Gives the lock to the processes that this one will start, and returns a file descriptor that
    /// carries it: children of os.fork() have it, and subprocess.Popen(pass_fds=[descriptor])
    /// passes it on. The lock is held until all who have the descriptor have closed it or ended.
    /// This object does not hold it any longer.
    ///
    /// Raises RuntimeError when the object does not hold the lock, OSError when no descriptor is
    /// left.
    fn hand_over(slf: &Bound<'_, Self>) -> PyResult<i32> {
        Self::_hand_over(slf, None)
    }

    /// Whether this object holds the lock (in this thread, unless threads share it).
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
        Ok(self.made()?.shared.counter())
    }

    /// The path, as it was given.
    #[getter]
    fn lock_file(&self) -> PyResult<&OsStr> {
        Ok(&self.made()?.name)
    }

    /// Whether `with` takes the lock together with other shared holders.
    #[getter]
    fn shared(&self) -> PyResult<bool> {
        Ok(self.made()?.shared.mode() == Mode::Shared)
    }

    /// Whether requests are served in the order in which they come.
    #[getter]
    fn fair(&self) -> PyResult<bool> {
        Ok(self.made()?.shared.is_fair())
    }

    /// The permissions that were asked for; 0o644 where none were, and the umask decides.
    #[getter]
    fn mode(&self) -> PyResult<i32> {
        let mode = self.made()?.mode;
        Ok(if mode < 0 { 0o644 } else { mode })
    }

    /// Whether permissions were asked for.
    #[getter]
    fn has_explicit_mode(&self) -> PyResult<bool> {
        Ok(self.made()?.mode >= 0)
    }

    /// Whether each thread holds the lock by itself.
    fn is_thread_local(&self) -> PyResult<bool> {
        Ok(self.made()?.shared.threads() == Threads::Apart)
    }

    /// The processes that hold a lock on the file now, whoever they are and however they took
    /// it, as far as they can be seen.
    fn holders(slf: &Bound<'_, Self>) -> PyResult<Vec<Process>> {
        let made = slf.get().made()?;
        made.look(slf.py(), FileLock::holders)
    }

    /// The processes that wait for the lock now, in the order in which they came.
    fn waiters(slf: &Bound<'_, Self>) -> PyResult<Vec<Process>> {
        let made = slf.get().made()?;
        made.look(slf.py(), FileLock::waiters)
    }

    /// When the object goes: a lock that is still held is released.
    fn _finalize(&self) {
        if let Some(made) = self.made.get() {
            // Nobody is there to be told.
            let _ = made.shared.release(true, Asker::Thread);
        }
    }

    /// For a task (None: for the calling thread), without waiting. None: somebody else has it;
    /// False: was held already. The hook is not called.
    #[pyo3(signature = (shared, may_wait, task))]
    fn _take_at_once(
        slf: &Bound<'_, Self>,
        shared: Option<bool>,
        may_wait: bool,
        task: Option<Bound<'_, Task>>,
    ) -> PyResult<Option<bool>> {
        let py = slf.py();
        thread::enter(py)?;
        let made = slf.get().made()?;
        let attempt = made
            .opened(py)
            .and_then(|_| Ok(made.attempt(shared, task.as_ref())?))
            .map_err(|failure| failure.raise(py, &made.name))?;
        let failure = match attempt {
            Some(Attempt::Again) => return Ok(Some(false)),
            Some(Attempt::Taken) => return Ok(Some(true)),
            _ if may_wait => return Ok(None),
            Some(Attempt::Busy(Some(error))) => Failure::from(error),
            Some(Attempt::Busy(None)) | None => Failure::HeldHere("another task"),
        };
        Err(failure.raise(py, &made.name))
    }

    /// A wait for a task, of `limit` seconds or for ever.
    #[pyo3(signature = (shared, limit, task, cancel))]
    fn _queue(
        slf: &Bound<'_, Self>,
        shared: Option<bool>,
        limit: f64,
        task: Option<Bound<'_, Task>>,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<Waiter> {
        let made = slf.get().made()?;
        let opened = made
            .opened(slf.py())
            .map_err(|failure| failure.raise(slf.py(), &made.name))?;
        let wish = Wish {
            mode: shared.map_or(made.shared.mode(), mode_of),
            limit: Duration::try_from_secs_f64(limit).ok(),
            task,
            cancel,
        };
        Waiter::new(slf, &opened, wish)
    }

    /// `release` for a task (None: for the calling thread).
    #[pyo3(signature = (force, task))]
    fn _leave(slf: &Bound<'_, Self>, force: bool, task: Option<Bound<'_, Task>>) -> PyResult<()> {
        let made = slf.get().made()?;
        made.shared
            .release(force, Asker::of(task.as_ref()))
            .map_err(|trouble| Failure::from(trouble).raise(slf.py(), &made.name))
    }

    /// For a task (None: for the calling thread).
    #[pyo3(signature = (task))]
    fn _hand_over(slf: &Bound<'_, Self>, task: Option<Bound<'_, Task>>) -> PyResult<i32> {
        let made = slf.get().made()?;
        made.shared
            .hand_over(Asker::of(task.as_ref()))
            .map(IntoRawFd::into_raw_fd)
            .map_err(|trouble| Failure::from(trouble).raise(slf.py(), &made.name))
    }

    /// Gives back all that is held, whoever holds it.
    fn _leave_all(slf: &Bound<'_, Self>) -> PyResult<()> {
        let made = slf.get().made()?;
        made.shared
            .release_all()
            .map_err(|trouble| Failure::from(trouble).raise(slf.py(), &made.name))
    }

    /// How a task (None: the calling thread) holds it: True: shared; None: not at all.
    #[pyo3(signature = (task))]
    fn _held(&self, task: Option<Bound<'_, Task>>) -> PyResult<Option<bool>> {
        let held = self.made()?.shared.held(Asker::of(task.as_ref()));
        Ok(held.map(|mode| mode == Mode::Shared))
    }

    /// Whether it is held, and by a task that took it itself.
    fn _was_taken_by(&self, task: &Bound<'_, Task>) -> PyResult<bool> {
        Ok(self.made()?.shared.was_taken_by(Asker::Task(task.get())))
    }

    /// A descriptor for the hook.
    #[pyo3(signature = (task))]
    fn _lend(&self, task: Option<Bound<'_, Task>>) -> PyResult<i32> {
        Ok(self.made()?.shared.lend(Asker::of(task.as_ref())))
    }

    #[getter]
    fn _absolute_path(&self) -> PyResult<&OsStr> {
        Ok(self.made()?.path.as_os_str())
    }

    #[getter]
    fn _mode_setting(&self) -> PyResult<i32> {
        Ok(self.made()?.mode)
    }

    #[getter]
    fn _thread_local_setting<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match self.made()?.shared.threads() {
            Threads::Apart => true.into_pyobject(py)?.to_owned().into_any(),
            Threads::Together => false.into_pyobject(py)?.to_owned().into_any(),
            Threads::Exclude => "mutex".into_pyobject(py)?.into_any(),
        })
    }

    #[getter(_timeout_setting)]
    fn timeout_setting(&self) -> PyResult<f64> {
        Ok(self.made()?.shared.settings().timeout)
    }

    #[setter(_timeout_setting)]
    fn set_timeout_setting(&self, py: Python<'_>, value: f64) -> PyResult<()> {
        thread::enter(py)?;
        self.made()?.shared.set(|settings| settings.timeout = value);
        Ok(())
    }

    #[getter(_blocking_setting)]
    fn blocking_setting(&self) -> PyResult<bool> {
        Ok(self.made()?.shared.settings().blocking)
    }

    #[setter(_blocking_setting)]
    fn set_blocking_setting(&self, py: Python<'_>, value: bool) -> PyResult<()> {
        thread::enter(py)?;
        self.made()?
            .shared
            .set(|settings| settings.blocking = value);
        Ok(())
    }

    #[getter(_poll_interval_setting)]
    fn poll_interval_setting(&self) -> PyResult<f64> {
        Ok(self.made()?.shared.settings().poll_interval)
    }

    #[setter(_poll_interval_setting)]
    fn set_poll_interval_setting(&self, py: Python<'_>, value: f64) -> PyResult<()> {
        thread::enter(py)?;
        self.made()?
            .shared
            .set(|settings| settings.poll_interval = value);
        Ok(())
    }
}

impl NativeLock {
    #[inline]
    pub(crate) fn made(&self) -> PyResult<&Made> {
        self.made.get().ok_or_else(|| {
            Python::attach(|py| Failure::from(Trouble::Unmade).raise(py, OsStr::new("")))
        })
    }
}

impl Made {
    /// As the caller named it.
    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    fn attempt(
        &self,
        shared: Option<bool>,
        task: Option<&Bound<'_, Task>>,
    ) -> Result<Option<Attempt>, Trouble> {
        self.shared.attempt(shared.map(mode_of), Asker::of(task))
    }

    /// Acquires, and lets the debug log know.
    #[inline]
    fn told(
        &self,
        slf: &Bound<'_, NativeLock>,
        acquire: impl FnOnce(&Made) -> PyResult<()>,
    ) -> PyResult<()> {
        if !log::is_wanted(slf.py()) || self.shared.counter() > 0 {
            return acquire(self);
        }
        log::say(slf.as_any(), Event::Attempt);
        let acquired = acquire(self);
        match &acquired {
            Ok(()) => log::say(slf.as_any(), Event::Acquired),
            Err(error) if error.is_instance_of::<PyTimeoutError>(slf.py()) => {
                log::say(slf.as_any(), Event::Timeout);
            }
            Err(_) => {}
        }
        acquired
    }

    /// Releases, and lets the debug log know.
    #[inline]
    fn leave(&self, slf: &Bound<'_, NativeLock>, force: bool) -> Result<(), Trouble> {
        let last = |count| count == 1 || (force && count > 0);
        if !log::is_wanted(slf.py()) || !last(self.shared.counter()) {
            return self.shared.release(force, Asker::Thread);
        }
        log::say(slf.as_any(), Event::Release);
        self.shared.release(force, Asker::Thread)?;
        log::say(slf.as_any(), Event::Released);
        Ok(())
    }

    /// Takes the lock if it is free, without any detour. False: the long way has to be gone.
    #[inline]
    fn acquire_at_once(&self, slf: &Bound<'_, NativeLock>, mode: Option<Mode>) -> PyResult<bool> {
        match self.shared.attempt(mode, Asker::Thread) {
            Ok(Some(Attempt::Again)) => Ok(true),
            Ok(Some(Attempt::Taken)) if !self.hook => Ok(true),
            Ok(Some(Attempt::Taken)) => self.call_hook(slf).map(|()| true),
            Ok(_) => Ok(false),
            Err(trouble) => Err(Failure::from(trouble).raise(slf.py(), &self.name)),
        }
    }

    fn acquire(
        &self,
        slf: &Bound<'_, NativeLock>,
        mode: Option<Mode>,
        settings: Settings,
        cancel_check: Option<Bound<'_, PyAny>>,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let taken = self
            .take(slf, mode, settings, cancel_check, cancel)
            .map_err(|failure| failure.raise(py, &self.name))?;
        if taken && self.hook {
            self.call_hook(slf)
        } else {
            Ok(())
        }
    }

    /// True: taken anew.
    fn take(
        &self,
        slf: &Bound<'_, NativeLock>,
        mode: Option<Mode>,
        settings: Settings,
        cancel_check: Option<Bound<'_, PyAny>>,
        cancel: Option<Bound<'_, CancelToken>>,
    ) -> Result<bool, Failure> {
        let py = slf.py();
        let lock = self.opened(py)?;
        let held = match self.shared.attempt(mode, Asker::Thread)? {
            Some(Attempt::Again) => return Ok(false),
            Some(Attempt::Taken) => return Ok(true),
            Some(Attempt::Busy(error)) => error,
            None => None,
        };
        if !settings.may_wait() {
            return Err(held.map_or(Failure::HeldHere("another thread"), Failure::from));
        }
        if settings.timeout.is_nan() {
            return Err(Trouble::Nan.into());
        }
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let terms = Terms {
            mode: mode.unwrap_or(self.shared.mode()),
            // Negative, infinite, and longer than a Duration: for ever.
            limit: seconds(settings.timeout),
            cancel,
            cancel_check,
            poll_interval: seconds(settings.poll_interval).unwrap_or_default(),
        };
        log::say(slf.as_any(), Event::Waiting);
        wait::wait(py, &self.shared, &lock, &terms)
    }

    /// The lock, opened: it is when first needed, and stays so.
    fn opened(&self, py: Python<'_>) -> Result<Arc<FileLock>, Failure> {
        if let Some(lock) = self.shared.opened() {
            return Ok(lock);
        }
        // Opening can take its time, on a network file system.
        let opened = py.detach(|| self.open());
        Ok(self.shared.keep(opened?))
    }

    fn open(&self) -> Result<FileLock, Failure> {
        let is_directory =
            |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|it| it.is_dir());
        let mut options = LockOptions::new()
            .fair(self.shared.is_fair())
            .create_parents(true);
        if let Ok(mode) = u32::try_from(self.mode) {
            options = options.permissions(mode);
        }
        // As open() says it.
        if self.name.is_empty() {
            return Err(Failure::Raised(error::os_error(
                libc::ENOENT,
                "No such file or directory",
                &self.name,
            )));
        }
        if self.name.as_encoded_bytes().contains(&0) {
            return Err(Failure::Raised(PyValueError::new_err("embedded null byte")));
        }
        let lock = options.open(&self.path)?;
        // It could be locked, but nobody means that.
        if is_directory(&self.path) {
            return Err(Failure::Raised(error::os_error(
                libc::EISDIR,
                "Is a directory, which cannot be a lock file",
                &self.name,
            )));
        }
        Ok(lock)
    }

    #[cold]
    fn call_hook(&self, slf: &Bound<'_, NativeLock>) -> PyResult<()> {
        let hook = slf.getattr("_on_acquired")?;
        let called = hook.call1((self.shared.lend(Asker::Thread),)).map(drop);
        if let Err(error) = &called
            // Once: another thread that holds it too may have come in meanwhile.
            && let Err(trouble) = self.shared.release(false, Asker::Thread)
        {
            let release = Failure::from(trouble).raise(slf.py(), &self.name);
            let context = error.value(slf.py());
            release.value(slf.py()).setattr("__context__", context)?;
            return Err(release);
        }
        called
    }

    fn look(
        &self,
        py: Python<'_>,
        look: impl Fn(&FileLock) -> std::io::Result<Vec<holdlock::Process>> + Sync,
    ) -> PyResult<Vec<Process>> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        let lock = self
            .opened(py)
            .map_err(|failure| failure.raise(py, &self.name))?;
        let found = py.detach(|| look(&lock))?;
        Ok(found.into_iter().map(Process::from).collect())
    }
}
