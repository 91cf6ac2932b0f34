//! `run --slots`: opening the semaphore, and acquiring a slot.

use std::ops::ControlFlow;
use std::time::Instant;

use holdlock::{CancelToken, LockOptions, OwnedSemaphoreGuard, Request, Waiting};

use super::deadlock;
use super::inherited;
use super::progress::Display;
use super::watch::{Subject, Watch, What};
use super::{Course, Patience, Settings};
use crate::exit::{DEADLOCK, Failure};
use crate::lockdir::{self, Names};
use crate::namesakes;

/// Acquires a slot, and has the wait watched if there is one. There is one LOCK.
pub(super) fn take(
    slots: u32,
    settings: &Settings,
    course: &mut Course,
) -> Result<OwnedSemaphoreGuard, Failure> {
    let name = &settings.locks[0];
    let mut options = LockOptions::new();
    if settings.names == Names::System {
        options = options.permissions(lockdir::MODE_FOR_ALL);
    }
    let location = lockdir::locate_among(name, settings.names)?;
    course.locks.push(location.path.clone());
    location.prepare()?;
    if !settings.quiet {
        namesakes::warn(name, &location);
    }
    let semaphore = options.open_semaphore(&location.path, slots)?;

    let began = Instant::now();
    let token = CancelToken::new();
    let mut watch = None;
    let mut on_wait = |what| {
        if what == Waiting::Began {
            inherited::let_go(semaphore.path());
            let subject = Subject {
                path: semaphore.path().to_owned(),
                name: name.clone(),
                what: What::Slot { of: slots },
                token: token.clone(),
            };
            watch = Some(Watch::start(subject, Display::new(settings, began)));
        }
        ControlFlow::Continue(())
    };
    let request = Request::exclusive()
        .cancel(&token)
        .on_wait(&mut on_wait)
        .stays_in_thread();
    let request = match settings.patience {
        Patience::Endless => request,
        Patience::For(limit) if !limit.is_zero() => request.timeout(limit),
        Patience::For(_) | Patience::None => request.try_once(),
    };
    let taken = semaphore.acquire_owned(request);
    course.waited = began.elapsed();
    let ancestor = watch.and_then(|watch: Watch| watch.end(taken.is_ok()));
    taken.map_err(|error| match (&error, ancestor) {
        (holdlock::Error::Cancelled { .. }, Some(ancestor)) => {
            course.outcome = "deadlock";
            Failure::new(DEADLOCK, deadlock::message(ancestor, error.path()))
        }
        _ => course.not_taken(&error, settings),
    })
}
