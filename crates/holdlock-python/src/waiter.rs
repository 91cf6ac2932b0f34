//! The wait of a task: a thread of the library waits in the kernel's queue while the loop runs. The
//! tasks that wait for one lock share the thread, and those of one loop share the pipe that wakes
//! the loop.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use holdlock::{FileLock, LockFuture, Mode, OwnedGuard};
use pyo3::prelude::*;

use crate::cancel::{Alert, CancelToken};
use crate::error::{self, Failure};
use crate::lock::NativeLock;
use crate::requester::{Requester, Task};
use crate::wakeup::{Pipe, Wakeup, Wakeups};
use crate::{fork, thread};

/// A request that waits. When the task has to look at it, its number is among those that its
/// [`Wakeups`] have woken, or its own descriptor becomes readable.
///
/// Dropping it gives up the place in the queue, and releases the lock if that was acquired.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Waiter {
    lock: Py<NativeLock>,
    mode: Mode,
    task: Option<Py<Task>>,
    /// The number of this wait for the lock, the token and the pipe.
    number: u64,
    token: Option<(Py<CancelToken>, u64)>,
    /// Wakes the loop; None: the wait is closed.
    wakeup: Mutex<Option<Arc<Wakeup>>>,
    /// The pipe is this wait's own.
    own_pipe: Option<Weak<Pipe>>,
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
    /// The pipe of the loop; None: the wait has its own.
    pub(crate) wakeups: Option<Bound<'py, Wakeups>>,
}

impl Waiter {
    /// The request begins with the first [`look`](Self::look).
    pub(crate) fn new(
        lock: &Bound<'_, NativeLock>,
        opened: &FileLock,
        wish: Wish<'_>,
    ) -> PyResult<Waiter> {
        let core = lock.get().core()?;
        let number = thread::fresh_number();
        let loops = wish.wakeups.and_then(|wakeups| wakeups.get().pipe());
        let is_own = loops.is_none();
        let pipe = loops
            .map_or_else(Pipe::new, Ok)
            .map_err(|source| error::io_error(&source, core.name()))?;
        let own_pipe = is_own.then(|| Arc::downgrade(&pipe));
        let wakeup = Wakeup::new(pipe, number);
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
        core.shared.begin_task_wait(number, alert);
        Ok(Waiter {
            lock: lock.clone().unbind(),
            mode: wish.mode,
            task: wish.task.map(Bound::unbind),
            number,
            token,
            wakeup: Mutex::new(Some(wakeup)),
            own_pipe,
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
            let wakeup = self.wakeup().clone()?;
            if let Some(pipe) = self.own_pipe() {
                pipe.take();
            }
            wakeup.rearm();
            Waker::from(wakeup)
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

    fn wakeup(&self) -> MutexGuard<'_, Option<Arc<Wakeup>>> {
        self.wakeup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_pipe(&self) -> Option<Arc<Pipe>> {
        self.own_pipe.as_ref()?.upgrade()
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
        self.wakeup().take();
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
    /// The wait's own descriptor; -1 after `close`, or if it uses the loop's.
    fn fileno(&self) -> i32 {
        self.own_pipe().map_or(-1, |pipe| pipe.descriptor())
    }

    /// The number of this wait, for its loop.
    #[getter]
    fn number(&self) -> u64 {
        self.number
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

    /// Whether the wait has ended. Releases the lock if it was acquired meanwhile: the task has not
    /// seen it, so the next holder learns of a last one that died.
    fn is_over(&self) -> bool {
        if let Some(Ok(guard)) = self.answer() {
            let _ = guard.release_abandoned();
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
