//! Waits for a lock in asynchronous code, under every runtime.
//!
//! The first poll acquires a lock that is free. If the lock is held, the task queues, and a thread
//! of this library sleeps in the kernel's queue for it and wakes the task when there is an answer
//! (see `tasks`). No thread polls. Dropping the future cancels the wait.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::sys::fork;
use crate::tasks::{Acquired, PendingWait, Source, Taken, Task};
use crate::{Error, FileLock, Limit, OwnedGuard, Request};

impl Acquired for OwnedGuard {
    fn release_unseen(self) {
        let _ = self.release_abandoned();
    }
}

impl Source<OwnedGuard> for FileLock {
    fn acquire_owned(&self, request: Request) -> Taken<OwnedGuard> {
        FileLock::acquire_owned(self, request)
    }

    fn path(&self) -> &Path {
        FileLock::path(self)
    }

    fn begin(
        self: Box<Self>,
        request: Request,
        began: Instant,
        waker: &Waker,
    ) -> io::Result<Box<dyn PendingWait<OwnedGuard>>> {
        Ok(Box::new(Task::begin(*self, request, began, waker)?))
    }
}

/// A request for a lock, to be awaited; made by [`FileLock::lock_async`],
/// [`FileLock::lock_shared_async`] and [`FileLock::acquire_async`], and for a slot by
/// [`Semaphore::lock_async`](crate::Semaphore::lock_async), for several locks by
/// [`LockSet::lock_async`](crate::LockSet::lock_async).
///
/// Nothing happens before the future is polled. Dropping it cancels the wait; a lock that is
/// acquired at that very moment is released at once. In a child of fork it is ready with
/// [`Error::System`], because the wait belongs to the parent.
#[must_use = "futures do nothing unless awaited"]
pub struct LockFuture<G = OwnedGuard> {
    state: State<G>,
}

enum State<G> {
    New {
        lock: Box<dyn Source<G>>,
        request: Request,
    },
    Waiting(Waiting<G>),
    Over,
}

struct Waiting<G> {
    wait: Box<dyn PendingWait<G>>,
    path: PathBuf,
    generation: u32,
}

impl<G: Send + 'static> LockFuture<G> {
    pub(crate) fn new(lock: impl Source<G> + 'static, request: Request) -> LockFuture<G> {
        LockFuture {
            state: State::New {
                lock: Box::new(lock),
                request,
            },
        }
    }

    /// Wait for at most `limit`, from the first poll on: [`Error::TimedOut`]. Without effect once
    /// the wait has begun.
    pub fn timeout(self, limit: Duration) -> LockFuture<G> {
        let state = match self.state {
            State::New { lock, request } => State::New {
                lock,
                request: request.timeout(limit),
            },
            state => state,
        };
        LockFuture { state }
    }

    /// Ends the wait, as a [`CancelToken`](crate::CancelToken) does: the future is ready soon, with
    /// [`Error::Cancelled`], or with the lock if that was acquired first. After that no thread is
    /// left in the kernel's queue. Dropping the future ends the wait, too, but returns while the
    /// waiting thread may still be on its way out of the queue. Without effect before the first
    /// poll.
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
            waiting.wait.cancel();
        }
    }
}

impl<G: Send + 'static> Future for LockFuture<G> {
    type Output = Taken<G>;

    /// # Panics
    ///
    /// If it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Taken<G>> {
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
fn begin<G: Send + 'static>(
    lock: Box<dyn Source<G>>,
    mut request: Request,
    waker: &Waker,
) -> Result<Waiting<G>, Box<Taken<G>>> {
    request.stays_in_thread = false;
    if matches!(request.limit(), Limit::Never | Limit::For(Duration::ZERO)) {
        return Err(Box::new(lock.acquire_owned(request)));
    }
    let began = Instant::now();
    let mut first = Request::new(request.mode()).try_once();
    first.note = request.note.clone();
    // The thread that polls belongs to other tasks, too.
    first.waits_later = true;
    match lock.acquire_owned(first) {
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
    let path = lock.path().to_owned();
    let generation = fork::generation();
    match lock.begin(request, began, waker) {
        Ok(wait) => Ok(Waiting {
            wait,
            path,
            generation,
        }),
        Err(source) => Err(Box::new(Err(Error::System {
            path,
            operation: "starting a thread that waits for the lock",
            source,
        }))),
    }
}

impl<G> Waiting<G> {
    /// Whether this is a child of fork, which has none of the threads that end the wait. One of
    /// them may have locked a mutex when the child was made.
    fn is_of_the_parent(&self) -> bool {
        self.generation != fork::generation()
    }

    fn poll(&self, waker: &Waker) -> Option<Box<Taken<G>>> {
        if self.is_of_the_parent() {
            let source = io::Error::other("this is a child of fork, and the wait is its parent's");
            return Some(Box::new(Err(Error::System {
                path: self.path.clone(),
                operation: "waiting for the lock",
                source,
            })));
        }
        self.wait.poll(waker)
    }
}

impl<G> Drop for Waiting<G> {
    fn drop(&mut self) {
        if !self.is_of_the_parent() {
            self.wait.abandon();
        }
    }
}

impl<G> fmt::Debug for LockFuture<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::New { .. } => "new",
            State::Waiting(_) => "waiting",
            State::Over => "over",
        };
        f.debug_struct("LockFuture").field("state", &state).finish()
    }
}
