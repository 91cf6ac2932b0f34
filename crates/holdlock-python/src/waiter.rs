//! The wait of a task: a thread of the library waits in the kernel's queue while the loop runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use holdlock::{FileLock, LockFuture, Mode, OwnedGuard};
use pyo3::prelude::*;

use crate::cancel::{Alert, CancelToken};
use crate::error::{self, Failure};
use crate::lock::NativeLock;
use crate::requester::{Requester, Task};
use crate::wakeup::{self, Wakeup, Watched};
use crate::{fork, thread};

/// A request that waits. Its descriptor becomes readable when the task has to look at it.
///
/// Dropping it gives up the place in the queue, and releases the lock if that was acquired.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Waiter {
    lock: Py<NativeLock>,
    mode: Mode,
    task: Option<Py<Task>>,
    /// The number of this wait for the lock and the token.
    number: u64,
    token: Option<(Py<CancelToken>, u64)>,
    /// The pipe that wakes the loop; None: it was closed.
    pipe: Mutex<Option<(Arc<Wakeup>, Watched)>>,
    /// None: the wait has ended.
    request: Mutex<Option<Pin<Box<LockFuture>>>>,
    generation: u32,
}

/// The request of a task.
pub(crate) struct Wish<'py> {
    pub(crate) mode: Mode,
    /// None: without a limit.
    pub(crate) limit: Option<Duration>,
    pub(crate) task: Option<Bound<'py, Task>>,
    pub(crate) cancel: Option<Bound<'py, CancelToken>>,
}

impl Waiter {
    /// The request begins with the first [`look`](Self::look).
    pub(crate) fn new(
        lock: &Bound<'_, NativeLock>,
        opened: &FileLock,
        wish: Wish<'_>,
    ) -> PyResult<Waiter> {
        let core = lock.get().core()?;
        let (wakeup, watched) =
            wakeup::pair().map_err(|source| error::io_error(&source, core.name()))?;
        let mut request = match wish.mode {
            Mode::Exclusive => opened.acquire_async(core.shared.noted()),
            Mode::Shared => opened.lock_shared_async(),
        };
        if let Some(limit) = wish.limit {
            request = request.timeout(limit);
        }
        let alert = Alert::Wakeup(wakeup.clone());
        let token = wish.cancel.map(|cancel| {
            let number = cancel.get().add(&alert);
            (cancel.unbind(), number)
        });
        let number = thread::fresh_number();
        core.shared.begin_task_wait(number, alert);
        Ok(Waiter {
            lock: lock.clone().unbind(),
            mode: wish.mode,
            task: wish.task.map(Bound::unbind),
            number,
            token,
            pipe: Mutex::new(Some((wakeup, watched))),
            request: Mutex::new(Some(Box::pin(request))),
            generation: fork::generation(),
        })
    }

    fn request(&self) -> MutexGuard<'_, Option<Pin<Box<LockFuture>>>> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of the request. None: it has none yet, or the result was taken before.
    fn answer(&self) -> Option<Result<OwnedGuard, holdlock::Error>> {
        let waker = {
            let pipe = self.pipe();
            let (wakeup, watched) = pipe.as_ref()?;
            watched.reset(wakeup);
            Waker::from(wakeup.clone())
        };
        let mut place = self.request();
        let request = place.as_mut()?;
        match request.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => {
                *place = None;
                Some(answer)
            }
            Poll::Pending => None,
        }
    }

    fn pipe(&self) -> MutexGuard<'_, Option<(Arc<Wakeup>, Watched)>> {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the wait for the lock and the token too, and closes the descriptors.
    fn end(&self) {
        self.abandon();
        if let Ok(core) = self.lock.get().core() {
            core.shared.end_task_wait(self.number);
        }
        if let Some((token, number)) = &self.token {
            token.get().forget(*number);
        }
        self.pipe().take();
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
    /// The descriptor; -1 after `close`.
    fn fileno(&self) -> i32 {
        let pipe = self.pipe();
        pipe.as_ref()
            .map_or(-1, |(_, watched)| watched.descriptor())
    }

    /// True: the task has acquired the lock; False: it has joined a task that holds it; None: not
    /// yet. Raises the error if the request has failed.
    fn look(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        let core = self.lock.get().core()?;
        let failed = |failure: Failure| failure.raise(py, core.name());
        let requester = self
            .task
            .as_ref()
            .map_or(Requester::Thread, |task| Requester::Task(task.get()));
        let answer = self.answer();
        if core.shared.join(self.mode, requester).map_err(failed)? {
            self.abandon();
            return Ok(Some(false));
        }
        match answer {
            None => Ok(None),
            Some(Ok(guard)) => {
                core.shared.commit(guard, self.mode, requester);
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

    /// Whether the wait has ended. Releases the lock if it was acquired meanwhile.
    fn is_over(&self) -> bool {
        drop(self.answer());
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
