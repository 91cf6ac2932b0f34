//! The verbs, the guard, and what errors tell.

use std::time::{Duration, Instant};

use holdlock::{Mode, Request, Waiting};
use holdlock_engines::{Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::wait_for;
use holdlock_test_support::watchdog;
use std::ops::ControlFlow;

use crate::support::actor::Actor;
use crate::support::limits::given_up;
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
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let said = error.to_string();
    assert!(
        said.contains(&format!("already locked by pid {} (", other.pid())),
        "{said}"
    );
    assert!(said.contains(&format!("on {host}")), "{said}");
    assert!(said.starts_with(lock.name()), "{said}");
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
fn a_dropped_guard_has_released_the_lock() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let lock = open(&server.url(&name("drop"))).expect("a lock");
    for _ in 0..10 {
        let guard = lock.lock().expect("free");
        let began = Instant::now();
        drop(guard);
        let took = began.elapsed();
        match lock.try_lock() {
            // The drop waits no longer than a second for a slow engine.
            Err(error) if error.is_conflict() && took > Duration::from_millis(900) => {}
            next => drop(next.expect("free")),
        }
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
    let members = lock.members().expect("answers");
    assert_eq!(members.holders.len(), 2);
    assert!(
        members
            .holders
            .iter()
            .all(|holder| holder.mode == Mode::Shared)
    );
    ours.release().expect("ours");
    assert!(lock.try_lock().is_err());
    assert_eq!(other.ask("release"), "released");
    lock.try_lock().expect("free").release().expect("ours");
}

#[test]
fn a_holder_shows_itself_with_its_token() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let lock = open(&server.url(&name("shows"))).expect("a lock");
    let lock = lock.command("./nightly */ --now '/*");
    let request = Request::exclusive().note("the nightly import");
    let guard = lock.acquire(request).expect("free");
    let holder = wait_for("the record with the token", || {
        let mut members = lock.members().expect("answers");
        let holder = members.holders.pop().expect("one");
        holder.token.is_some().then_some(holder)
    });
    assert_eq!(holder.token, guard.token());
    assert_eq!(holder.command.as_deref(), Some("./nightly */ --now '/*"));
    assert_eq!(holder.note.as_deref(), Some("the nightly import"));
    assert_eq!(holder.pid, Some(std::process::id()));
    assert!(holder.since.is_some() && holder.session.is_some());
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
    let (limit, error) = given_up(&lock, Request::exclusive);
    let Error::TimedOut(conflict) = &error else {
        panic!("{error:?}")
    };
    let waited = conflict.waited;
    assert!(waited >= limit);
    let said = error.to_string();
    assert!(
        said.contains("timed out after 300 ms") || waited >= Duration::from_millis(301),
        "{said}"
    );
    assert!(
        said.contains(&format!("held by pid {}", other.pid())),
        "{said}"
    );
    assert!(matches!(
        lock.try_lock_for(Duration::ZERO),
        Err(Error::TimedOut(_))
    ));
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
    let long = "ü/*\u{1F512}".repeat(2000) + &name("long");
    let one = open(&server.url(&format!("{long}a"))).expect("a lock");
    let two = open(&server.url(&format!("{long}b"))).expect("a lock");
    let first = one.lock().expect("free");
    let _second = two.try_lock().expect("another lock");
    assert!(one.try_lock().is_err());
    assert!(first.name().len() > 6000);
}
