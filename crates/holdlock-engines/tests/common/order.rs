//! Waiters are served in their order, whatever happens to those before them.

use std::time::Duration;

use holdlock::{CancelToken, Mode, Request};
use holdlock_engines::{Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::support::actor::Actor;
use crate::support::limits::given_up;
use crate::support::order::{served, wait_for_waiters};
use crate::{name, server};

#[test]
fn waiters_are_served_in_the_order_of_their_arrival() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("order");
    let lock = open(&server.url(&name)).expect("a lock");
    let groups = served(&lock, &[Mode::Exclusive; 5]);
    assert_eq!(groups, [[0], [1], [2], [3], [4]]);
    server.nothing_left(&name);
}

#[test]
fn neither_readers_nor_writers_starve() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let (r, w) = (Mode::Shared, Mode::Exclusive);
    let lock = open(&server.url(&name("starve"))).expect("a lock");
    let groups = served(&lock, &[r, r, w, r, w, w, r]);
    assert_eq!(
        groups,
        [vec![0, 1], vec![2], vec![3], vec![4], vec![5], vec![6]]
    );
}

#[test]
fn a_waiter_that_is_killed_or_gives_up_leaves_no_gap() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("gap");
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let holder = lock.lock().expect("free");
    let waiter = |url: &str, number: usize| {
        let mut waiter = Actor::start(url);
        waiter.tell("lock");
        wait_for_waiters(&lock, number);
        waiter
    };
    let mut first = waiter(&url, 1);
    let killed = waiter(&server.brief(&name), 2);
    let token = CancelToken::new();
    std::thread::scope(|scope| {
        let gives_up = scope.spawn(|| lock.acquire(Request::exclusive().cancel(&token)));
        wait_for_waiters(&lock, 3);
        let mut last = waiter(&url, 4);
        killed.kill();
        token.cancel();
        let error = gives_up.join().expect("no panic").expect_err("cancelled");
        assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
        // An engine notices the death of a client that waits.
        wait_for_waiters(&lock, 2);
        // Nobody passes those who wait.
        assert!(lock.try_lock().is_err());
        holder.release().expect("ours");
        assert!(first.answer().starts_with("held"));
        let members = lock.members().expect("answers");
        assert_eq!(members.waiters.len(), 1);
        assert_eq!(first.ask("release"), "released");
        assert!(last.answer().starts_with("held"));
    });
}

#[test]
fn a_killed_holder_s_lock_goes_to_the_next_one() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("killed");
    let url = server.url(&name);
    let (mut holder, mut waiter) = (Actor::start(&server.brief(&name)), Actor::start(&url));
    let first = holder.ask("lock");
    waiter.tell("lock");
    wait_for_waiters(&open(&url).expect("a lock"), 1);
    holder.kill();
    let second = waiter.answer();
    let token = |said: &str| said["held ".len()..].parse::<u64>().expect("a token");
    assert!(token(&second) > token(&first));
}

#[test]
fn slots_are_given_in_order_and_no_more_than_there_are() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("slots");
    let of_three = |url: String| url.replace('?', "?slots=3&");
    let url = of_three(server.url(&name));
    let brief = of_three(server.brief(&name));
    let lock = open(&url).expect("a lock");
    // The first one is killed.
    let mut holders = Vec::from([&brief, &url, &url].map(|url| Actor::start(url)));
    for holder in &mut holders {
        assert!(holder.ask("try").starts_with("held"));
    }
    let error = lock.try_lock().expect_err("no slot");
    assert_eq!(error.conflict().expect("a conflict").holders.len(), 3);
    // Nor does one that waits get one.
    let (_, error) = given_up(&lock, Request::exclusive);
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    assert!(lock.lock_shared().is_err());
    let mut waiters: Vec<Actor> = (1..=3)
        .map(|number| {
            let mut waiter = Actor::start(&url);
            waiter.tell("lock");
            wait_for_waiters(&lock, number);
            waiter
        })
        .collect();
    // By a release, and by a death.
    assert_eq!(holders[1].ask("release"), "released");
    assert!(waiters[0].answer().starts_with("held"));
    wait_for_waiters(&lock, 2);
    holders.remove(0).kill();
    assert!(waiters[1].answer().starts_with("held"));
    wait_for_waiters(&lock, 1);
    assert_eq!(lock.members().expect("answers").holders.len(), 3);
    assert_eq!(waiters[0].ask("release"), "released");
    assert!(waiters[2].answer().starts_with("held"));
    assert!(lock.try_lock().is_err());
    assert_eq!(waiters[1].ask("release"), "released");
    lock.try_lock().expect("a slot").release().expect("ours");
}

#[test]
fn a_lock_that_is_free_is_acquired_at_once_also_with_a_short_limit() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let lock = open(&server.url(&name("short"))).expect("a lock");
    for _ in 0..5 {
        let guard = lock.try_lock_for(Duration::ZERO).expect("free");
        guard.release().expect("ours");
    }
}
