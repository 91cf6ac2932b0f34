//! A lock that is lost: the guard knows it before another process can have the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdlock_engines::{Error, open};
use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};
use rustix::process::Signal;

use crate::relay::Relay;
use crate::support::actor::Actor;
use crate::support::broken;
use crate::support::lost::{is_lost, wait_for_loss};
use crate::support::order::wait_for_waiters;
use crate::{name, server};

/// The time limit of a brief lease.
const TTL: Duration = Duration::from_secs(6);

#[test]
fn a_revoked_lease_and_a_deleted_key_are_noticed_at_once() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    // A long time limit: the renewals would notice it after twenty seconds.
    let name = name("revoked");
    let url = cluster.url(&name);
    let lock = open(&url).expect("a lock");
    for deleted in [false, true] {
        let guard = lock.lock().expect("free");
        let key = cluster.keys(&name).remove(0);
        let lease = &key[key.len() - 16..];
        let began = Instant::now();
        match deleted {
            false => cluster.ctl(&["lease", "revoke", lease]),
            true => cluster.ctl(&["del", &key]),
        };
        assert!(wait_for_loss(&guard).is_definite());
        assert!(began.elapsed() < Duration::from_secs(15));
        assert!(!guard.is_valid() && guard.deadline().has_passed());
        assert!(is_lost(guard.check()));
        // The lock is another's now, and releasing the old guard does not harm it.
        let next = lock.try_lock().expect("free");
        assert!(next.token() > guard.token());
        assert!(is_lost(guard.release()));
        next.check().expect("ours");
        next.release().expect("ours");
    }
    cluster.nothing_left(&name);
}

#[test]
fn a_check_asks_for_the_key_and_not_only_for_the_lease() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("key");
    // The watch would tell it as well.
    let relay = Relay::start(cluster.port());
    relay.refuse_watches();
    let lock = open(&cluster.url_at(relay.port(), &name)).expect("a lock");
    let guard = lock.lock().expect("free");
    cluster.ctl(&["del", "--prefix", &format!("tests/{name}#")]);
    assert!(is_lost(guard.check()));
}

#[test]
fn a_release_says_that_the_lock_was_lost_although_nobody_had_noticed_yet() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("unnoticed");
    let lock = open(&cluster.url(&name)).expect("a lock");
    // The holder does not run meanwhile.
    let mut holder = Actor::start(&cluster.url(&name));
    assert!(holder.ask("lock").starts_with("held"));
    holder.signal(Signal::STOP);
    cluster.ctl(&["del", &cluster.keys(&name)[0]]);
    let next = lock.try_lock().expect("free");
    holder.tell("release");
    holder.signal(Signal::CONT);
    let said = holder.answer();
    assert!(said.starts_with("Lost"), "{said}");
    next.check().expect("ours");
    next.release().expect("ours");
}

#[test]
fn a_waiter_whose_place_ran_out_does_not_take_the_lock_of_another() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("ran-out");
    let lock = open(&cluster.url(&name)).expect("a lock");
    let first = lock.lock().expect("free");
    let mut waiter = Actor::start(&cluster.brief(&name));
    waiter.tell("lock");
    wait_for_waiters(&lock, 1);
    waiter.signal(Signal::STOP);
    eventually("its lease runs out", || cluster.keys(&name).len() == 1);
    first.release().expect("ours");
    let second = lock.try_lock().expect("free");
    waiter.signal(Signal::CONT);
    // It queues again.
    wait_for_waiters(&lock, 1);
    let members = lock.members().expect("answers");
    assert_eq!(members.holders[0].pid, Some(std::process::id()));
    assert_eq!(members.waiters[0].pid, Some(waiter.pid()));
    second.check().expect("ours");
    second.release().expect("ours");
    assert!(waiter.answer().starts_with("held"));
    assert_eq!(waiter.ask("release"), "released");
}

#[test]
fn a_waiter_whose_lease_ran_out_while_renewals_failed_queues_again() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("slow");
    let lock = open(&cluster.url(&name)).expect("a lock");
    let holder = lock.lock().expect("free");
    let relay = Relay::start(cluster.port());
    let mut waiter = Actor::start(&cluster.brief_at(relay.port(), &name));
    waiter.tell("lock");
    wait_for_waiters(&lock, 1);
    let before = cluster.keys(&name);
    relay.refuse_renewals(true);
    eventually("it has another place", || {
        let keys = cluster.keys(&name);
        keys.iter().any(|key| !before.contains(key))
    });
    relay.refuse_renewals(false);
    holder.release().expect("ours");
    let said = waiter.answer();
    assert!(said.starts_with("held"), "{said}");
    assert_eq!(waiter.ask("release"), "released");
}

