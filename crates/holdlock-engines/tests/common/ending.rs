//! A request can end at every moment, and leaves nothing behind.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Request};
use holdlock_engines::{Error, open};
use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::support::ending::at_random_moments;
use crate::support::futures::block_on;
use crate::support::limits::in_time;
use crate::{name, server};

#[test]
fn cancels_and_deadlines_at_random_moments_leave_nothing_behind() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("random-end");
    let lock = open(&server.url(&name)).expect("a lock");
    at_random_moments(&lock);
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
    // Here the limit for a connection is a minute, else five seconds.
    let patient = server.url_by(&[proxy.port()], "ttl=60&connect_timeout=60", &name);
    let patient = open(&patient).expect("a lock");
    let began = Instant::now();
    let error = patient
        .try_lock_for(Duration::from_millis(200))
        .expect_err("no answer");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    let lock = open(&server.url_at(proxy.port(), &name)).expect("a lock");
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
    let (_, error) = in_time(|limit| block_on(lock.lock_async().timeout(limit)));
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    let mut wait = Box::pin(lock.lock_shared_async());
    let mut context = Context::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut context).is_pending());
    drop(wait);
    block_on(guard.release_async()).expect("ours");
    server.nothing_left(&name);
}

#[test]
fn a_release_that_is_dropped_waits_for_no_server() {
    let _dog = watchdog::watch(120);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("dropped");
    let proxy = Proxy::start(server.port());
    let lock = open(&server.brief_at(proxy.port(), &name)).expect("a lock");
    // A slow machine may be late once.
    let dropped_at_once = |polled: bool| {
        (0..3).any(|_| {
            let guard = lock.try_lock_for(Duration::from_secs(30)).expect("free");
            proxy.fault(Fault::Silence);
            let mut release = Box::pin(guard.release_async());
            if polled {
                let mut context = Context::from_waker(Waker::noop());
                assert!(release.as_mut().poll(&mut context).is_pending());
            }
            let began = Instant::now();
            drop(release);
            let took = began.elapsed();
            proxy.fault(Fault::None);
            took < Duration::from_millis(500)
        })
    };
    assert!(dropped_at_once(true) && dropped_at_once(false));
}
