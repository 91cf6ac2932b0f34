//! The steps of a thread's request: one attempt, and then the wait.

use std::time::Duration;

use holdlock::Mode;
use pyo3::exceptions::PyTimeoutError;
use pyo3::prelude::*;

use crate::cancel::CancelToken;
use crate::core::Core;
use crate::error::Failure;
use crate::hold::Settings;
use crate::lock::NativeLock;
use crate::log::{self, Event};
use crate::requester::Requester;
use crate::shared::Attempt;
use crate::wait::{self, Terms};

/// The arguments of one call of `acquire`.
pub(crate) struct Call<'py> {
    pub(crate) settings: Settings,
    pub(crate) cancel_check: Option<Bound<'py, PyAny>>,
    pub(crate) cancel: Option<Bound<'py, CancelToken>>,
    /// Whether a wait that may last for ever ends with Deadlock if nothing else can end it.
    pub(crate) notice_deadlocks: bool,
}

impl Core {
    /// Acquires the lock, and writes to the debug log.
    #[inline]
    pub(crate) fn acquire<'py>(
        &self,
        slf: &Bound<'py, NativeLock>,
        mode: Option<Mode>,
        note: Option<&str>,
        call: impl FnOnce() -> PyResult<Call<'py>>,
    ) -> PyResult<()> {
        let py = slf.py();
        if !log::is_wanted(py) || self.shared.counter(Requester::Thread) > 0 {
            return self.acquire_untold(slf, mode, note, call);
        }
        log::say(slf.as_any(), Event::Attempt)?;
        let acquired = self.acquire_untold(slf, mode, note, call);
        match &acquired {
            Ok(()) => {
                let told = log::say(slf.as_any(), Event::Acquired);
                return told.map_err(|error| self.undo(py, error));
            }
            Err(error) if Failure::is_cancelled(py, error) => {
                log::say(slf.as_any(), Event::Cancelled)?;
            }
            Err(error) if error.is_instance_of::<PyTimeoutError>(py) => {
                log::say(slf.as_any(), Event::Timeout)?;
            }
            Err(_) => {}
        }
        acquired
    }

    #[inline]
    fn acquire_untold<'py>(
        &self,
        slf: &Bound<'py, NativeLock>,
        mode: Option<Mode>,
        note: Option<&str>,
        call: impl FnOnce() -> PyResult<Call<'py>>,
    ) -> PyResult<()> {
        let py = slf.py();
        let raise = |failure: Failure| failure.raise(py, self.name());
        let taken = match self
            .shared
            .attempt(py, mode, Requester::Thread, note)
            .map_err(raise)?
        {
            Some(Attempt::Again) => false,
            Some(Attempt::Taken) => true,
            Some(Attempt::Busy(busy)) => {
                self.wait(slf, mode, note, call()?, busy).map_err(raise)?
            }
            None => {
                let call = call()?;
                self.open_and_take(slf, mode, note, call).map_err(raise)?
            }
        };
        if taken && self.has_hook() {
            self.call_hook(slf)
        } else {
            Ok(())
        }
    }

    /// The first request: opens the lock file. True: the lock was not held before.
    #[cold]
    fn open_and_take<'py>(
        &self,
        slf: &Bound<'py, NativeLock>,
        mode: Option<Mode>,
        note: Option<&str>,
        call: Call<'py>,
    ) -> Result<bool, Failure> {
        self.opened(slf.py())?;
        let attempt = self.shared.attempt(slf.py(), mode, Requester::Thread, note);
        match attempt? {
            Some(Attempt::Again) => Ok(false),
            Some(Attempt::Taken) => Ok(true),
            Some(Attempt::Busy(busy)) => self.wait(slf, mode, note, call, busy),
            // It was opened above, and stays open.
            None => Err(Failure::NoInit),
        }
    }

    /// Waits for a lock that was busy. True: the lock was not held before.
    #[cold]
    fn wait<'py>(
        &self,
        slf: &Bound<'py, NativeLock>,
        mode: Option<Mode>,
        note: Option<&str>,
        call: Call<'py>,
        busy: Failure,
    ) -> Result<bool, Failure> {
        if !call.settings.may_wait() {
            return Err(busy);
        }
        if call.settings.timeout.is_nan() {
            return Err(Failure::Nan);
        }
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        // Negative, infinite, or too long for a Duration: no limit.
        let limit = seconds(call.settings.timeout);
        let terms = Terms {
            mode: mode.unwrap_or(self.shared.mode),
            note: note.or(self.shared.note.as_deref()).map(str::to_owned),
            limit,
            cancel: call.cancel,
            cancel_check: call.cancel_check,
            poll_interval: seconds(call.settings.poll_interval).unwrap_or_default(),
            notice_deadlocks: call.notice_deadlocks && limit.is_none(),
        };
        log::say(slf.as_any(), Event::Waiting)?;
        let lock = self.opened(slf.py())?;
        wait::wait(slf.py(), &self.shared, &lock, &terms)
    }

    /// Releases the lock, and writes to the debug log.
    #[inline]
    pub(crate) fn release(&self, slf: &Bound<'_, NativeLock>, force: bool) -> Result<(), Failure> {
        let is_last = |count| count == 1 || (force && count > 0);
        if !log::is_wanted(slf.py()) || !is_last(self.shared.counter(Requester::Thread)) {
            return self.shared.release(force, Requester::Thread);
        }
        let told = log::say(slf.as_any(), Event::Release);
        self.shared.release(force, Requester::Thread)?;
        told?;
        log::say(slf.as_any(), Event::Released)?;
        Ok(())
    }

    #[cold]
    fn call_hook(&self, slf: &Bound<'_, NativeLock>) -> PyResult<()> {
        let py = slf.py();
        let lent = self.shared.lend(Requester::Thread);
        let lent = lent.map_err(|failure| failure.raise(py, self.name()));
        let called = lent.and_then(|lent| {
            let hook = slf.getattr("_on_acquired")?;
            hook.call1((lent,)).map(drop)
        });
        let Err(error) = called else {
            return if self.shared.counter(Requester::Thread) > 0 {
                Ok(())
            } else {
                Err(Failure::ReleasedByHook.raise(py, self.name()))
            };
        };
        Err(self.undo(py, error))
    }

    /// Releases the lock after an error, by which the caller does not learn that it has the lock.
    /// Returns the error to raise.
    #[cold]
    fn undo(&self, py: Python<'_>, error: PyErr) -> PyErr {
        // Only once, because another thread may have joined meanwhile.
        let Err(failure) = self.shared.release(false, Requester::Thread) else {
            return error;
        };
        let release = failure.raise(py, self.name());
        let _ = release.value(py).setattr("__context__", error.value(py));
        release
    }
}
