//! The verbs, the guard, and what errors tell.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use holdlock::{Mode, Request, Waiting};
use holdlock_engines::{Error, open};
use holdlock_test_support::{eventually, wait_for, watchdog};

use crate::support::actor::Actor;
use crate::{name, server};

#[test]
fn exclusive_holders_exclude_each_other_and_tokens_rise() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("exclude");
    let mut other = Actor::start(&server.url(&name));
    let first: u64 = other.ask("lock")["held ".len()..].parse().expect("a token");
    assert!(first > 0);

    let lock = open(&server.url(&name)).expect("a lock");
    let error = lock.try_lock().expect_err("held");
    let Error::WouldBlock(conflict) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(conflict.holders[0].pid, Some(other.pid()));
    let said = error.to_string();
    let held = format!("already locked by pid {} (", other.pid());
    assert!(said.contains(&held), "{said}");
    assert!(said.starts_with("redis://127.0.0.1:"), "{said}");
    assert!(lock.try_lock_shared().is_err());

    assert_eq!(other.ask("release"), "released");
    let guard = lock.try_lock().expect("free");
    assert!(guard.token() > Some(first));
    assert!(guard.is_valid() && guard.deadline().remaining() > Duration::from_millis(500));
    guard.check().expect("held");
    assert_eq!((guard.mode(), guard.lost().loss()), (Mode::Exclusive, None));
    assert!(other.ask("try").starts_with("WouldBlock"));
    guard.release().expect("ours");
    server.nothing_left(&name);
}

#[test]
fn a_lock_is_kept_for_longer_than_its_ttl() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("kept");
    let lock = open(&server.url(&name)).expect("a lock");
    let guard = lock.lock().expect("free");
    let other = open(&server.url(&name)).expect("a lock");
    let error = other
        .try_lock_for(Duration::from_secs(5))
        .expect_err("held");
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    assert!(guard.is_valid());
    guard.release().expect("ours");
    server.nothing_left(&name);
}

#[test]
fn a_dropped_guard_has_released_the_lock() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let lock = open(&server.url(&name("drop"))).expect("a lock");
    for _ in 0..10 {
        drop(lock.lock().expect("free"));
        drop(lock.try_lock().expect("free"));
    }
}

#[test]
fn shared_holders_are_there_together() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("shared");
    let mut other = Actor::start(&server.url(&name));
    assert!(other.ask("shared").starts_with("held"));
    let lock = open(&server.url(&name)).expect("a lock");
    let ours = lock.lock_shared().expect("together");
    assert!(matches!(lock.try_lock(), Err(Error::WouldBlock(_))));
    // The record, which says who holds the lock, is there at once.
    let holders = lock.members().expect("answers").holders;
    assert_eq!(holders.len(), 2);
    assert!(holders.iter().all(|holder| holder.mode == Mode::Shared));
    ours.release().expect("ours");
    assert!(lock.try_lock().is_err());
    assert_eq!(other.ask("release"), "released");
    lock.try_lock().expect("free").release().expect("ours");
}

#[test]
fn a_holder_shows_itself_with_its_token_and_the_rest_of_its_lease() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let lock = open(&server.url(&name("shows"))).expect("a lock");
    let lock = lock.command("./nightly --now 'ü'");
    let request = Request::exclusive().note("the nightly import");
    let guard = lock.acquire(request).expect("free");
    let holder = lock.members().expect("answers").holders.pop();
    let holder = holder.expect("one");
    assert_eq!(holder.token, guard.token());
    assert_eq!(holder.command.as_deref(), Some("./nightly --now 'ü'"));
    assert_eq!(holder.note.as_deref(), Some("the nightly import"));
    assert_eq!(holder.pid, Some(std::process::id()));
    assert!(holder.since.is_some() && holder.session.is_some());
    let rest = holder.rest.expect("a lease");
    assert!(rest > Duration::from_millis(500) && rest <= Duration::from_secs(3));
}

#[test]
fn a_deadline_is_kept_and_the_error_names_the_holder() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("deadline");
    let mut other = Actor::start(&server.url(&name));
    assert!(other.ask("lock").starts_with("held"));
    let lock = open(&server.url(&name)).expect("a lock");
    let began = Instant::now();
    let error = lock
        .try_lock_for(Duration::from_millis(1500))
        .expect_err("held");
    assert!(began.elapsed() >= Duration::from_millis(1500));
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    let said = error.to_string();
    let held = format!("held by pid {}", other.pid());
    assert!(said.contains(&held), "{said}");
    assert!(matches!(
        lock.try_lock_for(Duration::ZERO),
        Err(Error::TimedOut(_))
    ));
    // The requests have left by themselves, at once.
    assert!(lock.members().expect("answers").waiters.is_empty());
    assert_eq!(other.ask("release"), "released");
    server.nothing_left(&name);
}

#[test]
fn the_callback_hears_that_the_wait_begins_and_can_end_it() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("callback");
    let lock = open(&server.url(&name)).expect("a lock");
    let held = lock.lock().expect("free");
    let mut heard = Vec::new();
    let request = Request::exclusive().on_wait(|event| {
        heard.push(event);
        ControlFlow::Break(())
    });
    let error = lock.acquire(request).expect_err("ended");
    assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
    assert_eq!(heard, [Waiting::Began]);
    held.release().expect("ours");
    server.nothing_left(&name);
}

#[test]
fn names_of_any_length_and_characters_are_different_locks() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let long = "ü}{*\u{1F512}\n".repeat(2000) + &name("long");
    let one = open(&server.url(&format!("{long}a"))).expect("a lock");
    let two = open(&server.url(&format!("{long}b"))).expect("a lock");
    let first = one.lock().expect("free");
    let _second = two.try_lock().expect("another lock");
    assert!(one.try_lock().is_err());
    assert!(first.name().len() > 6000);
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
    let by_socket = format!("valkey://{socket}?ttl=3#{name}");
    let other = format!("redis://127.0.0.1:{}/1?ttl=3#{name}", server.port());
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
