//! A request that ends, and a holder that releases, leave at once and not when the lease ends.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use holdlock::{CancelToken, Request};
use holdlock_engines::{Error, open};
use holdlock_test_support::{eventually, watchdog};

use crate::support::order::wait_for_waiters;
use crate::{name, server};

#[test]
fn a_place_is_given_back_however_the_wait_ends() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    // The leases outlive the test.
    let name = name("leaves");
    let lock = open(&cluster.url(&name).replace("ttl=3", "ttl=600")).expect("a lock");
    let holder = lock.lock().expect("free");
    let alone = || {
        eventually("only the holder is left", || cluster.keys(&name).len() == 1);
    };

    let error = lock.try_lock_for(Duration::from_millis(200));
    assert!(matches!(error, Err(Error::TimedOut(_))), "{error:?}");
    alone();

    let token = CancelToken::new();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock.acquire(Request::exclusive().cancel(&token)));
        wait_for_waiters(&lock, 1);
        token.cancel();
        let error = waiter.join().expect("no panic");
        assert!(matches!(error, Err(Error::Cancelled { .. })), "{error:?}");
    });
    alone();

    let mut future = Box::pin(lock.lock_shared_async());
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    wait_for_waiters(&lock, 1);
    drop(future);
    alone();

    drop(holder);
    cluster.nothing_left(&name);
}

#[test]
fn the_members_say_how_long_a_lease_lives() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let url = cluster.url(&name("rest")).replace("ttl=3", "ttl=100");
    let lock = open(&url).expect("a lock");
    let _guard = lock.lock().expect("free");
    let rest = lock.members().expect("answers").holders[0].rest;
    let rest = rest.expect("a lease");
    assert!(rest > Duration::from_secs(20) && rest <= Duration::from_secs(100));
}
