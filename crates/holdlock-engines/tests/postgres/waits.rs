//! What is particular about waiting in PostgreSQL: slices, and sessions that are stopped.

use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use holdlock::Request;
use holdlock_engines::{Error, open};
use holdlock_test_support::eventually;
use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;
use rustix::process::Signal;

use crate::support::actor::Actor;
use crate::support::order::wait_for_waiters;
use crate::tripwire::{At, Then, Tripwire};
use crate::{name, server};

#[test]
fn waiters_keep_their_places_when_a_slice_of_their_wait_ends() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("places");
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let holder = lock.lock().expect("free");
    let mut waiters = Vec::new();
    for number in 1..=2 {
        let mut waiter = Actor::start(&url);
        waiter.tell("lock");
        wait_for_waiters(&lock, number);
        // The slices of the two end at different times.
        std::thread::sleep(Duration::from_millis(500));
        waiters.push(waiter);
    }
    let first = format!(
        "SELECT query_start FROM pg_stat_activity \
         WHERE application_name = 'holdlock:{name}' AND query LIKE '%\"pid\":{},%'",
        waiters[0].pid()
    );
    let began = server.sql(&first);
    eventually("the first slice of the first waiter ends", || {
        server.sql(&first) != began
    });
    holder.release().expect("ours");
    assert!(waiters[0].answer().starts_with("held"));
    wait_for_waiters(&lock, 1);
    assert_eq!(waiters[0].ask("release"), "released");
    assert!(waiters[1].answer().starts_with("held"));
}

#[test]
fn a_caller_hears_of_its_wait_when_others_see_its_place() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("told");
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    // The statement that takes the ticket.
    let wire = Tripwire::start(server.port(), At::Statement, "| t.n)");
    let lock = open(&server.url_at(wire.port(), &name)).expect("a lock");
    let (tell, told) = channel();
    let request = Request::exclusive().on_wait(move |_| {
        let _ = tell.send(());
        ControlFlow::Break(())
    });
    let waiter = std::thread::spawn(move || lock.acquire(request));
    wire.wait();
    let early = told.recv_timeout(Duration::from_millis(200));
    wire.go_on(Then::PassOn);
    assert!(early.is_err(), "it has no place yet");
    told.recv().expect("it waits");
    let error = waiter.join().expect("no panic").expect_err("ended");
    assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
    guard.release().expect("ours");
}

#[test]
fn a_stopped_waiter_does_not_keep_those_behind_it_and_long_waits_leave_nothing_in_the_log() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::own("") else {
        return;
    };
    let url = server.url(&name("stopped"));
    let lock = open(&url).expect("a lock");
    let holder = lock.lock().expect("free");
    let (mut stopped, mut next) = (Actor::start(&url), Actor::start(&url));
    stopped.tell("lock");
    wait_for_waiters(&lock, 1);
    next.tell("lock");
    wait_for_waiters(&lock, 2);
    stopped.signal(Signal::STOP);
    holder.release().expect("ours");
    assert!(next.answer().starts_with("held"));
    stopped.signal(Signal::CONT);
    let said = stopped.answer();
    assert!(
        said.starts_with("Unreachable") && said.contains("idle-session"),
        "{said}"
    );
    assert_eq!(next.ask("release"), "released");
    let log = std::fs::read_to_string(server.log()).expect("a log");
    let slices = log.lines().filter(|line| line.contains("ERROR")).count();
    assert_eq!(slices, 0, "{log}");
}

#[test]
fn a_try_does_not_pass_a_waiter_between_two_slices() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("between");
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let holder = lock.lock_shared().expect("free");
    let mut waiter = Actor::start(&url);
    waiter.tell("lock");
    wait_for_waiters(&lock, 1);
    waiter.signal(Signal::STOP);
    let state = format!(
        "SELECT state FROM pg_stat_activity \
         WHERE application_name = 'holdlock:{name}' AND query LIKE '%\"pid\":{},%'",
        waiter.pid()
    );
    eventually("its slice ends", || server.sql(&state) == "idle");
    // Only its ticket says that somebody waits.
    let passed = lock.try_lock_shared().map(drop);
    assert!(passed.expect_err("a writer waits").is_conflict());
    waiter.signal(Signal::CONT);
    holder.release().expect("ours");
    assert!(waiter.answer().starts_with("held"));
    assert_eq!(waiter.ask("release"), "released");
}

#[test]
fn a_waiter_without_a_limit_learns_that_the_server_hangs() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("hangs");
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    let proxy = Proxy::start(server.port());
    let waiter = open(&server.url_at(proxy.port(), &name)).expect("a lock");
    let (began, waits) = channel();
    let request = Request::exclusive().on_wait(move |_| {
        let _ = began.send(());
        ControlFlow::Continue(())
    });
    let waiter = std::thread::spawn(move || waiter.acquire(request));
    waits.recv().expect("it waits");
    // TCP lives.
    proxy.fault(Fault::Silence);
    let silent = Instant::now();
    let error = waiter.join().expect("no panic").expect_err("no answer");
    println!("an error after {:?}", silent.elapsed());
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    guard.release().expect("ours");
}
