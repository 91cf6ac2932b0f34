//! Requests that end at random moments.

use std::time::Duration;

use holdlock::{CancelToken, Request};
use holdlock_engines::{EngineLock, Error};

use super::futures::poll_for;
use super::random;

/// Threads make requests; deadlines, tokens and dropped futures end most of them.
pub(crate) fn at_random_moments(lock: &EngineLock) {
    let churn = |seed: u64| {
        let (lock, mut state) = (lock.clone(), seed);
        std::thread::spawn(move || {
            for _ in 0..25 {
                let limit = Duration::from_micros(random(&mut state) % 30_000);
                let token = CancelToken::new();
                let request = match random(&mut state) % 2 {
                    0 => Request::exclusive(),
                    _ => Request::shared(),
                };
                let result = match random(&mut state) % 3 {
                    0 => lock.acquire(request.timeout(limit)),
                    1 => std::thread::scope(|scope| {
                        scope.spawn(|| {
                            std::thread::sleep(limit);
                            token.cancel();
                        });
                        lock.acquire(request.cancel(&token))
                    }),
                    _ => match poll_for(lock.acquire_async(request), limit) {
                        Some(result) => result,
                        None => continue,
                    },
                };
                match result {
                    Ok(guard) => {
                        std::thread::sleep(Duration::from_millis(random(&mut state) % 5));
                        guard.release().expect("ours");
                    }
                    Err(
                        Error::TimedOut(_) | Error::Cancelled { .. } | Error::Unreachable { .. },
                    ) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        })
    };
    let threads: Vec<_> = (0..6).map(churn).collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
}
