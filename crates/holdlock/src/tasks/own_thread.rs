//! A wait with a thread of its own: for a slot, for several locks, and for the right to upgrade.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::answer::Answer;
use super::panic;
use super::source::{Acquired, PendingWait, Source, Taken, release_unseen};
use crate::sys::start::start_thread;
use crate::{CancelToken, Request};

/// The wait of a lock whose tasks do not queue: each wait has its own thread.
pub(crate) fn by_own_thread<G: Acquired + 'static>(
    lock: impl Source<G> + 'static,
    request: Request,
    waker: &Waker,
) -> io::Result<Box<dyn PendingWait<G>>> {
    Ok(Box::new(OwnThread::begin(lock, request, waker)?))
}

/// A thread waits, and wakes the task.
struct OwnThread<G> {
    answer: Arc<Mutex<Answer<G>>>,
    token: CancelToken,
}

impl<G: Acquired + 'static> OwnThread<G> {
    /// Begins a wait for a lock that was found held.
    fn begin(
        lock: impl Source<G> + 'static,
        request: Request,
        waker: &Waker,
    ) -> io::Result<OwnThread<G>> {
        let wait = OwnThread {
            answer: Arc::new(Mutex::new(Answer::Pending(waker.clone()))),
            token: CancelToken::new(),
        };
        let (answer, token) = (wait.answer.clone(), wait.token.clone());
        // Not published as a helper thread: while one task waits here, others may release what they
        // hold, so that the process has a way out.
        let run = move || {
            let theirs = request.token().cloned();
            let _forward = theirs.as_ref().map(|theirs| theirs.forward_to(&token));
            let request = request.cancel(&token).notice_deadlocks(false);
            let taken = panic::or_error(lock.path(), || lock.acquire_owned(request));
            deliver(&answer, taken);
        };
        // The program's other threads get its signals, which would cost this one its place in the
        // queue.
        start_thread("holdlock-async", run)?;
        Ok(wait)
    }
}

impl<G: Acquired> PendingWait<G> for OwnThread<G> {
    fn poll(&self, waker: &Waker) -> Option<Box<Taken<G>>> {
        locked(&self.answer).poll(waker)
    }

    fn cancel(&self) {
        self.token.cancel();
    }

    fn abandon(&self) {
        let abandoned = std::mem::replace(&mut *locked(&self.answer), Answer::Abandoned);
        if matches!(abandoned, Answer::Pending(_)) {
            self.token.cancel();
        }
        // A lock that has been acquired already is released here, outside of the mutex.
        abandoned.release_unseen();
    }
}

fn deliver<G: Acquired>(answer: &Mutex<Answer<G>>, taken: Taken<G>) {
    let waker = match locked(answer).put(taken) {
        Ok(waker) => waker,
        // Outside of the mutex.
        Err(taken) => return release_unseen(taken),
    };
    waker.wake();
}

fn locked<G>(answer: &Mutex<Answer<G>>) -> MutexGuard<'_, Answer<G>> {
    answer.lock().unwrap_or_else(PoisonError::into_inner)
}
