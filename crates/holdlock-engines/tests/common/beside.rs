//! What an engine tells and does beside keeping a lock.

use holdlock::Request;
use holdlock_engines::open;
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;
use holdlock_test_support::{eventually, wait_for};

use crate::support::actor::Actor;
use crate::support::place::listed;
use crate::{name, server};

#[test]
fn each_lock_is_listed_with_its_members() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let (plain, slots) = (name("list ü/%"), name("list-slots"));
    let long = "long-".repeat(20) + &name("list");
    let plain_url = server.url(&plain);
    let slots_url = server.url(&slots).replace('?', "?slots=2&");
    let held = open(&plain_url).expect("a lock").lock().expect("free");
    let mut waiter = Actor::start(&plain_url);
    waiter.tell("lock");
    let _one = open(&slots_url).expect("a lock").lock().expect("free");
    let _two = open(&slots_url).expect("a lock").lock().expect("free");
    let _long = open(&server.url(&long))
        .expect("a lock")
        .lock()
        .expect("free");

    let found = wait_for("the waiter in the list", || {
        listed(&plain_url, &plain).filter(|found| found.members.waiters.len() == 1)
    });
    assert_eq!(found.members.holders.len(), 1);
    assert_eq!(found.members.holders[0].pid, Some(std::process::id()));
    assert_eq!(found.members.waiters[0].pid, Some(waiter.pid()));
    let counts = [&slots, &long].map(|name| {
        let found = listed(&plain_url, name).expect("listed");
        (found.members.holders.len(), found.members.waiters.len())
    });
    assert_eq!(counts, [(2, 0), (1, 0)]);
    held.release().expect("ours");
    assert!(waiter.answer().starts_with("held"));
    assert_eq!(waiter.ask("release"), "released");
    eventually("the list forgets it", || {
        listed(&plain_url, &plain).is_none()
    });
}

#[test]
fn a_process_of_this_host_is_known_to_be_one() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url(&name("here"));
    let mut other = Actor::start(&url);
    assert!(other.ask("lock").starts_with("held"));
    let members = open(&url).expect("a lock").members().expect("answers");
    let holder = members.holders.first().expect("one").clone();
    assert_eq!(holder.pid_here(), Some(other.pid()));
    // The record of a process that has ended, as one of another host would be.
    other.kill();
    assert_eq!(holder.pid_here(), None);
}

#[test]
fn a_holder_is_ended_by_its_token_and_a_later_one_is_not() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.with("ttl=6", &name("break"));
    let lock = open(&url).expect("a lock");
    let mut first = Actor::start(&url);
    let token: u64 = first.ask("lock")["held ".len()..].parse().expect("a token");
    let mut second = Actor::start(&url);
    second.tell("lock");
    // The record shows the token a moment after the lock was given.
    eventually("the token is shown and one waits", || {
        let members = lock.members().expect("answers");
        members.waiters.len() == 1 && members.holders[0].token == Some(token)
    });
    assert_eq!(lock.break_holder(token + 1).expect("answers"), None);
    assert_eq!(first.ask("check"), "Ok(())");

    let ended = lock
        .break_holder(token)
        .expect("answers")
        .expect("a holder");
    assert_eq!((ended.pid, ended.token), (Some(first.pid()), Some(token)));
    let next: u64 = second.answer()["held ".len()..].parse().expect("a token");
    assert!(next > token);
    assert!(first.ask("check").contains("Lost"));

    eventually("the next token is shown", || {
        lock.members().expect("answers").holders[0].token == Some(next)
    });
    assert_eq!(lock.break_holder(token).expect("answers"), None);
    assert_eq!(second.ask("check"), "Ok(())");
}

#[test]
fn a_note_is_seen_by_those_who_wait() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let lock = open(&server.url(&name("note"))).expect("a lock");
    let _guard = lock
        .acquire(Request::exclusive().note("import\nof May"))
        .expect("free");
    let error = lock.try_lock().expect_err("held").to_string();
    assert!(error.contains("import\\nof May"), "{error}");
}
