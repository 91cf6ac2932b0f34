//! A request of the library.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use holdlock::{Error, FileLock, Guard, Request};

use super::limit::Limit;
use super::{Taker, acts, convert};
use crate::torture::board::{Doing, Outcome, now};
use crate::torture::finding::Kind;
use crate::torture::mark::Inside;
use crate::torture::mode::Mode;

pub(super) fn round(taker: &mut Taker, mode: Mode) {
    let inside = taker.inside(mode);
    let limit = Limit::choose(&mut taker.random);
    let Some(lock) = taker.lock(mode) else {
        return;
    };
    let Some(guard) = ask(taker, &lock, mode, inside, &limit) else {
        return;
    };
    let section = taker.me.enter(mode, inside);
    taker.linger();
    let guard = acts::with_children(taker, mode, guard);
    let converts = mode.converts() && taker.random.u32(..8) == 0;
    match (converts, inside) {
        (true, Inside::Exclusive) => convert::to_shared(taker, mode, section, guard),
        (true, _) => convert::to_exclusive(taker, mode, section, guard),
        (false, _) => {
            section.leave();
            if mode == Mode::Removal {
                acts::meddle(taker, mode);
            }
            release(taker, mode, guard);
        }
    }
}

/// Asks for the lock. None: the request ended without it.
pub(super) fn ask<'l>(
    taker: &mut Taker,
    lock: &'l FileLock,
    mode: Mode,
    inside: Inside,
    limit: &Limit,
) -> Option<Guard<'l>> {
    let request = match inside {
        Inside::Shared => Request::shared(),
        _ => Request::exclusive(),
    };
    ask_by(taker, mode, inside, limit, |limit| {
        lock.acquire(limit.apply(request))
    })
}

/// The same by any request.
pub(super) fn ask_by<G>(
    taker: &mut Taker,
    mode: Mode,
    inside: Inside,
    limit: &Limit,
    request: impl FnOnce(&Limit) -> Result<G, Error>,
) -> Option<G> {
    taker.me.ask(inside, mode, limit.nanos());
    let stopped = taker.me.board.stopped_until_now();
    match limited(taker, limit, request) {
        Ok(guard) => Some(guard),
        Err(error) => {
            ended(taker, mode, limit, stopped, &error);
            None
        }
    }
}

/// Makes a request that another thread can cancel if it has a token.
pub(super) fn limited<T>(taker: &Taker, limit: &Limit, request: impl FnOnce(&Limit) -> T) -> T {
    let Limit::Token(token) = limit else {
        return request(limit);
    };
    let place = || {
        taker
            .cancelling
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    };
    *place() = Some(token.clone());
    let answer = request(limit);
    *place() = None;
    answer
}

/// An earlier refusal only declines to wait longer, and is no false alarm.
const GRACE: Duration = Duration::from_millis(900);

/// A request ended without the lock: was it right to? `stopped` is for how long processes were
/// stopped when it began.
pub(super) fn ended(taker: &Taker, mode: Mode, limit: &Limit, stopped: u64, error: &Error) {
    let me = &taker.me;
    let waited = Duration::from_nanos(now() - me.asked());
    let wrong = match (error, limit) {
        (Error::WouldBlock(_), Limit::Try) => None,
        (Error::TimedOut(_), Limit::Time(time)) if waited < *time => Some(Kind::Early),
        (Error::TimedOut(_), Limit::Time(_)) => None,
        (Error::Cancelled { .. }, Limit::Token(token)) if token.is_cancelled() => None,
        // Nobody removes the file and keeps the lock, except for a process that is stopped.
        (Error::RemovedWhileHeld(_), _) => {
            let stopped = Duration::from_nanos(me.board.stopped_until_now() - stopped);
            let is_alarm = waited.saturating_sub(stopped) >= GRACE;
            (is_alarm && !is_being_released(taker, mode)).then_some(Kind::Failed)
        }
        _ => Some(Kind::Failed),
    };
    let text = || format!("after {} µs: {error}", waited.as_micros());
    match wrong {
        Some(Kind::Failed) => taker.failed(mode, text(), error.raw_os_error()),
        Some(kind) => me.find(kind, mode, None, text()),
        None => {}
    }
    me.ends(
        mode,
        match error {
            Error::TimedOut(_) => Outcome::TimedOut,
            Error::Cancelled { .. } => Outcome::Cancelled,
            _ => Outcome::Refused,
        },
    );
}

/// Whether a participant is between its section and the end of its release.
fn is_being_released(taker: &Taker, mode: Mode) -> bool {
    let participants = taker.me.board.participants.iter();
    let mut doing = participants.map(|other| Doing::of(other.doing_now()));
    doing.any(|doing| doing == (Doing::Releasing, Some(mode)))
}

pub(super) fn release(taker: &mut Taker, mode: Mode, guard: Guard<'_>) {
    released(taker, mode, guard.release());
}

/// A release has ended.
pub(super) fn released(taker: &mut Taker, mode: Mode, result: Result<(), Error>) {
    if let Err(error) = result {
        let text = format!("releasing: {error}");
        taker.failed(mode, text, error.raw_os_error());
    }
    taker.me.released(mode);
}

/// Sleeps until the run is over, as a request would that is never woken.
pub(super) fn sleep_for_ever() -> ! {
    let begin = Instant::now();
    loop {
        std::thread::park_timeout(Duration::from_secs(3600).saturating_sub(begin.elapsed()));
    }
}
