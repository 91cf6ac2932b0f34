//! The wait of a task: in the kernel's queue, by a thread of the library's, while the loop runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use holdlock::{FileLock, LockFuture, Mode, OwnedGuard};
use pyo3::prelude::*;

use crate::asker::{Asker, Task};
use crate::bell::{Bell, Ear, bell};
use crate::cancel::{Call, CancelToken};
use crate::error::Failure;
use crate::lock::NativeLock;
use crate::{fork, thread};

/// A request that waits. Its descriptor becomes readable when there is something to look at.
///
/// Whoever drops it gives up the place in the queue, or the lock if that has come.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Waiter {
    lock: Py<NativeLock>,
    mode: Mode,
    task: Option<Py<Task>>,
    /// By which the lock and the token know this wait.
    number: u64,
    token: Option<(Py<CancelToken>, u64)>,
    bell: Arc<Bell>,
    ear: Ear,
    /// None when it is over.
    request: Mutex<Option<Pin<Box<LockFuture>>>>,
    generation: u32,
}

/// Who asks, and for what.
pub(crate) struct Wish<'py> {
    pub(crate) mode: Mode,
    /// None: for ever.
    pub(crate) limit: Option<Duration>,
    pub(crate) task: Option<Bound<'py, Task>>,
    pub(crate) cancel: Option<Bound<'py, CancelToken>>,
}

impl Waiter {
    /// Nothing is asked of the kernel before the first [`look`](Self::look).
    pub(crate) fn new(
        lock: &Bound<'_, NativeLock>,
        opened: &Arc<FileLock>,
        wish: Wish<'_>,
    ) -> PyResult<Waiter> {
        let (bell, ear) = bell()?;
        let mut request = match wish.mode {
            Mode::Exclusive => opened.lock_async(),
            Mode::Shared => opened.lock_shared_async(),
        };
        if let Some(limit) = wish.limit {
            request = request.timeout(limit);
        }
        let call = Call::Bell(bell.clone());
        let token = wish.cancel.map(|cancel| {
            let number = cancel.get().pass_on_to(&call);
            (cancel.unbind(), number)
        });
        let number = thread::fresh_number();
        lock.get().made()?.shared.begin_task_wait(number, call);
        Ok(Waiter {
            lock: lock.clone().unbind(),
            mode: wish.mode,
            task: wish.task.map(Bound::unbind),
            number,
            token,
            bell,
            ear,
            request: Mutex::new(Some(Box::pin(request))),
            generation: fork::generation(),
        })
    }

    fn request(&self) -> MutexGuard<'_, Option<Pin<Box<LockFuture>>>> {
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the request has come to. None: nothing yet, or it is over.
    fn answer(&self) -> Option<Result<OwnedGuard, holdlock::Error>> {
        self.ear.hear(&self.bell);
        let mut place = self.request();
        let request = place.as_mut()?;
        let waker = Waker::from(self.bell.clone());
        match request.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => {
                *place = None;
                Some(answer)
            }
            Poll::Pending => None,
        }
    }

    fn abandon(&self) {
        let request = self.request().take();
        if self.generation != fork::generation() {
            // The thread that waits is the parent's; it may have been forked off in the middle.
            std::mem::forget(request);
        }
    }
}

#[pymethods]
impl Waiter {
    /// The descriptor.
    fn fileno(&self) -> i32 {
        self.ear.descriptor()
    }

    /// True: the lock is taken; False: joined a task that has it; None: not yet. Raises what went
    /// wrong.
    fn look(&self, py: Python<'_>) -> PyResult<Option<bool>> {
        let made = self.lock.get().made()?;
        let failed = |failure: Failure| failure.raise(py, made.name());
        let asker = self
            .task
            .as_ref()
            .map_or(Asker::Thread, |task| Asker::Task(task.get()));
        let answer = self.answer();
        if made
            .shared
            .join(self.mode, asker)
            .map_err(|trouble| failed(trouble.into()))?
        {
            self.abandon();
            return Ok(Some(false));
        }
        match answer {
            None => Ok(None),
            Some(Ok(guard)) => {
                made.shared.commit(guard, self.mode, asker);
                Ok(Some(true))
            }
            Some(Err(error)) => Err(failed(error.into())),
        }
    }

    /// Leaves the queue. Nobody waits any more as soon as it [`is_over`](Self::is_over).
    fn cancel(&self) {
        if let Some(request) = self.request().as_ref() {
            request.cancel();
        }
    }

    /// Whether nobody waits any more. A lock that came is given back.
    fn is_over(&self) -> bool {
        drop(self.answer());
        self.request().is_none()
    }

    /// Leaves the queue, without a look back.
    fn close(&self) {
        self.abandon();
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.abandon();
        if let Ok(made) = self.lock.get().made() {
            made.shared.end_task_wait(self.number);
        }
        if let Some((token, number)) = &self.token {
            token.get().forget(*number);
        }
    }
}
