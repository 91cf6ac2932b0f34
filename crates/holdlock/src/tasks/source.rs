//! What a future needs of a lock: to acquire it at once, and to begin a wait for it.

use std::io;
use std::path::Path;
use std::task::Waker;
use std::time::Instant;

use crate::{Error, Request};

pub(crate) type Taken<G> = Result<G, Error>;

/// What a future acquires.
pub(crate) trait Acquired: Send {
    /// Releases it: the task has gone and has not seen it. If the last holder died, the next one
    /// has to learn of that.
    fn release_unseen(self);
}

/// Releases what was acquired for a task that has gone.
pub(crate) fn release_unseen<G: Acquired>(taken: Taken<G>) {
    if let Ok(guard) = taken {
        guard.release_unseen();
    }
}

/// What a future acquires from: a lock whose guards are `G`.
pub(crate) trait Source<G>: Send + Sync {
    /// Acquires the lock as the request says.
    fn acquire_owned(&self, request: Request) -> Taken<G>;

    /// The lock file.
    fn path(&self) -> &Path;

    /// Begins a wait for the lock, which was found held. Fails if no thread can be started.
    fn begin(
        self: Box<Self>,
        request: Request,
        began: Instant,
        waker: &Waker,
    ) -> io::Result<Box<dyn PendingWait<G>>>;
}

/// A wait that has begun.
pub(crate) trait PendingWait<G>: Send + Sync {
    /// The result. None: there is none yet, and `waker` is woken when there is.
    fn poll(&self, waker: &Waker) -> Option<Box<Taken<G>>>;

    /// Ends the wait: there is a result soon.
    fn cancel(&self);

    /// The future is dropped: ends the wait, and releases the lock if it was acquired.
    fn abandon(&self);
}
