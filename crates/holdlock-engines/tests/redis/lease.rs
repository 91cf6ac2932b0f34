//! A lease, its keys, and what does not end it.

use std::time::Duration;

use holdlock_engines::{Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, wait_for, watchdog};

use crate::support::actor::Actor;
use crate::{name, server};

#[test]
fn a_lock_is_kept_for_longer_than_its_ttl() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("kept");
    let ttl = Duration::from_secs(5);
    let lock = open(&server.with("ttl=5", &name)).expect("a lock");
    let guard = lock.lock().expect("free");
    let rest = lock.members().expect("answers").holders[0].rest;
    let rest = rest.expect("a lease");
    assert!(rest > Duration::from_millis(500) && rest <= ttl);
    let other = open(&server.url(&name)).expect("a lock");
    let error = other
        .try_lock_for(ttl + Duration::from_secs(1))
        .expect_err("held");
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    guard.check().expect("kept");
    guard.release().expect("ours");
    server.nothing_left(&name);
}

#[test]
fn databases_are_apart_and_sockets_reach_the_same_lock() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("places");
    let socket = server.directory().join("socket");
    let socket = socket.display().to_string().replace('/', "%2F");
    let by_socket = format!("valkey://{socket}?ttl=60#{name}");
    // There the server has given no lock yet, and may have been started a moment ago.
    let other = format!("redis://127.0.0.1:{}/1?ttl=6#{name}", server.port());
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    let by_socket = open(&by_socket).expect("a lock");
    assert!(by_socket.try_lock().expect_err("held").is_conflict());
    let other = open(&other).expect("a lock").lock();
    other.expect("another lock").release().expect("ours");
    guard.release().expect("ours");
    let guard = by_socket.try_lock().expect("free");
    // The name that is shown is one that can be used.
    open(guard.name()).expect("a lock");
}

#[test]
fn keys_of_a_lock_that_nobody_uses_expire() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("expire");
    let lock = open(&server.url(&name)).expect("a lock");
    let guard = lock.lock().expect("free");
    for part in ["holders", "until", "records", "lock"] {
        let left = server.cli(&["PTTL", &server.key(&name, part)]);
        assert!(left.parse::<i64>().expect("a number") > 3_600_000, "{part}");
    }
    guard.release().expect("ours");
    let left = server.cli(&["PTTL", &server.key(&name, "lock")]);
    assert!(left.parse::<i64>().expect("a number") > 3_600_000);
}

#[test]
fn a_script_that_the_server_has_forgotten_is_sent_again() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(server::Server::awake) else {
        return;
    };
    let lock = open(&server.url(&name("forgotten"))).expect("a lock");
    let guard = lock.lock().expect("free");
    server.cli(&["SCRIPT", "FLUSH"]);
    guard.check().expect("held");
    server.cli(&["SCRIPT", "FLUSH"]);
    guard.release().expect("ours");
    server.cli(&["SCRIPT", "FLUSH"]);
    drop(lock.try_lock().expect("free"));
}

#[test]
fn a_full_memory_refuses_new_locks_and_keeps_those_that_are_held() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(server::Server::awake) else {
        return;
    };
    let guard = open(&server.url(&name("full"))).expect("a lock").lock();
    let guard = guard.expect("free");
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    guard.check().expect("held");
    let error = open(&server.url(&name("new"))).expect("a lock").try_lock();
    let error = error.expect_err("no memory").to_string();
    assert!(
        error.contains("OOM") && error.contains("maxmemory"),
        "{error}"
    );
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    guard.release().expect("ours");
}

#[test]
fn a_broken_connection_loses_nothing() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(server::Server::awake) else {
        return;
    };
    let name = name("broken");
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    let mut first = Actor::start(&url);
    first.tell("lock");
    eventually("it waits", || {
        lock.members().expect("answers").waiters.len() == 1
    });
    let mut second = Actor::start(&url);
    second.tell("lock");
    eventually("both wait", || {
        lock.members().expect("answers").waiters.len() == 2
    });
    let places = lock.members().expect("answers").waiters;
    for _ in 0..3 {
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        server.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        guard.check().expect("held");
        wait_for("the clients are there again", || {
            let list = server.cli(&["CLIENT", "LIST"]);
            (list
                .matches("lib-name=holdlock")
                .count()
                .max(list.matches("sub=1").count())
                >= 3)
                .then_some(())
        });
    }
    let now = lock.members().expect("answers").waiters;
    assert!(now.iter().map(|m| m.pid).eq(places.iter().map(|m| m.pid)));
    assert!(guard.lost().loss().is_none());
    guard.release().expect("ours");
    assert!(first.answer().starts_with("held"));
    assert_eq!(first.ask("release"), "released");
    assert!(second.answer().starts_with("held"));
}
