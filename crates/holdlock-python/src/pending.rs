//! The wait of a task or of a greenlet for a slot, for a set of locks or for an engine: the library
//! waits in a thread of its own while the loop runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use holdlock::CancelToken as Token;
use pyo3::PyTypeCheck;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::cancel::{Alert, CancelToken};
use crate::fork;
use crate::requester::{Requester, Task};
use crate::signal::{self, Signal};

type Finish<A> = Box<dyn FnOnce(Python<'_>, &Pending, A) -> PyResult<Py<PyAny>> + Send>;

/// A request that waits, whatever it waits for.
trait Wait: Send {
    /// Whether the request has its answer. Without a waker, it is not asked.
    fn is_over(&mut self, waker: Option<&Waker>) -> bool;
    fn finish(self: Box<Self>, py: Python<'_>, pending: &Pending) -> PyResult<Option<Py<PyAny>>>;
}

struct WaitFor<F: Future> {
    future: Pin<Box<F>>,
    answer: Option<F::Output>,
    finish: Finish<F::Output>,
}

impl<F: Future<Output: Send> + Send> Wait for WaitFor<F> {
    fn is_over(&mut self, waker: Option<&Waker>) -> bool {
        if let (None, Some(waker)) = (&self.answer, waker) {
            self.answer = signal::poll(&mut self.future, waker);
        }
        self.answer.is_some()
    }

    fn finish(self: Box<Self>, py: Python<'_>, pending: &Pending) -> PyResult<Option<Py<PyAny>>> {
        let finish = self.finish;
        let answer = self.answer;
        answer.map(|answer| finish(py, pending, answer)).transpose()
    }
}

/// Where the request of a wait is.
enum Place {
    Here(Box<dyn Wait>),
    /// A thread looks at it without the interpreter. In a child of fork that thread is missing.
    Away,
    /// The wait was closed or finished.
    Gone,
}

/// A request that waits. When the task has to look at it, its number is among those that the
/// [`Wakeups`](crate::wakeup::Wakeups) of the loop have woken, or its own descriptor is readable.
///
/// Dropping it gives up the place in the queue, and releases what was acquired.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Pending {
    token: Token,
    /// What is to be acquired, and for which task. Here, and not in the request, where the
    /// collector would not see them.
    object: Option<Py<PyAny>>,
    task: Option<Py<Task>>,
    /// The caller's token, and the number of this wait.
    cancel: Option<(Py<CancelToken>, u64)>,
    signal: Signal,
    /// The mutex is locked only together with the interpreter.
    place: Mutex<Place>,
    generation: u32,
}

impl Pending {
    /// A wait that has a pipe of its own.
    #[cfg(feature = "engines")]
    pub(crate) fn alone<F: Future<Output: Send> + Send + 'static>(
        token: Token,
        cancel: Option<Bound<'_, CancelToken>>,
        future: F,
        finish: impl FnOnce(Python<'_>, &Pending, F::Output) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> std::io::Result<Pending> {
        let signal = Signal::new(None)?;
        Ok(Pending::new(token, signal, cancel, future, finish))
    }

    /// `future` is the request, which `token` ends. `finish` keeps what was acquired.
    pub(crate) fn new<F: Future<Output: Send> + Send + 'static>(
        token: Token,
        signal: Signal,
        cancel: Option<Bound<'_, CancelToken>>,
        future: F,
        finish: impl FnOnce(Python<'_>, &Pending, F::Output) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Pending {
        let cancel = cancel.map(|cancel| {
            let number = cancel.get().add(&Alert::of(&signal, Some(&token)));
            (cancel.unbind(), number)
        });
        Pending {
            token,
            object: None,
            task: None,
            cancel,
            signal,
            place: Mutex::new(Place::Here(Box::new(WaitFor {
                future: Box::pin(future),
                answer: None,
                finish: Box::new(finish),
            }))),
            generation: fork::generation(),
        }
    }

    /// The same, for an object and perhaps a task, which `finish` gets from it.
    pub(crate) fn of<T>(mut self, object: &Bound<'_, T>, task: Option<Bound<'_, Task>>) -> Pending {
        self.object = Some(object.clone().into_any().unbind());
        self.task = task.map(Bound::unbind);
        self
    }

    /// What is to be acquired.
    pub(crate) fn object<'py, T: PyTypeCheck>(&self, py: Python<'py>) -> PyResult<Bound<'py, T>> {
        let object = self.object.as_ref().map(|object| object.bind(py).clone());
        let object = object.unwrap_or_else(|| py.None().into_bound(py));
        Ok(object.cast_into::<T>()?)
    }

    /// The task, or else the thread.
    pub(crate) fn requester(&self) -> Requester<'_> {
        let task = self.task.as_ref();
        task.map_or(Requester::Thread, |task| Requester::Task(task.get()))
    }

    pub(crate) fn task<'py>(&self, py: Python<'py>) -> Option<&Bound<'py, Task>> {
        self.task.as_ref().map(|task| task.bind(py))
    }

    /// Whether the caller has cancelled it.
    pub(crate) fn is_cancelled(&self) -> bool {
        let cancel = self.cancel.as_ref();
        cancel.is_some_and(|(cancel, _)| cancel.get().is_cancelled())
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the request if it is here, and leaves this in its place.
    fn take(&self, left: Place) -> Option<Box<dyn Wait>> {
        let mut place = self.place();
        match std::mem::replace(&mut *place, left) {
            Place::Here(wait) => Some(wait),
            other => {
                *place = other;
                None
            }
        }
    }

    fn end(&self) {
        let place = std::mem::replace(&mut *self.place(), Place::Gone);
        if self.generation != fork::generation() {
            // The waiting thread is in the parent, which may have forked while the thread had a
            // mutex locked.
            std::mem::forget(place);
        } else if !matches!(place, Place::Gone) {
            // A thread of `in_thread.rs` would wait on.
            self.token.cancel();
        }
        if let Some((cancel, number)) = &self.cancel {
            cancel.get().forget(*number);
        }
        self.signal.close();
    }
}

#[pymethods]
impl Pending {
    /// For the collector: the object may refer to the task that waits.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.object)?;
        visit.call(&self.task)?;
        visit.call(self.cancel.as_ref().map(|(cancel, _)| cancel))
    }

    /// The wait's own descriptor; -1 after `close`, or if it uses the loop's.
    fn fileno(&self) -> i32 {
        self.signal.descriptor()
    }

    /// The number of this wait, for its loop.
    #[getter]
    fn number(&self) -> u64 {
        self.signal.number()
    }

    /// Whether the request is over. The request begins with the first call, which asks the name
    /// service for the user if it is a request to an engine: other threads run meanwhile.
    fn is_over(&self, py: Python<'_>) -> bool {
        let Some(mut wait) = self.take(Place::Away) else {
            return matches!(*self.place(), Place::Gone);
        };
        let waker = self.signal.waker();
        let is_over = py.detach(|| wait.is_over(waker.as_ref()));
        let mut place = self.place();
        if matches!(*place, Place::Away) {
            *place = Place::Here(wait);
        }
        is_over
    }

    /// Keeps what was acquired, or raises the error of the request. None: it is not over.
    fn finish(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.take(Place::Gone)
            .map_or(Ok(None), |wait| wait.finish(py, self))
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
