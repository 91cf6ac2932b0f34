//! The wait of a task: a thread of the library waits in the kernel's queue while the loop runs. The
//! tasks that wait for one lock share the thread, and those of one loop share the pipe that wakes
//! the loop.

use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdlock::{FileLock, LockFuture, Mode, OwnedGuard};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::acquisition::Acquisition;
use crate::cancel::{Alert, CancelToken};
use crate::error::{self, Failure};
use crate::fork;
use crate::signal::{Answer, Signal};
use crate::unseen::Acquired;
use crate::wakeup::Wakeups;

/// A request that waits. When the task has to look at it, its number is among those that its
/// [`Wakeups`] have woken, or its own descriptor becomes readable.
///
/// Dropping it gives up the place in the queue, and releases the lock if that was acquired.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Waiter {
    acquisition: Py<Acquisition>,
    token: Option<(Py<CancelToken>, u64)>,
    signal: Signal,
    /// None: the wait has ended.
    request: Mutex<Option<Pin<Box<LockFuture>>>>,
    generation: u32,
}

/// The request of a task.
pub(crate) struct Wish<'py> {
    pub(crate) mode: Mode,
    /// None: without a limit.
    pub(crate) limit: Option<Duration>,
    pub(crate) cancel: Option<Bound<'py, CancelToken>>,
    /// For the record.
    pub(crate) note: Option<&'py str>,
    /// The pipe of the loop; None: the wait has its own.
    pub(crate) wakeups: Option<Bound<'py, Wakeups>>,
}

impl Waiter {
    /// The request begins with the first [`look`](Self::look).
    pub(crate) fn new(
        acquisition: &Bound<'_, Acquisition>,
        opened: &FileLock,
        wish: Wish<'_>,
    ) -> PyResult<Waiter> {
        let core = acquisition.get().core()?;
        let signal = Signal::new(wish.wakeups.as_ref())
            .map_err(|source| error::io_error(&source, core.name()))?;
        let mut request = match wish.mode {
            Mode::Exclusive => opened.acquire_async(core.shared.noted(wish.note)),
            Mode::Shared => opened.lock_shared_async(),
        };
        if let Some(limit) = wish.limit {
            request = request.timeout(limit);
        }
        let alert = Alert::of(&signal, None);
        let token = wish.cancel.map(|cancel| {
            let number = cancel.get().add(&alert);
            (cancel.unbind(), number)
        });
        core.shared.begin_task_wait(signal.number(), alert);
        Ok(Waiter {
            acquisition: acquisition.clone().unbind(),
            token,
            signal,
            request: Mutex::new(Some(Box::pin(request))),
            generation: fork::generation(),
        })
    }

    fn request(&self) -> MutexGuard<'_, Option<Pin<Box<LockFuture>>>> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of the request. None: it has none yet, or the result was taken before.
    fn answer(&self) -> Option<Answer<OwnedGuard>> {
        let mut place = self.request();
        let answer = self.signal.look(place.as_mut()?)?;
        *place = None;
        Some(answer)
    }

    /// Ends the wait for the lock and the token too, and closes the descriptors.
    fn end(&self) {
        self.abandon();
        if let Ok(core) = self.acquisition.get().core() {
            core.shared.end_task_wait(self.signal.number());
        }
        if let Some((token, number)) = &self.token {
            token.get().forget(*number);
        }
        self.signal.close();
    }

    fn abandon(&self) {
        let request = self.request().take();
        if self.generation != fork::generation() {
            // The waiting thread is in the parent, which may have forked while the thread had a
            // mutex locked.
            std::mem::forget(request);
        }
    }
}

#[pymethods]
impl Waiter {
    /// For the collector: the lock may refer to the task that waits.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.acquisition)?;
        visit.call(self.token.as_ref().map(|(token, _)| token))
    }

    /// The wait's own descriptor; -1 after `close`, or if it uses the loop's.
    fn fileno(&self) -> i32 {
        self.signal.descriptor()
    }

    /// The number of this wait, for its loop.
    #[getter]
    fn number(&self) -> u64 {
        self.signal.number()
    }

    /// True: the task has acquired the lock; False: it has joined a task that holds it; None: not
    /// yet. Raises the error if the request has failed.
    fn look(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        let acquisition = self.acquisition.get();
        let core = acquisition.core()?;
        let failed = |failure: Failure| failure.raise(py, core.name());
        let answer = self.answer();
        if acquisition.join(core).map_err(failed)? {
            self.abandon();
            return Ok(Some(false));
        }
        match answer {
            None => Ok(None),
            Some(Ok(guard)) => {
                acquisition.commit(core, guard);
                Ok(Some(true))
            }
            Some(Err(error)) => Err(failed(error.into())),
        }
    }

    /// Leaves the queue. The wait has ended when it [`is_over`](Self::is_over).
    fn cancel(&self) {
        if let Some(request) = self.request().as_ref() {
            request.cancel();
        }
    }

    /// Whether the wait has ended. Releases the lock if it was acquired meanwhile: the task has not
    /// seen it, so the next holder learns of a last one that died.
    fn is_over(&self) -> bool {
        if let Some(Ok(guard)) = self.answer() {
            guard.release_unseen();
        }
        self.request().is_none()
    }

    /// Leaves the queue without waiting for that, and closes the descriptor.
    fn close(&self) {
        self.end();
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.end();
    }
}
