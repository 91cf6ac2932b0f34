//! A request that ends, and a holder that releases, leave at once and not when the lease ends.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use holdlock::{CancelToken, Mode, Request};
use holdlock_engines::{Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};

use crate::support::limits::given_up;
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
    let lock = open(&cluster.with("ttl=600", &name)).expect("a lock");
    let holder = lock.lock().expect("free");
    let alone = || {
        eventually("only the holder is left", || cluster.keys(&name).len() == 1);
    };

    let (_, error) = given_up(&lock, Request::exclusive);
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
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
    let url = cluster.with("ttl=100", &name("rest"));
    let lock = open(&url).expect("a lock");
    let _guard = lock.lock().expect("free");
    let rest = lock.members().expect("answers").holders[0].rest;
    let rest = rest.expect("a lease");
    assert!(rest > Duration::from_secs(20) && rest <= Duration::from_secs(100));
}

#[test]
fn a_waiter_goes_on_as_soon_as_the_last_one_before_it_leaves() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    // By itself, a waiter looks at the queue when it renews its lease: after 200 seconds.
    let url = cluster.with("ttl=600", &name("goes-on"));
    let lock = open(&url).expect("a lock");
    let leaves = CancelToken::new();
    let waits = |mode, cancel: Option<&CancelToken>| {
        let mut request = Request::new(mode).timeout(Duration::from_secs(100));
        if let Some(token) = cancel {
            request = request.cancel(token);
        }
        lock.acquire(request).map(drop)
    };
    for mode in [Mode::Shared, Mode::Exclusive] {
        let holder = lock.lock().expect("free");
        std::thread::scope(|scope| {
            let next = scope.spawn(|| waits(Mode::Exclusive, None));
            wait_for_waiters(&lock, 1);
            let gives_up = scope.spawn(|| waits(Mode::Exclusive, Some(&leaves)));
            wait_for_waiters(&lock, 2);
            let last = scope.spawn(|| waits(mode, None));
            wait_for_waiters(&lock, 3);
            // From now on two are before the last one: the holder, and the next one.
            if mode == Mode::Exclusive {
                leaves.cancel();
                let error = gives_up.join().expect("no panic");
                assert!(matches!(error, Err(Error::Cancelled { .. })), "{error:?}");
                wait_for_waiters(&lock, 2);
            }
            holder.release().expect("ours");
            next.join().expect("no panic").expect("its turn");
            last.join().expect("no panic").expect("its turn");
        });
    }
    cluster.nothing_left(&name("goes-on"));
}
