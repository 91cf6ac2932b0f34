//! How long a request waits.

use std::time::Duration;

use fastrand::Rng;
use holdlock::{CancelToken, Request};

/// What may end a request before it gets the lock.
pub(super) enum Limit {
    Try,
    Time(Duration),
    /// Another thread may cancel it.
    Token(CancelToken),
    Nothing,
}

impl Limit {
    pub(super) fn choose(random: &mut Rng) -> Limit {
        match random.u32(..16) {
            0 | 1 => Limit::Try,
            2 | 3 => Limit::Time(Duration::from_micros(random.u64(1..2000))),
            4 => Limit::Time(Duration::from_secs(60)),
            5 => Limit::Token(CancelToken::new()),
            _ => Limit::Nothing,
        }
    }

    pub(super) fn apply(&self, request: Request) -> Request {
        match self {
            Limit::Try => request.try_once(),
            Limit::Time(time) => request.timeout(*time),
            Limit::Token(token) => request.cancel(token),
            Limit::Nothing => request,
        }
    }

    /// The time limit in nanoseconds.
    pub(super) fn nanos(&self) -> Option<u64> {
        match self {
            Limit::Time(time) => Some(time.as_nanos() as u64),
            _ => None,
        }
    }
}
