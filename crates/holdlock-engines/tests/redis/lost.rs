//! A lock that is lost: the guard knows it before another process can have the lock.

use std::time::Duration;

use holdlock_engines::{BootTime, EngineGuard, Error, Loss, open};
use holdlock_test_support::{eventually, watchdog};
use rustix::process::Signal;

use crate::support::actor::Actor;
use crate::support::broken;
use crate::support::proxy::{Fault, LATE, Proxy};
use crate::{name, server};

fn wait_for_loss(guard: &EngineGuard) -> Loss {
    guard.lost().wait(Duration::from_secs(60)).expect("lost")
}

fn is_definite(result: Result<(), Error>) -> bool {
    matches!(&result, Err(Error::Lost { loss, .. }) if loss.is_definite())
}

#[test]
fn a_holder_that_was_stopped_for_too_long_knows_it_at_once_and_harms_nobody() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url(&name("stopped"));
    let mut holder = Actor::start(&url);
    assert!(holder.ask("lock").starts_with("held"));
    holder.signal(Signal::STOP);
    let lock = open(&url).expect("a lock");
    let next = lock.lock().expect("the lease ends");
    holder.signal(Signal::CONT);
    assert_eq!(holder.ask("valid"), "false");
    let said = holder.ask("check");
    assert!(said.contains("Lost") && said.contains("was lost"), "{said}");
    let said = holder.ask("release");
    assert!(said.contains("Lost"), "{said}");
    next.check().expect("held");
    assert!(lock.try_lock().expect_err("held").is_conflict());
    next.release().expect("ours");
}

#[test]
fn a_release_that_comes_late_does_not_release_the_lock_of_the_next_holder() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url(&name("late"));
    let mut holder = Actor::start(&url);
    assert!(holder.ask("lock").starts_with("held"));
    holder.signal(Signal::STOP);
    // It is read before the process has learned anything else.
    holder.tell("release");
    let lock = open(&url).expect("a lock");
    let next = lock.lock().expect("the lease ends");
    holder.signal(Signal::CONT);
    let said = holder.answer();
    assert!(said.contains("Lost"), "{said}");
    next.check().expect("held");
    assert!(lock.try_lock().expect_err("held").is_conflict());
    next.release().expect("ours");
}

#[test]
fn the_deadline_counts_from_the_sending_of_a_message_and_not_from_its_answer() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let proxy = Proxy::start(server.port());
    let url = server.url_at(proxy.port(), &name("sending"));
    let lock = open(&url.replace("ttl=3", "ttl=12")).expect("a lock");
    // The deadline is 10.8 s after the sending.
    proxy.fault(Fault::Late);
    let guard = lock.lock().expect("free");
    let most = Duration::from_millis(10_800) - LATE;
    assert!(guard.deadline().remaining() <= most);
    guard.check().expect("held");
    assert!(guard.deadline().remaining() <= most);
    assert!(guard.deadline().remaining() > Duration::from_secs(5));
    proxy.fault(Fault::None);
    guard.check().expect("held");
    assert!(guard.deadline().remaining() > most);
    guard.release().expect("ours");
}

#[test]
fn a_cut_network_is_noticed_by_the_clock_alone() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("cut");
    let proxy = Proxy::start(server.port());
    let lock = open(&server.url_at(proxy.port(), &name)).expect("a lock");
    let guard = lock.lock().expect("free");
    guard.check().expect("held");
    let deadline = guard.deadline();
    proxy.fault(Fault::Silence);
    assert!(guard.is_valid());
    let loss = wait_for_loss(&guard);
    assert!(!loss.is_definite(), "{loss}");
    assert!(!guard.is_valid() && guard.deadline().has_passed());
    // At most one renewal was still confirmed.
    let late = guard.deadline().since_boot() - deadline.since_boot();
    assert!(late < Duration::from_secs(2), "{late:?}");
    let other = open(&server.url(&name)).expect("a lock");
    let next = other.lock().expect("the lease ends");
    proxy.fault(Fault::None);
    assert!(is_definite(guard.check()));
    assert!(is_definite(guard.release()));
    next.release().expect("ours");
}

#[test]
fn a_removed_key_ends_the_lock_and_nobody_acquires_it_before_the_lease_has_ended() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("removed");
    let lock = open(&server.url(&name)).expect("a lock");
    let guard = lock.lock().expect("free");
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
    let lock = open(&server.url(&name("flush"))).expect("a lock");
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
    let lock = open(&server.url(&name("still"))).expect("a lock");
    // Its clock stands still as well: the lease is that of a stopped server, and longer.
    let guard = lock.lock().expect("free");
    server.signal(Signal::STOP);
    let loss = wait_for_loss(&guard);
    assert!(!loss.is_definite(), "{loss}");
    assert!(loss.to_string().contains("may have been lost"), "{loss}");
    server.signal(Signal::CONT);
    // What the server makes of it depends on its clock: the guard follows.
    let held = guard.check().is_ok();
    assert_eq!(guard.is_valid(), held);
    assert_eq!(guard.release().is_ok(), held);
}

#[test]
fn bad_networks_give_errors_and_no_lock() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("bad");
    let proxy = Proxy::start(server.port());
    let lock = open(&server.url_at(proxy.port(), &name)).expect("a lock");
    proxy.fault(Fault::Trickle);
    let guard = lock.lock().expect("slow, but right");
    guard.check().expect("held");
    for fault in [Fault::Garbage, Fault::Cut] {
        proxy.fault(fault);
        assert!(guard.check().is_err(), "{fault:?}");
        let error = lock
            .try_lock_for(Duration::from_secs(20))
            .expect_err("no server");
        assert!(
            matches!(error, Error::Unreachable { .. }),
            "{fault:?}: {error:?}"
        );
        // The lock is kept: another connection will do.
        proxy.fault(Fault::None);
        eventually("it is held", || guard.check().is_ok());
    }
    assert!(guard.is_valid());
    proxy.fault(Fault::Cut);
    assert!(!wait_for_loss(&guard).is_definite());
    proxy.fault(Fault::None);
    let _ = guard.release();
    lock.lock().expect("free").release().expect("ours");
    server.nothing_left(&name);
}

#[test]
fn the_deadline_is_before_the_moment_at_which_the_server_frees_the_lock() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("before");
    let proxy = Proxy::start(server.port());
    let holder = open(&server.url_at(proxy.port(), &name)).expect("a lock");
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
    let far = server.url_at(proxy.port(), &name);
    let near = server.url(&name);
    broken::broken_answers_neither_hang_nor_panic_nor_give_the_lock(&near, &proxy, &far);
}
