//! The tests of engines that keep a lock by a lease, whatever becomes of connections.

mod repeated;
mod unfinished;

use std::time::{Duration, Instant};

use holdlock_engines::{BootTime, Error, open};
use holdlock_test_support::proxy::{Fault, LATE, Proxy};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};
use rustix::process::Signal;

use crate::support::actor::Actor;
use crate::support::lost::{is_lost, wait_for_loss};
use crate::{name, server};

#[test]
fn a_holder_that_was_stopped_for_longer_than_its_lease_has_lost_the_lock_and_harms_nobody() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("stopped");
    let lock = open(&server.url(&name)).expect("a lock");
    let mut holder = Actor::start(&server.brief(&name));
    let first: u64 = holder.ask("lock")["held ".len()..]
        .parse()
        .expect("a token");
    let deadline: u128 = holder.ask("deadline").parse().expect("a number");
    holder.signal(Signal::STOP);
    let next = lock.lock().expect("the lease ends");
    assert!(BootTime::now().since_boot().as_nanos() > deadline);
    assert!(next.token() > Some(first));
    holder.signal(Signal::CONT);
    assert_eq!(holder.ask("valid"), "false");
    // On a slow machine a check may end before the server has answered.
    let mut said = String::new();
    eventually("it learns it", || {
        said = holder.ask("check");
        assert!(said.contains("Lost"), "{said}");
        said.contains("was lost")
    });
    assert!(holder.ask("release").starts_with("Lost"));
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
    let name = name("late");
    let mut holder = Actor::start(&server.brief(&name));
    assert!(holder.ask("lock").starts_with("held"));
    holder.signal(Signal::STOP);
    // It is read before the process has learned anything else.
    holder.tell("release");
    let lock = open(&server.url(&name)).expect("a lock");
    let next = lock.lock().expect("the lease ends");
    holder.signal(Signal::CONT);
    let said = holder.answer();
    assert!(said.starts_with("Lost"), "{said}");
    next.check().expect("held");
    assert!(lock.try_lock().expect_err("held").is_conflict());
    next.release().expect("ours");
}

#[test]
fn a_question_outlasts_a_silence_that_is_shorter_than_the_lease() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let proxy = Proxy::start(server.port());
    let url = server.url_by(&[proxy.port()], "ttl=24", &name("asked"));
    let guard = open(&url).expect("a lock").lock().expect("free");
    guard.check().expect("held");
    // Longer than a message waits for its answer, and than a renewal may take.
    outlasts_a_silence(&proxy, Duration::from_secs(9), || guard.check());
    guard.release().expect("ours");
}

#[test]
fn a_release_outlasts_a_silence_that_is_shorter_than_the_lease() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let proxy = Proxy::start(server.port());
    let name = name("given back");
    let url = server.url_by(&[proxy.port()], "ttl=30", &name);
    let guard = open(&url).expect("a lock").lock().expect("free");
    guard.check().expect("held");
    // Its first message is swallowed, and waits five seconds for an answer.
    outlasts_a_silence(&proxy, Duration::from_secs(3), || guard.release());
    // The lease would last for longer.
    let near = open(&server.url(&name)).expect("a lock");
    let next = near.try_lock_for(Duration::from_secs(15)).expect("free");
    next.release().expect("ours");
}

/// The answer comes after the silence, and is that the lock is ours.
fn outlasts_a_silence(
    proxy: &Proxy,
    silence: Duration,
    ask: impl FnOnce() -> Result<(), Error> + Send,
) {
    proxy.fault(Fault::Silence);
    std::thread::scope(|scope| {
        let asked = scope.spawn(ask);
        std::thread::sleep(silence);
        let is_answered = asked.is_finished();
        proxy.fault(Fault::None);
        asked.join().expect("no panic").expect("ours all the time");
        assert!(!is_answered);
    });
}

#[test]
fn the_deadline_counts_from_the_sending_of_a_message_and_not_from_its_answer() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let proxy = Proxy::start(server.port());
    let url = server.url_by(&[proxy.port()], "ttl=60", &name("sent"));
    let lock = open(&url).expect("a lock");
    // In etcd the key is created after the lease: two answers.
    let answers = if server.engine() == "etcd" { 2 } else { 1 };
    let valid = Duration::from_secs(54);
    proxy.fault(Fault::Late);
    let guard = lock.lock().expect("free");
    let most = valid - answers * LATE;
    assert!(guard.deadline().remaining() <= most);
    guard.check().expect("held");
    assert!(guard.deadline().remaining() <= most);
    proxy.fault(Fault::None);
    eventually("an answer comes at once", || {
        guard.check().expect("held");
        guard.deadline().remaining() > most
    });
    guard.release().expect("ours");
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
        let checked = guard.check_within(Duration::from_secs(5));
        assert!(is_lost(checked), "{fault:?}");
        let error = lock
            .try_lock_for(Duration::from_secs(20))
            .expect_err("no server");
        assert!(
            matches!(error, Error::Unreachable { .. } | Error::Unsuitable { .. }),
            "{fault:?}: {error:?}"
        );
        // The lock is kept: another connection will do.
        proxy.fault(Fault::None);
        eventually("it is held", || guard.check().is_ok());
        assert!(guard.is_valid());
    }
    guard.release().expect("ours");
    server.nothing_left(&name);

    let brief = open(&server.brief_at(proxy.port(), &name)).expect("a lock");
    let guard = brief.lock().expect("free");
    proxy.fault(Fault::Cut);
    assert!(!wait_for_loss(&guard).is_definite());
    proxy.fault(Fault::None);
    let _ = guard.release();
    lock.lock().expect("free").release().expect("ours");
    server.nothing_left(&name);
}

#[test]
fn a_process_that_ends_gives_its_lock_or_its_place_back_first() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    // None on a slow machine: a process waits no longer than a second for a server.
    let is_left = |round| {
        // With the usual time limit, which is longer than the test.
        let url = server.url(&name(&format!("end{round}")));
        let lock = open(&url).expect("a lock");
        let mut actor = Actor::start(&url);
        assert!(actor.ask("lock").starts_with("held"));
        if !ends_in_time(actor, "leave") {
            return None;
        }
        let Ok(guard) = lock.try_lock() else {
            return Some(true);
        };
        let mut actor = Actor::start(&url);
        assert_eq!(actor.ask("waiters"), "0");
        let in_time = ends_in_time(actor, "withdraw");
        let waiters = lock.members().expect("answers").waiters;
        guard.release().expect("ours");
        in_time.then_some(!waiters.is_empty())
    };
    let rounds: Vec<bool> = (0..20).filter_map(is_left).collect();
    let left = rounds.iter().filter(|is_left| **is_left).count();
    assert!(!rounds.is_empty() && left == 0, "{left} of {rounds:?}");
}

/// Whether it ends so soon that it has not given up waiting for the server.
fn ends_in_time(mut actor: Actor, order: &str) -> bool {
    let began = Instant::now();
    actor.tell(order);
    actor.wait();
    began.elapsed() < Duration::from_millis(900)
}
