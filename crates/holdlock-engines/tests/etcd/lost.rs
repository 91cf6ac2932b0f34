//! A lock that is lost: the guard knows it before another process can have the lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdlock_engines::{EngineGuard, Error, Loss, open};
use holdlock_test_support::{eventually, watchdog};
use rustix::process::Signal;

use crate::support::actor::Actor;
use crate::support::broken;
use crate::support::order::wait_for_waiters;
use crate::support::proxy::{Fault, LATE, Proxy};
use crate::{name, server};

/// The time limit of the tests' leases.
const TTL: Duration = Duration::from_secs(3);

fn wait_for_loss(guard: &EngineGuard) -> Loss {
    guard.lost().wait(Duration::from_secs(60)).expect("lost")
}

fn is_lost(result: Result<(), Error>) -> bool {
    matches!(result, Err(Error::Lost { .. }))
}

#[test]
fn a_revoked_lease_and_a_deleted_key_are_noticed_at_once() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    // A long time limit: the renewals would notice it after twenty seconds.
    let name = name("revoked");
    let url = cluster.url(&name).replace("ttl=3", "ttl=60");
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
    let lock = open(&cluster.url(&name)).expect("a lock");
    let guard = lock.lock().expect("free");
    // Before the key is watched.
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
fn a_holder_that_was_stopped_for_longer_than_its_lease_has_lost_the_lock() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let url = cluster.url(&name("stopped"));
    let lock = open(&url).expect("a lock");
    let mut holder = Actor::start(&url);
    let first: u64 = holder.ask("lock")["held ".len()..]
        .parse()
        .expect("a token");
    let began = Instant::now();
    holder.signal(Signal::STOP);
    let next = lock.lock().expect("the lease ends");
    // The last renewal was at most a third of the time limit before the stop.
    assert!(began.elapsed() > TTL * 2 / 3 - Duration::from_millis(500));
    assert!(next.token() > Some(first));
    holder.signal(Signal::CONT);
    assert_eq!(holder.ask("valid"), "false");
    assert!(holder.ask("check").contains("Lost"));
    assert!(holder.ask("release").starts_with("Lost"));
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
    let url = cluster.url(&name);
    let lock = open(&url).expect("a lock");
    let first = lock.lock().expect("free");
    let mut waiter = Actor::start(&url);
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
fn a_waiter_whose_lease_was_revoked_queues_again() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("requeued");
    // Its next renewal, which would tell it, is twenty seconds away.
    let url = cluster.url(&name).replace("ttl=3", "ttl=60");
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
fn the_deadline_counts_from_the_moment_at_which_the_renewal_was_sent() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("sent");
    let proxy = Proxy::start(cluster.port());
    let url = cluster.url_at(proxy.port(), &name);
    let lock = open(&url.replace("ttl=3", "ttl=10")).expect("a lock");
    let valid = Duration::from_secs(9);
    proxy.fault(Fault::Late);
    let guard = lock.lock().expect("free");
    let remaining = guard.deadline().remaining();
    // After the lease the key was created: two answers.
    assert!(remaining <= valid - 2 * LATE, "{remaining:?}");
    guard.check().expect("held");
    let remaining = guard.deadline().remaining();
    assert!(remaining <= valid - 2 * LATE, "{remaining:?}");
    proxy.fault(Fault::None);
    guard.release().expect("ours");
}

#[test]
fn a_cut_network_is_noticed_by_the_clock_alone() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("cut");
    let proxy = Proxy::start(cluster.port());
    let lock = open(&cluster.url_at(proxy.port(), &name)).expect("a lock");
    let guard = lock.lock().expect("free");
    guard.check().expect("held");
    let deadline = guard.deadline();
    let other = open(&cluster.url(&name)).expect("a lock");
    proxy.fault(Fault::Silence);
    assert!(guard.is_valid());
    let loss = wait_for_loss(&guard);
    assert!(!loss.is_definite(), "{loss}");
    assert!(!guard.is_valid());
    // The lease has not run out yet, unless this thread was late.
    assert!(other.try_lock().is_err() || deadline.remaining().is_zero());
    let error = guard.release().expect_err("no answer");
    assert!(
        matches!(&error, Error::Lost { loss, .. } if !loss.is_definite()),
        "{error:?}"
    );
    let next = other.try_lock_for(Duration::from_secs(60));
    next.expect("the lease ends").release().expect("ours");
}

#[test]
fn bad_networks_give_errors_and_no_lock() {
    let _dog = watchdog::watch(90);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("bad");
    let proxy = Proxy::start(cluster.port());
    let lock = open(&cluster.url_at(proxy.port(), &name)).expect("a lock");
    proxy.fault(Fault::Trickle);
    let guard = lock.lock().expect("slow, but right");
    guard.check().expect("held");
    proxy.fault(Fault::Garbage);
    assert!(is_lost(guard.check()));
    proxy.fault(Fault::None);
    eventually("it is sure again", || guard.check().is_ok());
    guard.release().expect("ours");
    for fault in [Fault::Garbage, Fault::Cut] {
        proxy.fault(fault);
        let error = lock
            .try_lock_for(Duration::from_secs(20))
            .expect_err("no server");
        assert!(
            matches!(error, Error::Unreachable { .. } | Error::Unsuitable { .. }),
            "{fault:?}: {error:?}"
        );
    }
    proxy.fault(Fault::None);
    let guard = lock.try_lock_for(Duration::from_secs(60)).expect("free");
    proxy.fault(Fault::Cut);
    assert!(is_lost(guard.check()));
    proxy.fault(Fault::None);
    eventually("it is sure again", || guard.check().is_ok());
    guard.release().expect("ours");
    cluster.nothing_left(&name);
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
    let unlucky = open(&cluster.url_at(proxy.port(), &name)).expect("a lock");
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
    let far = cluster.url_at(proxy.port(), &name);
    let near = cluster.url(&name);
    broken::broken_answers_neither_hang_nor_panic_nor_give_the_lock(&near, &proxy, &far);
}
