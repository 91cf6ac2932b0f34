//! The wait of a task or of a greenlet for a slot, for a set of locks or for an engine: the library
//! waits in a thread of its own while the loop runs.

use std::future::Future;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use holdlock::CancelToken as Token;
use pyo3::prelude::*;

use crate::cancel::{Alert, CancelToken};
use crate::fork;

/// Makes the descriptor readable that the loop watches.
struct Done(PipeWriter);

impl Wake for Done {
    fn wake(self: Arc<Self>) {
        // The request ends once. The write can fail only if the other end is closed.
        let _ = (&self.0).write(&[0]);
    }
}

type Finish<T> = Box<dyn FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send>;

/// A request that waits, whatever it waits for.
trait Wait: Send {
    /// Whether the request has its answer.
    fn is_over(&mut self, waker: &Waker) -> bool;
    fn finish(self: Box<Self>, py: Python<'_>) -> PyResult<Option<Py<PyAny>>>;
}

struct WaitFor<F: Future> {
    future: Pin<Box<F>>,
    answer: Option<F::Output>,
    finish: Finish<F::Output>,
}

impl<F: Future<Output: Send> + Send> Wait for WaitFor<F> {
    fn is_over(&mut self, waker: &Waker) -> bool {
        if self.answer.is_none()
            && let Poll::Ready(answer) = self.future.as_mut().poll(&mut Context::from_waker(waker))
        {
            self.answer = Some(answer);
        }
        self.answer.is_some()
    }

    fn finish(self: Box<Self>, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let finish = self.finish;
        self.answer.map(|answer| finish(py, answer)).transpose()
    }
}

/// A request that waits. Its descriptor becomes readable when the request is over.
///
/// Dropping it gives up the place in the queue, and releases what was acquired.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Pending {
    token: Token,
    /// The caller's token, and the number of this wait.
    cancel: Option<(Py<CancelToken>, u64)>,
    reader: Mutex<Option<PipeReader>>,
    waker: Waker,
    /// None: it was closed.
    wait: Mutex<Option<Box<dyn Wait>>>,
    generation: u32,
}

impl Pending {
    /// `begin` makes the request, which `token` ends. `finish` keeps what was acquired.
    pub(crate) fn new<F: Future<Output: Send> + Send + 'static>(
        token: Token,
        cancel: Option<Bound<'_, CancelToken>>,
        future: F,
        finish: impl FnOnce(Python<'_>, F::Output) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> io::Result<Pending> {
        let (reader, writer) = io::pipe()?;
        let cancel = cancel.map(|cancel| {
            let number = cancel.get().add(&Alert::Token(token.clone()));
            (cancel.unbind(), number)
        });
        Ok(Pending {
            token,
            cancel,
            reader: Mutex::new(Some(reader)),
            waker: Waker::from(Arc::new(Done(writer))),
            wait: Mutex::new(Some(Box::new(WaitFor {
                future: Box::pin(future),
                answer: None,
                finish: Box::new(finish),
            }))),
            generation: fork::generation(),
        })
    }

    fn wait(&self) -> MutexGuard<'_, Option<Box<dyn Wait>>> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Option<PipeReader>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let wait = self.wait().take();
        if self.generation != fork::generation() {
            // The waiting thread is in the parent, which may have forked while the thread had a
            // mutex locked.
            std::mem::forget(wait);
        }
        if let Some((cancel, number)) = &self.cancel {
            cancel.get().forget(*number);
        }
        self.reader().take();
    }
}

#[pymethods]
impl Pending {
    /// The descriptor; -1 after `close`.
    fn fileno(&self) -> i32 {
        self.reader().as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Whether the request is over. The request begins with the first call.
    fn is_over(&self) -> bool {
        let mut wait = self.wait();
        wait.as_mut().is_none_or(|wait| wait.is_over(&self.waker))
    }

    /// Keeps what was acquired, or raises the error of the request. None: it is not over.
    fn finish(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let wait = self.wait().take();
        wait.map_or(Ok(None), |wait| wait.finish(py))
    }

    /// Leaves the queue. The request has left it when it `is_over`.
    fn cancel(&self) {
        self.token.cancel();
    }

    /// Leaves the queue without waiting for that, releases what was acquired and not kept, and
    /// closes the descriptor.
    fn close(&self) {
        self.end();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.end();
    }
}
