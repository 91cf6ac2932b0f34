//! Waiting for a lock in asynchronous code, under whatever runtime.
//!
//! The first poll acquires a lock that is free. If the lock is held, the task queues, and a thread
//! of this library, one for all tasks of the lock, sleeps in the kernel's queue for the first of
//! them and wakes the task when there is an answer (see `tasks`). No thread polls. Dropping the
//! future cancels the wait.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::sys::fork;
use crate::tasks::{Taken, Task};
use crate::{Error, FileLock, Limit, Request};

/// A request for a lock that is waited for by `.await`; made by
/// [`FileLock::lock_async`], [`FileLock::lock_shared_async`] and [`FileLock::acquire_async`].
///
/// Nothing happens before it is polled. When it is dropped, the wait is cancelled; a lock that is
/// acquired at that very moment is released at once. In a child of fork it is ready with
/// [`Error::System`], since the wait is the parent's.
#[must_use = "futures do nothing unless awaited"]
pub struct LockFuture {
    state: State,
}

enum State {
    New { lock: FileLock, request: Request },
    Waiting(Waiting),
    Over,
}

struct Waiting {
    task: Arc<Task>,
    generation: u32,
}

impl LockFuture {
    pub(crate) fn new(lock: FileLock, request: Request) -> LockFuture {
        LockFuture {
            state: State::New { lock, request },
        }
    }

    /// Wait for at most `limit`, from the first poll on: [`Error::TimedOut`]. Without effect once
    /// the wait has begun.
    pub fn timeout(self, limit: Duration) -> LockFuture {
        match self.state {
            State::New { lock, request } => LockFuture::new(lock, request.timeout(limit)),
            state => LockFuture { state },
        }
    }

    /// Ends the wait, as a [`CancelToken`] does: the future is ready soon, with
    /// [`Error::Cancelled`], or with the lock if that was acquired first. After that no thread
    /// waits in the kernel's queue for this request. Dropping the future ends the wait, too, but
    /// returns while the waiting thread may still be on its way out of the queue. Without effect
    /// before the first poll.
    ///
    /// ```
    /// # use holdlock::{Error, FileLock};
    /// # use std::{future::Future, pin::pin, sync::Arc, task::{Context, Poll, Waker}};
    /// # let path = std::env::temp_dir().join(format!("holdlock-doc-end-{}", std::process::id()));
    /// # let lock = FileLock::open(&path)?;
    /// # let mut context = Context::from_waker(Waker::noop());
    /// let held = lock.lock()?;
    /// let mut wait = pin!(lock.lock_async());
    /// assert!(wait.as_mut().poll(&mut context).is_pending());
    /// wait.cancel();
    /// let answer = loop {
    ///     if let Poll::Ready(answer) = wait.as_mut().poll(&mut context) {
    ///         break answer;
    ///     }
    /// };
    /// assert!(matches!(answer, Err(Error::Cancelled { .. })));
    /// # drop(held); std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) {
        if let State::Waiting(waiting) = &self.state
            && !waiting.is_of_the_parent()
        {
            waiting.task.cancel();
        }
    }
}

impl Future for LockFuture {
    type Output = Taken;

    /// # Panics
    ///
    /// When polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Taken> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::New { lock, request } => match begin(lock, request, context.waker()) {
                Ok(waiting) => {
                    self.state = State::Waiting(waiting);
                    Poll::Pending
                }
                Err(answer) => Poll::Ready(*answer),
            },
            State::Waiting(waiting) => match waiting.poll(context.waker()) {
                Some(answer) => Poll::Ready(*answer),
                None => {
                    self.state = State::Waiting(waiting);
                    Poll::Pending
                }
            },
            State::Over => panic!("a LockFuture was polled after it was ready"),
        }
    }
}

/// Acquires the lock if it is free; otherwise begins to wait for it.
fn begin(lock: FileLock, mut request: Request, waker: &Waker) -> Result<Waiting, Box<Taken>> {
    request.stays_in_thread = false;
    if matches!(request.limit(), Limit::Never | Limit::For(Duration::ZERO)) {
        return Err(Box::new(lock.acquire_owned(request)));
    }
    let began = Instant::now();
    match lock.acquire_owned(Request::new(request.mode()).try_once()) {
        // The holder of a removed file may be about to release it, after a deletion on release:
        // the wait is for that, too.
        Err(Error::WouldBlock(_) | Error::RemovedWhileHeld(_)) => {}
        answer => return Err(Box::new(answer)),
    }
    if let Limit::For(time) = request.limit() {
        // The clock runs from the first poll on. An instant past its end is for ever.
        request = began.checked_add(time).map_or_else(
            || request.clone().forever(),
            |deadline| request.clone().deadline(deadline),
        );
    }
    let generation = fork::generation();
    match Task::begin(lock, request, began, waker) {
        Ok(task) => Ok(Waiting { task, generation }),
        Err(error) => Err(Box::new(Err(error))),
    }
}

impl Waiting {
    /// Whether this is a child of fork, which has none of the threads that end the wait. One of
    /// them may have locked a mutex when the child was made.
    fn is_of_the_parent(&self) -> bool {
        self.generation != fork::generation()
    }

    fn poll(&self, waker: &Waker) -> Option<Box<Taken>> {
        if self.is_of_the_parent() {
            let source = io::Error::other("this is a child of fork, and the wait is its parent's");
            let error = self.task.lock().system("waiting for the lock", source);
            return Some(Box::new(Err(error)));
        }
        self.task.poll(waker)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_of_the_parent() {
            self.task.abandon();
        }
    }
}

impl fmt::Debug for LockFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::New { .. } => "new",
            State::Waiting(_) => "waiting",
            State::Over => "over",
        };
        f.debug_struct("LockFuture").field("state", &state).finish()
    }
}