#[test]
fn a_waiter_that_lost_its_place_does_not_give_up_because_the_cluster_is_slow() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("again");
    let lock = open(&cluster.url(&name)).expect("a lock");
    let holder = lock.lock().expect("free");
    let relay = Relay::start(cluster.port());
    let url = cluster.url_by(&[relay.port()], "ttl=6&connect_timeout=3", &name);
    let mut waiter = Actor::start(&url);
    waiter.tell("lock");
    wait_for_waiters(&lock, 1);
    relay.refuse_renewals(true);
    relay.refuse_grants(true);
    // Each request chooses another lease. The third one begins when two have failed.
    let before = relay.grants();
    eventually("two requests have failed", || relay.grants() >= before + 3);
    relay.refuse_grants(false);
    relay.refuse_renewals(false);
    wait_for_waiters(&lock, 1);
    holder.release().expect("ours");
    let said = waiter.answer();
    assert!(said.starts_with("held"), "{said}");
    assert_eq!(waiter.ask("release"), "released");
}

#[test]
fn a_lease_that_ran_out_before_its_grant_was_answered_is_replaced() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("granted-late");
    let relay = Relay::start(cluster.port());
    let lock = open(&cluster.url_at(relay.port(), &name)).expect("a lock");
    relay.repeat_grant();
    let guard = lock.lock().expect("another lease");
    guard.check().expect("held");
    guard.release().expect("ours");
    cluster.nothing_left(&name);
}

#[test]
fn a_waiter_whose_lease_was_revoked_queues_again() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("requeued");
    // Its next renewal, which would tell it, is twenty seconds away.
    let url = cluster.url(&name);
    let lock = open(&url).expect("a lock");
    let first = lock.lock().expect("free");
    let (mut revoked, mut next) = (Actor::start(&url), Actor::start(&url));
    revoked.tell("lock");
    wait_for_waiters(&lock, 1);
    let lease = lock.members().expect("answers").waiters[0].session.clone();
    cluster.ctl(&["lease", "revoke", &lease.expect("a lease")]);
    next.tell("lock");
    wait_for_waiters(&lock, 1);
    first.release().expect("ours");
    assert!(next.answer().starts_with("held"));
    wait_for_waiters(&lock, 1);
    let members = lock.members().expect("answers");
    assert_eq!(members.holders[0].pid, Some(next.pid()));
    assert_eq!(members.waiters[0].pid, Some(revoked.pid()));
    assert_eq!(next.ask("release"), "released");
    assert!(revoked.answer().starts_with("held"));
    assert_eq!(revoked.ask("release"), "released");
}

#[test]
fn a_waiter_whose_answers_are_lost_keeps_one_place() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("answers");
    let lock = open(&cluster.url(&name)).expect("a lock");
    let holder = lock.lock().expect("free");
    let proxy = Proxy::start(cluster.port());
    let unlucky = open(&cluster.brief_at(proxy.port(), &name)).expect("a lock");
    // Its connections end in the middle of an answer, again and again.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            loop {
                match unlucky.lock() {
                    Err(Error::Unreachable { .. }) => {}
                    other => return other,
                }
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                proxy.fault(Fault::Cut);
                std::thread::sleep(Duration::from_millis(5));
                proxy.fault(Fault::None);
                std::thread::sleep(Duration::from_millis(60));
            }
        });
        wait_for_waiters(&lock, 1);
        // Longer than a lease.
        std::thread::sleep(TTL + TTL / 3);
        over.store(true, Ordering::SeqCst);
        eventually("it waits at one place", || cluster.keys(&name).len() == 2);
        holder.release().expect("ours");
        let guard = waiter.join().expect("no panic").expect("acquired");
        guard.release().expect("ours");
    });
    cluster.nothing_left(&name);
}

#[test]
fn broken_answers_neither_hang_nor_panic_nor_give_the_lock() {
    let _dog = watchdog::watch(90);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("broken");
    let proxy = Proxy::start(cluster.port());
    let far = cluster.brief_at(proxy.port(), &name);
    let near = cluster.url(&name);
    broken::broken_answers_neither_hang_nor_panic_nor_give_the_lock(&near, &proxy, &far);
}
