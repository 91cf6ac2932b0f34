//! Waiting for the answer to a request: in a thread that sleeps, or in a task.

use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use holdlock::{OnWait, Request, Waiting};

use crate::keeper::serve::{self, Answer, LOOK, Terms};
use crate::sys::event::Event;
use crate::sys::fork::Inherited;
use crate::sys::sentinel;
use crate::{EngineGuard, EngineLock, Error};

type Acquired = Result<EngineGuard, Error>;

/// A request for a lock that is waited for by `.await`; made by [`EngineLock::lock_async`],
/// [`EngineLock::lock_shared_async`] and [`EngineLock::acquire_async`].
///
/// Nothing happens before the future is polled. Dropping it withdraws the request; a lock that is
/// acquired at that very moment is released at once. If the process ends just then, its end waits
/// for the engine, for a second at most. In a child of fork the future is ready with
/// [`Error::Failed`], since the wait is the parent's.
#[must_use = "futures do nothing unless awaited"]
pub struct EngineFuture {
    lock: EngineLock,
    request: Request,
    pending: Option<Pending>,
}

impl EngineFuture {
    pub(crate) fn new(lock: EngineLock, request: Request) -> EngineFuture {
        EngineFuture {
            lock,
            request,
            pending: None,
        }
    }

    /// Wait for at most `limit`, from the first poll on: [`Error::TimedOut`]. Without effect once
    /// the wait has begun.
    pub fn timeout(mut self, limit: Duration) -> EngineFuture {
        self.request = self.request.timeout(limit);
        self
    }
}

impl Future for EngineFuture {
    type Output = Acquired;

    /// # Panics
    ///
    /// When polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Acquired> {
        let this = self.get_mut();
        if this.pending.is_none() {
            this.pending = Some(Pending::begin(&this.lock, &this.request)?);
        }
        match &mut this.pending {
            Some(pending) => pending.poll_answer(&this.lock, context),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for EngineFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineFuture")
            .field("lock", &self.lock)
            .field("begun", &self.pending.is_some())
            .finish()
    }
}

/// A request that the helper thread works on.
struct Pending {
    answer: Inherited<Answer>,
    asked: Instant,
    over: bool,
}

impl Pending {
    fn begin<W: OnWait>(lock: &EngineLock, request: &Request<W>) -> Result<Pending, Error> {
        let terms = Terms::new(request, lock.command_text());
        let asked = terms.asked();
        let answer = serve::request(lock.engine(), terms)
            .map_err(|error| serve::no_thread(lock.engine(), &error))?;
        Ok(Pending {
            answer: Inherited::new(answer),
            asked,
            over: false,
        })
    }

    fn poll_answer(&mut self, lock: &EngineLock, context: &mut Context<'_>) -> Poll<Acquired> {
        assert!(!self.over, "an EngineFuture was polled after it was ready");
        let failed = |why: &str| Error::Failed {
            lock: lock.name().to_owned(),
            operation: "waiting for the lock",
            why: why.to_owned(),
        };
        let Some(answer) = self.answer.get_mut() else {
            return Poll::Ready(Err(failed(
                "this is a child of fork, and the wait is its parent's; make a new request",
            )));
        };
        let answer = Pin::new(&mut answer.answer).poll(context);
        if !matches!(answer, Poll::Ready(Ok(Ok(_)))) && sentinel::is_gone() {
            self.over = true;
            return Poll::Ready(Err(serve::gone(lock.engine())));
        }
        answer.map(|answer| {
            self.over = true;
            match answer {
                Ok(Ok(handle)) => Ok(EngineGuard::new(lock.clone(), handle)),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(failed(
                    "the helper thread has ended; this is a defect of holdlock",
                )),
            }
        })
    }

    /// Whether the request has begun to wait, asked once.
    fn poll_began(&mut self, context: &mut Context<'_>) -> bool {
        let answer = self.answer.get_mut();
        let began = answer.map(|answer| Pin::new(&mut answer.began).poll(context));
        matches!(began, Some(Poll::Ready(Ok(()))))
    }
}

/// Acquires the lock in the calling thread, which sleeps in poll(2).
pub(crate) fn acquire<W: OnWait>(lock: &EngineLock, mut request: Request<W>) -> Acquired {
    let event = Event::new().map_err(|error| Error::Failed {
        lock: lock.name().to_owned(),
        operation: "opening a descriptor",
        why: format!("{error}; raise the limit of open files"),
    })?;
    let event = Arc::new(event);
    let waker = Waker::from(event.clone());
    let mut context = Context::from_waker(&waker);
    let mut pending = Pending::begin(lock, &request)?;
    let mut told = false;
    loop {
        if let Poll::Ready(answer) = pending.poll_answer(lock, &mut context) {
            return answer;
        }
        let mut news = None;
        if !told && pending.poll_began(&mut context) {
            told = true;
            news = Some(Waiting::Began);
        } else {
            // A signal that comes just before the sleep does not end it.
            match event.wait(Some(Instant::now() + LOOK)) {
                // The number is another file's.
                _ if sentinel::is_gone() => {}
                Ok(true) => event.clear(),
                Ok(false) | Err(_) => news = Some(Waiting::Interrupted),
            }
        }
        if let Some(news) = news
            && request.tell(news) == ControlFlow::Break(())
        {
            return Err(Error::Cancelled {
                lock: lock.name().to_owned(),
                waited: pending.asked.elapsed(),
            });
        }
    }
}
