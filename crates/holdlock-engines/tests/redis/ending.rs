//! Requests that end leave nothing behind, and end in time.

use std::time::{Duration, Instant};

use holdlock_engines::{Error, open};
use holdlock_test_support::watchdog;

use crate::support::actor::Actor;
use crate::support::proxy::{Fault, Proxy};
use crate::{name, server};

#[test]
fn a_program_that_ends_right_after_its_request_leaves_nothing_behind() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    // So long that a place which is left behind is seen.
    let url = server.url(&name("ends")).replace("ttl=3", "ttl=60");
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    for _ in 0..10 {
        let mut actor = Actor::start(&url);
        actor.tell("last 300");
        assert!(actor.answer().starts_with("TimedOut"));
        actor.wait();
        assert!(lock.members().expect("answers").waiters.is_empty());
    }
    guard.release().expect("ours");
}

#[test]
fn a_wait_ends_in_time_although_the_server_has_become_silent() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("mute");
    let proxy = Proxy::start(server.port());
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    let lock = open(&server.url_at(proxy.port(), &name)).expect("a lock");
    let began = Instant::now();
    let waiter = std::thread::spawn(move || lock.try_lock_for(Duration::from_secs(2)));
    let lock = open(&server.url(&name)).expect("a lock");
    crate::support::order::wait_for_waiters(&lock, 1);
    proxy.fault(Fault::Silence);
    let error = waiter.join().expect("no panic").expect_err("held");
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    guard.release().expect("ours");
}
