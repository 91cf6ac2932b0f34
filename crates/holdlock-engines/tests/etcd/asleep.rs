//! A waiter sleeps; what it needs to know, it hears. Its renewals cost little, and tell it what it
//! did not hear.

use holdlock::Request;
use holdlock_engines::open;
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};

use crate::relay::Relay;
use crate::support::limits::given_up;
use crate::support::order::wait_for_waiters;
use crate::support::unfinished::{End, Unfinished};
use crate::{name, server};

#[test]
fn a_waiter_asks_nothing_until_the_one_before_it_leaves() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    // No renewal is due.
    let name = name("asleep");
    let far = "ttl=600";
    let lock = open(&cluster.with(far, &name)).expect("a lock");
    let holder = lock.lock().expect("free");
    let relay = Relay::start(cluster.port());
    let waiting = open(&cluster.url_by(&[relay.port()], far, &name)).expect("a lock");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| waiting.lock());
        wait_for_waiters(&lock, 1);
        // Others come and go behind it: time for many looks.
        let pass = || {
            let (_, error) = given_up(&lock, Request::exclusive);
            assert!(error.is_conflict(), "{error}");
        };
        eventually("it watches", || relay.watches() > 0);
        eventually("it has asked for all it needs", || {
            let before = relay.bytes();
            pass();
            relay.bytes() == before
        });
        let before = relay.bytes();
        pass();
        pass();
        pass();
        assert_eq!(relay.bytes(), before);
        holder.release().expect("ours");
        let guard = waiter.join().expect("no panic").expect("its turn");
        guard.release().expect("ours");
    });
    cluster.nothing_left(&name);
}

#[test]
fn a_renewal_of_a_waiter_does_not_read_the_queue() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("renews");
    let lock = open(&cluster.url(&name)).expect("a lock");
    let holder = lock.lock().expect("free");
    // Two networks that only count.
    let whole = End {
        length: 0,
        instead: b"",
    };
    let looks = Unfinished::start(cluster.port(), "max_create_revision", whole);
    let renewals = Unfinished::start(looks.port(), "POST /v3/lease/keepalive ", whole);
    let waiting = open(&cluster.brief_at(renewals.port(), &name)).expect("a lock");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| waiting.lock());
        wait_for_waiters(&lock, 1);
        // A slow machine may need some time for the watch.
        eventually("two renewals without a look", || {
            let (renewed, looked) = (renewals.requests(), looks.requests());
            eventually("two renewals", || renewals.requests() >= renewed + 2);
            looks.requests() == looked
        });
        holder.release().expect("ours");
        let guard = waiter.join().expect("no panic").expect("its turn");
        guard.release().expect("ours");
    });
    cluster.nothing_left(&name);
}

#[test]
fn a_waiter_whose_watch_is_silent_goes_on_at_its_next_renewal() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("silent");
    let lock = open(&cluster.url(&name)).expect("a lock");
    let holder = lock.lock().expect("free");
    let relay = Relay::start(cluster.port());
    let waiting = open(&cluster.brief_at(relay.port(), &name)).expect("a lock");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| waiting.lock());
        eventually("it watches", || relay.watches() > 0);
        relay.mute_watches();
        holder.release().expect("ours");
        let guard = waiter.join().expect("no panic").expect("its turn");
        guard.release().expect("ours");
    });
    cluster.nothing_left(&name);
}
