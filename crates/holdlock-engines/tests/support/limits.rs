//! Requests with a time limit that is long enough to reach the engine.

use std::time::Duration;

use holdlock::Request;
use holdlock_engines::{EngineGuard, EngineLock, Error};

/// The error of a request that gives up, and its limit. The engine has to be reached within the
/// limit: on a slow machine the request is made again with a longer one.
pub(crate) fn given_up(lock: &EngineLock, request: impl Fn() -> Request) -> (Duration, Error) {
    in_time(|limit| lock.acquire(request().timeout(limit)))
}

/// The same for a request that is made in another way.
pub(crate) fn in_time(
    request: impl Fn(Duration) -> Result<EngineGuard, Error>,
) -> (Duration, Error) {
    let mut limit = Duration::from_millis(300);
    loop {
        match request(limit).expect_err("held") {
            Error::Unreachable { .. } if limit < Duration::from_secs(60) => limit *= 4,
            error => return (limit, error),
        }
    }
}
