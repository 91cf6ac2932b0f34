//! The result of a wait, on its way from the waiting thread to the task.

use std::task::Waker;

use super::source::{Acquired, Taken, release_unseen};

/// What passes between a task and those who end its wait.
pub(super) enum Answer<G> {
    Pending(Waker),
    Ready(Box<Taken<G>>),
    /// The future was dropped, or has returned the answer.
    Abandoned,
}

impl<G: Acquired> Answer<G> {
    /// The result. None: there is none yet, and `waker` is woken when there is.
    pub(super) fn poll(&mut self, waker: &Waker) -> Option<Box<Taken<G>>> {
        match std::mem::replace(self, Answer::Abandoned) {
            Answer::Ready(taken) => Some(taken),
            Answer::Pending(mut known) => {
                known.clone_from(waker);
                *self = Answer::Pending(known);
                None
            }
            Answer::Abandoned => None,
        }
    }

    /// Keeps the result for the task that the waker wakes. Fails if that task has gone.
    pub(super) fn put(&mut self, taken: Taken<G>) -> Result<Waker, Taken<G>> {
        match std::mem::replace(self, Answer::Abandoned) {
            Answer::Pending(waker) => {
                *self = Answer::Ready(Box::new(taken));
                Ok(waker)
            }
            Answer::Abandoned | Answer::Ready(_) => Err(taken),
        }
    }

    /// Releases the lock if it was acquired: the task has gone.
    pub(super) fn release_unseen(self) {
        if let Answer::Ready(taken) = self {
            release_unseen(*taken);
        }
    }
}
