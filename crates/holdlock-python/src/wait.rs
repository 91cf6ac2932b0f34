//! The wait of a thread: in the kernel's queue, and without the interpreter's lock.

use std::time::{Duration, Instant};

use holdlock::{Error, FileLock, Mode, OwnedGuard, Request};
use pyo3::prelude::*;

use crate::blocking::run_handlers;
use crate::cancel::{Alert, CancelToken};
use crate::error::Failure;
use crate::hold::Threads;
use crate::shared::Shared;
use crate::unseen::Acquired;

/// The limit of a wait, and what else may end it.
pub(crate) struct Terms<'py> {
    pub(crate) mode: Mode,
    /// For the record.
    pub(crate) note: Option<String>,
    /// None: without a limit.
    pub(crate) limit: Option<Duration>,
    pub(crate) cancel: Option<Bound<'py, CancelToken>>,
    /// Called every `poll_interval`; True ends the wait.
    pub(crate) cancel_check: Option<Bound<'py, PyAny>>,
    pub(crate) poll_interval: Duration,
    /// Whether to end the wait with Deadlock if it is part of one.
    pub(crate) notice_deadlocks: bool,
}

/// A `cancel_check` is not called more often than this, whatever `poll_interval` is.
const SHORTEST: Duration = Duration::from_millis(1);

const OTHER_OBJECT: &str = "this thread, by another lock object or an upgradeable guard";

/// The end of one stay in the queue.
enum Stay {
    Taken(OwnedGuard),
    /// Another thread has acquired the lock, which this one may join; or it is time to call
    /// `cancel_check`.
    LookAgain,
    Over(Failure),
}

/// Waits until this thread has the lock, or the request ends. False: it has joined a holder.
pub(crate) fn wait(
    py: Python<'_>,
    shared: &Shared,
    lock: &FileLock,
    terms: &Terms<'_>,
) -> Result<bool, Failure> {
    let began = Instant::now();
    let deadline = terms.limit.and_then(|limit| began.checked_add(limit));
    loop {
        // A signal that arrived before the wait does not end the wait.
        py.check_signals()?;
        let token = holdlock::CancelToken::new();
        if shared.begin_wait(terms.mode, &token)? {
            return Ok(false);
        }
        let number = terms
            .cancel
            .as_ref()
            .map(|cancel| cancel.get().add(&Alert::Token(token.clone())));
        let stay = stay(py, shared, lock, terms, deadline, &token);
        if let (Some(cancel), Some(number)) = (&terms.cancel, number) {
            cancel.get().forget(number);
        }
        match stay {
            Stay::Taken(guard) => {
                shared.end_wait(Some((guard, terms.mode)));
                return Ok(true);
            }
            Stay::LookAgain => shared.end_wait(None),
            Stay::Over(failure) => {
                shared.end_wait(None);
                return Err(failure);
            }
        }
    }
}

fn stay(
    py: Python<'_>,
    shared: &Shared,
    lock: &FileLock,
    terms: &Terms<'_>,
    deadline: Option<Instant>,
    token: &holdlock::CancelToken,
) -> Stay {
    let until = match &terms.cancel_check {
        None => deadline,
        Some(_) => {
            let look = Instant::now() + terms.poll_interval.max(SHORTEST);
            Some(deadline.map_or(look, |deadline| deadline.min(look)))
        }
    };
    let together = shared.threads == Threads::Together;
    // A token ends a wait by a signal, and few waits need a token.
    let cancellable = terms.cancel.is_some() || together;
    let (mode, note) = (terms.mode, terms.note.as_deref());
    let notice_deadlocks = terms.notice_deadlocks;
    let mut raised = None;
    let taken = py.detach(|| {
        let mut on_wait = |event| run_handlers(event, &mut raised);
        let mut request = Request::new(mode)
            .on_wait(&mut on_wait)
            // The callback and the token do not end a wait that would otherwise never end, unless
            // the token is the caller's.
            .notice_deadlocks(notice_deadlocks);
        if !together {
            request = request.stays_in_thread();
        }
        if let Some(note) = note {
            request = request.note(note);
        }
        if let Some(until) = until {
            request = request.deadline(until);
        }
        if cancellable {
            request = request.cancel(token);
        }
        lock.acquire_owned(request)
    });
    if let Some(raised) = raised {
        // It may have been acquired at the same time.
        if let Ok(guard) = taken {
            guard.release_unseen();
        }
        return Stay::Over(raised.into());
    }
    match taken {
        Ok(guard) => Stay::Taken(guard),
        Err(error) => failed(py, error, terms, deadline),
    }
}

fn failed(py: Python<'_>, error: Error, terms: &Terms<'_>, deadline: Option<Instant>) -> Stay {
    let over = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= Instant::now());
    match error {
        Error::Cancelled { .. } => match &terms.cancel {
            Some(cancel) if cancel.get().is_cancelled() => Stay::Over(Failure::Cancelled),
            _ => Stay::LookAgain,
        },
        Error::TimedOut(_) | Error::WouldBlock(_) => match asked_to_end(terms) {
            Err(error) => Stay::Over(error.into()),
            Ok(true) => Stay::Over(Failure::Cancelled),
            Ok(false) if over(deadline) => Stay::Over(error.into()),
            Ok(false) => Stay::LookAgain,
        },
        // This thread holds the lock by another object, so that only a signal handler could release
        // it meanwhile.
        Error::Deadlock { cycle: None, .. } if deadline.is_some() => {
            match sleep(py, terms, deadline) {
                Err(failure) => Stay::Over(failure),
                Ok(()) => Stay::Over(Failure::HeldHere(OTHER_OBJECT)),
            }
        }
        error => Stay::Over(error.into()),
    }
}

fn asked_to_end(terms: &Terms<'_>) -> PyResult<bool> {
    match &terms.cancel_check {
        Some(check) => check.call0()?.is_truthy(),
        None => Ok(false),
    }
}

/// Sleeps until the deadline, or until the request is cancelled.
fn sleep(py: Python<'_>, terms: &Terms<'_>, deadline: Option<Instant>) -> Result<(), Failure> {
    let sleep = py.import("time")?.getattr("sleep")?;
    while let Some(left) = deadline.and_then(|at| at.checked_duration_since(Instant::now())) {
        if left.is_zero() {
            break;
        }
        if terms
            .cancel
            .as_ref()
            .is_some_and(|cancel| cancel.get().is_cancelled())
            || asked_to_end(terms)?
        {
            return Err(Failure::Cancelled);
        }
        let watched = terms.cancel.is_some() || terms.cancel_check.is_some();
        let slice = if watched {
            left.min(terms.poll_interval.max(SHORTEST))
        } else {
            left
        };
        sleep.call1((slice.as_secs_f64(),))?;
    }
    Ok(())
}
