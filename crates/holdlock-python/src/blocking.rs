//! The wait of a thread for a slot, for a set of locks or at a token gate: without the
//! interpreter's lock.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use holdlock::{CancelToken as Token, Error, Request, Waiting};
use pyo3::prelude::*;

use crate::cancel::{Alert, CancelToken};
use crate::error::{self, Failure};
use crate::unseen::Acquired;

/// What the library calls while it waits.
pub(crate) type Callback<'w> = &'w mut (dyn FnMut(Waiting) -> ControlFlow<()> + Send);

/// What ends a wait.
pub(crate) struct Limits<'py> {
    /// None: no limit.
    deadline: Option<Instant>,
    may_wait: bool,
    pub(crate) cancel: Option<Bound<'py, CancelToken>>,
}

impl<'py> Limits<'py> {
    /// At most `seconds` from now on; negative: without a limit; 0: without a wait.
    pub(crate) fn new(seconds: f64, cancel: Option<Bound<'py, CancelToken>>) -> Limits<'py> {
        // What a Duration or the clock cannot represent is without a limit, too.
        let limit = Duration::try_from_secs_f64(seconds).ok();
        Limits {
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
            may_wait: seconds != 0.0,
            cancel,
        }
    }

    pub(crate) fn may_wait(&self) -> bool {
        self.may_wait
    }

    /// Whether the caller has cancelled the request.
    pub(crate) fn is_cancelled(&self) -> bool {
        let cancel = self.cancel.as_ref();
        cancel.is_some_and(|cancel| cancel.get().is_cancelled())
    }

    /// The request with these limits.
    pub(crate) fn of<W: holdlock::OnWait>(&self, request: Request<W>) -> Request<W> {
        match self.deadline {
            _ if !self.may_wait => request.try_once(),
            Some(deadline) => request.deadline(deadline),
            None => request,
        }
    }
}

/// The limit of a request in seconds: the arguments `timeout` and `blocking`. None: the default.
pub(crate) fn seconds(
    py: Python<'_>,
    timeout: Option<&Bound<'_, PyAny>>,
    blocking: Option<&Bound<'_, PyAny>>,
) -> PyResult<f64> {
    let options = py.import("holdlock._options")?;
    let may_wait = match blocking {
        Some(blocking) => options.call_method1("blocking", (blocking,))?.extract()?,
        None => true,
    };
    match timeout {
        Some(timeout) => {
            let limit = options.call_method1("limit", (timeout, may_wait))?;
            limit.extract()
        }
        None => Ok(if may_wait { -1.0 } else { 0.0 }),
    }
}

/// The limit of a `with` statement in seconds, from the settings of its object.
pub(crate) fn own_seconds((timeout, blocking): (f64, bool)) -> PyResult<f64> {
    if blocking && timeout.is_nan() {
        return Err(error::nan());
    }
    Ok(if blocking { timeout } else { 0.0 })
}

/// The module for greenlets, if the program uses them as threads: their waits run Python code.
pub(crate) fn greenlets(py: Python<'_>) -> PyResult<Option<Bound<'_, PyModule>>> {
    let used = py.import("holdlock._meta")?.getattr("_adapted")?;
    used.is_truthy()?
        .then(|| py.import("holdlock._greenlets"))
        .transpose()
}

/// The callback of a wait: lets Python's handlers of signals run. An exception that one of them
/// raises ends the wait.
pub(crate) fn run_handlers(event: Waiting, raised: &mut Option<PyErr>) -> ControlFlow<()> {
    // A signal may have come before the sleep begins, which it would not end.
    if !matches!(event, Waiting::Began | Waiting::Interrupted) {
        return ControlFlow::Continue(());
    }
    match Python::try_attach(|py| py.check_signals()) {
        Some(Ok(())) => ControlFlow::Continue(()),
        Some(Err(error)) => {
            *raised = Some(error);
            ControlFlow::Break(())
        }
        // Python has ended, and this is a daemon thread that has outlived it.
        None => ControlFlow::Break(()),
    }
}

/// Makes a request for the calling thread. `token` ends the wait; None: only the caller's token
/// does. `stays_in_thread` promises that this thread also releases. Python's handlers of signals
/// run during the wait, and the exceptions that they raise end it.
pub(crate) fn make<T: Acquired + Send>(
    py: Python<'_>,
    limits: &Limits<'_>,
    token: Option<&Token>,
    stays_in_thread: bool,
    take: impl FnOnce(Request<Callback<'_>>) -> Result<T, Error> + Send,
) -> Result<T, Failure> {
    py.check_signals()?;
    let is_cancellable = token.is_some() || limits.cancel.is_some();
    let token = token.cloned().unwrap_or_default();
    let cancel = limits.cancel.as_ref().map(Bound::get);
    let number = cancel.map(|cancel| cancel.add(&Alert::Token(token.clone())));
    let notice_deadlocks = limits.deadline.is_none() && limits.cancel.is_none();
    let request = limits.of(Request::exclusive());
    let mut raised = None;
    let taken = py.detach(|| {
        let mut on_wait = |event| run_handlers(event, &mut raised);
        let mut request = request
            .on_wait(&mut on_wait as Callback<'_>)
            .notice_deadlocks(notice_deadlocks);
        if stays_in_thread {
            request = request.stays_in_thread();
        }
        if is_cancellable {
            // A token ends a wait by a signal, and few waits need a token.
            request = request.cancel(&token);
        }
        take(request)
    });
    if let (Some(cancel), Some(number)) = (cancel, number) {
        cancel.forget(number);
    }
    let Some(raised) = raised else {
        return taken.map_err(Failure::from);
    };
    // It may have been acquired at the same time.
    if let Ok(taken) = taken {
        taken.release_unseen();
    }
    Err(raised.into())
}
