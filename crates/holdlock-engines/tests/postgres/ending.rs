//! A request can end at every moment, and leaves nothing behind.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Request};
use holdlock_engines::{Error, open};
use holdlock_test_support::watchdog;

use crate::proxy::{Fault, Proxy};
use crate::{name, server};

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

/// Polls a future in this thread, which has no runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Polls a future for this long, and drops it.
fn poll_for<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    let (mut future, began) = (Box::pin(future), Instant::now());
    let mut context = Context::from_waker(Waker::noop());
    while began.elapsed() < limit {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    None
}

/// Numbers that are the same in each run.
fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn cancels_and_deadlines_at_random_moments_leave_nothing_behind() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("random-end");
    let lock = open(&server.url(&name)).expect("a lock");
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
    server.nothing_left(&name);
    lock.try_lock().expect("free").release().expect("ours");
}

#[test]
fn a_silent_server_ends_no_request_late() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("silent");
    let proxy = Proxy::start(server.port());
    proxy.fault(Fault::Silence);
    let lock = open(&server.url_at(proxy.port(), &name)).expect("a lock");
    let began = Instant::now();
    let error = lock
        .try_lock_for(Duration::from_millis(200))
        .expect_err("no answer");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    // The limit for a connection is five seconds.
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    let token = CancelToken::new();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.acquire(Request::exclusive().cancel(&token)));
        token.cancel();
        let error = waiter.join().expect("no panic").expect_err("cancelled");
        assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
    });
    let error = lock.try_lock().expect_err("no answer");
    assert!(
        error.to_string().contains("no answer within 5 s"),
        "{error}"
    );
}

#[test]
fn futures_need_no_runtime_and_withdraw_when_they_are_dropped() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("future");
    let lock = open(&server.url(&name)).expect("a lock");
    let guard = block_on(lock.lock_async()).expect("free");
    let error = block_on(lock.lock_async().timeout(Duration::from_millis(1000)));
    assert!(matches!(error, Err(Error::TimedOut(_))), "{error:?}");
    let mut wait = Box::pin(lock.lock_shared_async());
    let mut context = Context::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut context).is_pending());
    drop(wait);
    block_on(guard.release_async()).expect("ours");
    server.nothing_left(&name);
}

#[test]
fn questions_need_no_runtime_and_a_guard_can_be_released_without_waiting() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("questions");
    let proxy = Proxy::start(server.port());
    let lock = open(&server.url_at(proxy.port(), &name)).expect("a lock");
    let guard = lock.lock().expect("free");
    let members = block_on(lock.members_async()).expect("answers");
    assert_eq!(members.holders.len(), 1);
    let checked = guard.check_async();
    block_on(checked).expect("held");
    let checked = guard.check_async();
    // The server does not answer any more: waiting for it would take two seconds.
    proxy.fault(Fault::Silence);
    let began = Instant::now();
    guard.release_in_background();
    assert!(began.elapsed() < Duration::from_millis(500));
    drop(checked);
    proxy.fault(Fault::None);
    server.nothing_left(&name);
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    server.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdlock:{name}'"
    ));
    let lost = block_on(guard.check_async());
    assert!(matches!(lost, Err(Error::Lost { .. })), "{lost:?}");
}
