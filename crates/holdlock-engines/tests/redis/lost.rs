//! A lock that is lost: the guard knows it before another process can have the lock.

use std::time::Duration;

use holdlock_engines::{BootTime, Error, open};
use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{wait_for, watchdog};
use rustix::process::Signal;

use crate::support::broken;
use crate::support::lost::{is_definite, wait_for_loss};
use crate::{name, server};

#[test]
fn a_removed_key_ends_the_lock_and_nobody_acquires_it_before_the_lease_has_ended() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("removed");
    let lock = open(&server.url(&name)).expect("a lock");
    // A slow machine asks before its lease has ended.
    let brief = open(&server.with("ttl=12", &name)).expect("a lock");
    let guard = brief.lock().expect("free");
    let deadline = guard.deadline();
    server.cli(&["DEL", &server.key(&name, "holders")]);
    assert!(lock.try_lock().expect_err("too early").is_conflict());
    assert!(wait_for_loss(&guard).is_definite());
    assert!(!guard.is_valid() && is_definite(guard.check()));
    let next = lock.lock().expect("later");
    assert!(deadline.has_passed());
    assert!(next.token() > guard.token());
    assert!(is_definite(guard.release()));
    // Without this key nobody has a lease.
    server.cli(&["DEL", &server.key(&name, "until")]);
    assert!(is_definite(next.check()));
    lock.lock().expect("free").release().expect("ours");
    server.nothing_left(&name);
}

#[test]
fn flushall_is_noticed_by_the_next_renewal_and_tokens_rise_over_it() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(server::Server::awake) else {
        return;
    };
    let lock = open(&server.with("ttl=12", &name("flush"))).expect("a lock");
    let guard = lock.lock().expect("free");
    server.cli(&["FLUSHALL"]);
    let loss = wait_for_loss(&guard);
    assert!(loss.is_definite(), "{loss}");
    let next = lock.lock().expect("free");
    assert!(next.token() > guard.token());
    assert!(is_definite(guard.release()));
    next.check().expect("held");
}

#[test]
fn a_server_that_stands_still_makes_the_lock_unsure_and_an_answer_makes_it_sure_again() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(server::Server::awake) else {
        return;
    };
    let lock = open(&server.with("ttl=6", &name("still"))).expect("a lock");
    // Its clock stands still as well: the lease is that of a stopped server, and longer.
    let guard = lock.lock().expect("free");
    server.signal(Signal::STOP);
    let loss = wait_for_loss(&guard);
    assert!(!loss.is_definite(), "{loss}");
    assert!(loss.to_string().contains("may have been lost"), "{loss}");
    server.signal(Signal::CONT);
    // What the server makes of it depends on its clock: the guard follows.
    let held = wait_for("the server answers", || match guard.check() {
        Err(Error::Lost { loss, .. }) if !loss.is_definite() => None,
        checked => Some(checked.is_ok()),
    });
    assert_eq!(guard.is_valid(), held);
    assert_eq!(guard.release().is_ok(), held);
}

#[test]
fn the_deadline_is_before_the_moment_at_which_the_server_frees_the_lock() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("before");
    let proxy = Proxy::start(server.port());
    let holder = open(&server.brief_at(proxy.port(), &name)).expect("a lock");
    let guard = holder.lock().expect("free");
    let other = open(&server.url(&name)).expect("a lock");
    proxy.fault(Fault::Silence);
    let _next = other.lock().expect("the lease ends");
    let now = BootTime::now();
    let early = now.since_boot().checked_sub(guard.deadline().since_boot());
    let early = early.expect("the deadline has passed");
    assert!(early > Duration::from_millis(500), "{early:?}");
}

#[test]
fn broken_answers_neither_hang_nor_panic_nor_give_the_lock() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("broken");
    let proxy = Proxy::start(server.port());
    let far = server.brief_at(proxy.port(), &name);
    let near = server.url(&name);
    broken::broken_answers_neither_hang_nor_panic_nor_give_the_lock(&near, &proxy, &far);
}
