//! A place in the queue is kept against others, and for as long as the wait takes.

use std::time::Duration;

use holdlock::{Mode, Request};
use holdlock_engines::{Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;
use rustix::process::Signal;

use crate::support::actor::Actor;
use crate::support::order::wait_for_waiters;
use crate::{name, server};

#[test]
fn a_try_does_not_pass_those_who_wait() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    for (slots, mode) in [("?slots=2&", Mode::Exclusive), ("?", Mode::Shared)] {
        let url = server.url(&name(&format!("pass-{mode:?}")));
        let url = url.replace('?', slots);
        let lock = open(&url).expect("a lock");
        let request = || Request::new(mode).try_once();
        let holder = lock.acquire(request()).expect("free");
        let second = (mode == Mode::Exclusive).then(|| lock.lock().expect("a slot"));
        let mut waiter = Actor::start(&url);
        waiter.tell("lock");
        wait_for_waiters(&lock, 1);
        waiter.signal(Signal::STOP);
        // A slot is free now, or readers could come: the waiter only has to take its turn.
        if let Some(second) = second {
            second.release().expect("ours");
        }
        let passed = lock.acquire(request()).map(drop);
        let waits = lock.members().expect("answers").waiters.len();
        waiter.signal(Signal::CONT);
        // On a slow machine the engine may have given the waiter up.
        let may_pass = waits == 0;
        assert!(
            may_pass || passed.is_err_and(|error| error.is_conflict()),
            "{mode:?}"
        );
        holder.release().expect("ours");
        assert!(waiter.answer().starts_with("held"));
        assert_eq!(waiter.ask("release"), "released");
    }
}

#[test]
fn a_wait_may_take_longer_than_a_lease() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("long");
    let lock = open(&server.url(&name)).expect("a lock");
    let url = server.with("ttl=6", &name);
    let brief = open(&url).expect("a lock");
    let holder = lock.lock().expect("free");
    let (mut first, mut last) = (Actor::start(&url), Actor::start(&url));
    first.tell("lock");
    wait_for_waiters(&lock, 1);
    // A lease lives for six seconds.
    let error = brief.try_lock_for(Duration::from_secs(8));
    assert!(matches!(error, Err(Error::TimedOut(_))), "{error:?}");
    last.tell("lock");
    wait_for_waiters(&lock, 2);
    let waiters = lock.members().expect("answers").waiters;
    let order: Vec<_> = waiters.iter().map(|waiter| waiter.pid).collect();
    assert_eq!(order, [Some(first.pid()), Some(last.pid())]);
    holder.release().expect("ours");
    assert!(first.answer().starts_with("held"));
    assert_eq!(first.ask("release"), "released");
    assert!(last.answer().starts_with("held"));
}
