//! How a waiting request wakes its task: by the pipe of the loop, or by a pipe of its own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use pyo3::prelude::*;

use crate::thread;
use crate::wakeup::{Pipe, Wakeup, Wakeups};

/// The number of a wait, and its pipe.
pub(crate) struct Signal {
    number: u64,
    /// None: the wait is closed.
    wakeup: Mutex<Option<Arc<Wakeup>>>,
    /// The pipe is this wait's own.
    own_pipe: Option<Weak<Pipe>>,
}

impl Signal {
    /// `wakeups` is the pipe of the loop; None: the wait gets its own.
    pub(crate) fn new(wakeups: Option<&Bound<'_, Wakeups>>) -> io::Result<Signal> {
        let number = thread::fresh_number();
        let loops = wakeups.and_then(|wakeups| wakeups.get().pipe());
        let is_own = loops.is_none();
        let pipe = loops.map_or_else(Pipe::new, Ok)?;
        let own_pipe = is_own.then(|| Arc::downgrade(&pipe));
        let wakeup = Mutex::new(Some(Wakeup::new(pipe, number)));
        Ok(Signal {
            number,
            wakeup,
            own_pipe,
        })
    }

    /// The number of the wait, for its loop.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The wait's own descriptor; -1 after `close`, or if it uses the loop's.
    pub(crate) fn descriptor(&self) -> i32 {
        self.own_pipe().map_or(-1, |pipe| pipe.descriptor())
    }

    fn own_pipe(&self) -> Option<Arc<Pipe>> {
        self.own_pipe.as_ref()?.upgrade()
    }

    fn place(&self) -> MutexGuard<'_, Option<Arc<Wakeup>>> {
        self.wakeup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the task look at its request; None: the wait is closed.
    pub(crate) fn wakeup(&self) -> Option<Arc<Wakeup>> {
        self.place().clone()
    }

    /// The answer of the request. The request begins with the first look. None: it has no answer
    /// yet, or the wait is closed.
    pub(crate) fn look<F: Future>(&self, request: &mut Pin<Box<F>>) -> Option<F::Output> {
        poll(request, &self.waker()?)
    }

    /// What the request wakes after the look that follows. None: the wait is closed.
    pub(crate) fn waker(&self) -> Option<Waker> {
        let wakeup = self.wakeup()?;
        if let Some(pipe) = self.own_pipe() {
            pipe.forget(usize::MAX);
        }
        wakeup.rearm();
        Some(Waker::from(wakeup))
    }

    /// Closes the wait's own descriptors, when the request has dropped its waker.
    pub(crate) fn close(&self) {
        self.place().take();
    }
}

/// The answer of the request. None: it has none yet.
pub(crate) fn poll<F: Future>(request: &mut Pin<Box<F>>, waker: &Waker) -> Option<F::Output> {
    match request.as_mut().poll(&mut Context::from_waker(waker)) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

/// The result of a request of the library.
pub(crate) type Answer<G> = Result<G, holdlock::Error>;
