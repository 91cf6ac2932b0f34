//! A request can end at every moment, and leaves nothing behind.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Request};
use holdlock_engines::{Error, open};
use holdlock_test_support::watchdog;

use crate::support::actor::Actor;
use crate::support::ending::at_random_moments;
use crate::support::futures::block_on;
use crate::support::proxy::{Fault, Proxy};
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
fn a_program_that_ends_right_after_its_request_leaves_nothing_behind() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    // So long that a place which is left behind is seen.
    let url = server.url(&name("ends")).replace("ttl=3", "ttl=60");
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    for _ in 0..10 {
        let mut actor = Actor::start(&url);
        actor.tell("last 300");
        assert!(actor.answer().starts_with("TimedOut"));
        actor.wait();
        assert!(lock.members().expect("answers").waiters.is_empty());
    }
    guard.release().expect("ours");
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
fn a_wait_ends_in_time_although_the_server_has_become_silent() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("mute");
    let proxy = Proxy::start(server.port());
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    let lock = open(&server.url_at(proxy.port(), &name)).expect("a lock");
    let began = Instant::now();
    let waiter = std::thread::spawn(move || lock.try_lock_for(Duration::from_secs(2)));
    let lock = open(&server.url(&name)).expect("a lock");
    crate::support::order::wait_for_waiters(&lock, 1);
    proxy.fault(Fault::Silence);
    let error = waiter.join().expect("no panic").expect_err("held");
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    guard.release().expect("ours");
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
