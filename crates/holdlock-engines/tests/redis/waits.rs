//! Waiters that die, stop, or miss a message.

use std::time::{Duration, Instant};

use holdlock_engines::{Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;
use rustix::process::Signal;

use crate::support::actor::Actor;
use crate::support::order::wait_for_waiters;
use crate::{name, server};

#[test]
fn a_killed_first_waiter_keeps_those_behind_it_for_a_moment_only() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("first");
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let holder = lock.lock().expect("free");
    let (mut first, mut second) = (Actor::start(&server.brief(&name)), Actor::start(&url));
    first.tell("lock");
    wait_for_waiters(&lock, 1);
    second.tell("lock");
    wait_for_waiters(&lock, 2);
    first.kill();
    holder.release().expect("ours");
    assert!(second.answer().starts_with("held"));
}

#[test]
fn a_stopped_waiter_does_not_keep_those_behind_it() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("stopped");
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let holder = lock.lock().expect("free");
    let (mut stopped, mut next) = (Actor::start(&server.brief(&name)), Actor::start(&url));
    stopped.tell("lock");
    wait_for_waiters(&lock, 1);
    next.tell("lock");
    wait_for_waiters(&lock, 2);
    stopped.signal(Signal::STOP);
    holder.release().expect("ours");
    assert!(next.answer().starts_with("held"));
    // It goes on waiting, behind the others.
    stopped.signal(Signal::CONT);
    wait_for_waiters(&lock, 1);
    assert_eq!(next.ask("release"), "released");
    assert!(stopped.answer().starts_with("held"));
}

#[test]
fn another_number_of_slots_is_an_error_while_the_lock_is_used() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("differs");
    let three = server.url(&name).replace('?', "?slots=3&");
    let three = open(&three).expect("a lock");
    let one = open(&server.url(&name)).expect("a lock");
    let guard = three.lock().expect("free");
    let error = one.lock().expect_err("another number");
    assert!(matches!(error, Error::Failed { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("slots=3, we with slots=1"), "{said}");
    guard.release().expect("ours");
    one.lock().expect("nobody uses it").release().expect("ours");
}

#[test]
fn a_release_wakes_the_next_waiter_at_once() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    // A waiter asks by itself every two seconds.
    let url = server.url(&name("wakes"));
    let lock = open(&url).expect("a lock");
    let hand_off = |_| {
        let guard = lock.lock().expect("free");
        let waiting = lock.clone();
        let waiter = std::thread::spawn(move || {
            let guard = waiting.lock().expect("free");
            let now = Instant::now();
            guard.release().expect("ours");
            now
        });
        wait_for_waiters(&lock, 1);
        let released = Instant::now();
        guard.release().expect("ours");
        waiter.join().expect("no panic") - released
    };
    let best = (0..5).map(hand_off).min().expect("five");
    assert!(best < Duration::from_secs(1), "{best:?}");
}

#[test]
fn a_message_that_is_lost_costs_some_seconds_at_most() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("message");
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.try_lock_for(Duration::from_secs(30)));
    wait_for_waiters(&lock, 1);
    // The holder is gone, and nobody says so.
    let holder = lock.members().expect("answers").holders.remove(0);
    let holder = holder.session.expect("an id");
    for part in ["holders", "until"] {
        assert_eq!(
            server.cli(&["ZREM", &server.key(&name, part), &holder]),
            "1"
        );
    }
    let next = waiter.join().expect("no panic").expect("free");
    next.release().expect("ours");
    assert!(guard.release().is_err());
}

#[test]
fn nobody_passes_a_waiter_that_is_slow() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    for is_shared in [false, true] {
        // So that a waiter may be silent for six seconds.
        let url = server.url(&name("slow"));
        let lock = open(&url).expect("a lock");
        let mut holder = Some(match is_shared {
            true => lock.lock_shared().expect("free"),
            false => lock.lock().expect("free"),
        });
        let mut slow = Actor::start(&url);
        slow.tell("lock");
        wait_for_waiters(&lock, 1);
        slow.signal(Signal::STOP);
        let passed = match is_shared {
            true => lock.try_lock_shared(),
            false => {
                drop(holder.take());
                lock.try_lock()
            }
        };
        let waits = lock.members().expect("answers").waiters.len();
        slow.signal(Signal::CONT);
        // On a very slow machine the server may have given the waiter up.
        let may_pass = waits == 0;
        let passed = passed.map(drop);
        assert!(may_pass || passed.is_err_and(|error| error.is_conflict()));
        drop(holder);
        assert!(slow.answer().starts_with("held"));
        assert_eq!(slow.ask("release"), "released");
    }
}

#[test]
fn a_waiter_outlasts_a_server_that_is_away_for_a_while() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(server::Server::awake) else {
        return;
    };
    let name = name("away");
    let lock = open(&server.url(&name)).expect("a lock");
    let holder = lock.lock().expect("free");
    // The time limit of a connection is none of the wait.
    let mut waiter = Actor::start(&server.with("ttl=6&connect_timeout=2", &name));
    waiter.tell("lock");
    wait_for_waiters(&lock, 1);
    server.kill();
    std::thread::sleep(Duration::from_secs(5));
    server.run();
    assert!(waiter.answer().starts_with("held"));
    drop(holder);
}
