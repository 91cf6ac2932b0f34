//! A lock that is lost: the guard knows it before another process can have the lock.

use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use holdlock::Request;
use holdlock_engines::{Error, open};
use holdlock_test_support::eventually;
use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use crate::support::broken;
use crate::support::futures::block_on;
use crate::support::limits::given_up;
use crate::support::lost::{is_lost, wait_for_loss};
use crate::{name, server};

fn is_readable(descriptor: impl AsFd) -> bool {
    let mut descriptors = [PollFd::new(&descriptor, PollFlags::IN)];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut descriptors, Some(&now)).expect("works") > 0
}

#[test]
fn a_terminated_session_is_noticed_at_once_in_every_way() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("terminated");
    let lock = open(&server.url(&name)).expect("a lock");
    let guard = lock.lock().expect("free");
    let (tell, told) = channel();
    guard
        .lost()
        .on_lost(move |loss| tell.send(loss.clone()).expect("listens"));
    assert!(!is_readable(guard.lost()) && guard.lost().wait(Duration::ZERO).is_none());
    server.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdlock:{name}'"
    ));
    let loss = wait_for_loss(&guard);
    assert!(
        loss.is_definite() && loss.why().contains("administrator"),
        "{loss}"
    );
    assert_eq!(told.recv().expect("called"), loss);
    assert!(is_readable(guard.lost()));
    assert!(!guard.is_valid() && guard.deadline().has_passed());
    assert!(is_lost(guard.check()));
    let (tell, told) = channel();
    guard
        .lost()
        .on_lost(move |_| tell.send(()).expect("listens"));
    told.recv().expect("called although it comes late");
    // The lock is another's now, and releasing the old guard does not harm it.
    let next = lock.try_lock_for(Duration::from_secs(60)).expect("free");
    assert!(is_lost(guard.release()));
    next.release().expect("ours");
}

#[test]
fn the_end_of_a_session_is_noticed_before_the_next_renewal() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("at-once");
    let lock = open(&server.with("ttl=15", &name)).expect("a lock");
    let noticed = |_| {
        let guard = lock.lock().expect("free");
        // The next renewal is five seconds away.
        guard.check().expect("held");
        let began = Instant::now();
        server.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdlock:{name}'"
        ));
        wait_for_loss(&guard);
        began.elapsed()
    };
    let best = (0..5).map(noticed).min().expect("five");
    assert!(best < Duration::from_secs(4), "{best:?}");
}

#[test]
fn after_a_crash_of_the_server_nobody_acquires_before_the_old_holder_must_have_noticed() {
    let _dog = watchdog::watch(90);
    // Only what is written to the log at once survives.
    let Some(server) = server::own("wal_writer_delay = 10s") else {
        return;
    };
    let name = name("crash");
    let lock = open(&server.url(&name)).expect("a lock");
    let guard = lock.lock().expect("free");
    let waiter = {
        let lock = lock.clone();
        std::thread::spawn(move || lock.lock())
    };
    eventually("it waits", || {
        lock.members().expect("answers").waiters.len() == 1
    });
    server.crash();
    assert!(wait_for_loss(&guard).is_definite());
    let error = waiter
        .join()
        .expect("no panic")
        .expect_err("the connection ended");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let began = Instant::now();
    // A slow machine has more time until it is not too early any more.
    let lock = open(&server.with("ttl=10", &name)).expect("a lock");
    let error = lock.try_lock().expect_err("too early");
    assert!(
        error.is_conflict() && error.to_string().contains("was started a moment ago"),
        "{error}"
    );
    let (_, error) = given_up(&lock, Request::exclusive);
    assert!(
        matches!(&error, Error::TimedOut(conflict) if conflict.restarted.is_some()),
        "{error:?}"
    );
    let next = lock.lock().expect("later");
    assert!(
        began.elapsed() > Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    // The token has survived the crash.
    assert!(next.token() > guard.token());
    assert!(is_lost(guard.release()));

    // One process of the server crashes, and the server starts the others again. Its own start was
    // before, but the locks are gone.
    let session = lock.members().expect("answers").holders[0].session.clone();
    server.signal_all(&[session.expect("a pid")], Signal::KILL);
    assert!(wait_for_loss(&next).is_definite());
    let error = eventually_other_than_unreachable(|| lock.try_lock().expect_err("too early"));
    assert!(
        error.to_string().contains("was started a moment ago"),
        "{error}"
    );
}

fn eventually_other_than_unreachable(mut ask: impl FnMut() -> Error) -> Error {
    holdlock_test_support::wait_for("the server answers", || {
        Some(ask()).filter(|error| !matches!(error, Error::Unreachable { .. }))
    })
}

#[test]
fn a_server_that_stands_still_makes_the_lock_unsure_and_an_answer_makes_it_sure_again() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    let lock = open(&server.url(&name("still"))).expect("a lock");
    let guard = lock.lock().expect("free");
    let sessions = lock.members().expect("answers").holders;
    let pid = sessions[0].session.clone().expect("a pid");
    server.signal_all(std::slice::from_ref(&pid), Signal::STOP);
    let loss = wait_for_loss(&guard);
    assert!(
        !loss.is_definite() && loss.to_string().contains("may have been lost"),
        "{loss}"
    );
    // The signal came at the deadline, and not after it.
    assert!(!guard.is_valid() && guard.deadline().has_passed());
    server.signal_all(&[pid], Signal::CONT);
    guard.check().expect("the session has lived on");
    assert!(guard.is_valid());
    guard.release().expect("ours");
}

#[test]
fn a_task_that_asks_a_server_that_stands_still_is_answered_in_time() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let lock = open(&server.url(&name("asked"))).expect("a lock");
    let guard = lock.lock().expect("free");
    let sessions = lock.members().expect("answers").holders;
    let pid = sessions[0].session.clone().expect("a pid");
    server.signal_all(std::slice::from_ref(&pid), Signal::STOP);
    // The second question comes while the first one is under way, as that of the renewal may be.
    let (first, second) = (guard.check_async(), guard.check_async());
    assert!(is_lost(block_on(first)) && is_lost(block_on(second)));
    server.signal_all(&[pid], Signal::CONT);
    block_on(guard.check_async()).expect("the session has lived on");
    guard.release().expect("ours");
}

#[test]
fn a_cancelled_heartbeat_does_not_lose_the_lock() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("hiccup");
    let lock = open(&server.url(&name)).expect("a lock");
    let guard = lock.lock().expect("free");
    for _ in 0..20 {
        server.sql(&format!(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdlock:{name}'"
        ));
        let _ = guard.check();
    }
    eventually("it is held", || guard.check().is_ok());
    assert!(guard.lost().loss().is_none());
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
    proxy.fault(Fault::Garbage);
    assert!(is_lost(guard.check()));
    assert!(is_lost(guard.release()));
    // What looks like the beginning of a long message is waited for.
    let impatient = server.url_by(&[proxy.port()], "ttl=6&connect_timeout=1", &name);
    let impatient = open(&impatient).expect("a lock");
    for fault in [Fault::Garbage, Fault::Cut] {
        proxy.fault(fault);
        let error = impatient
            .try_lock_for(Duration::from_secs(20))
            .expect_err("no server");
        assert!(
            matches!(error, Error::Unreachable { .. } | Error::Credentials { .. }),
            "{fault:?}: {error:?}"
        );
    }
    proxy.fault(Fault::None);
    let guard = lock.try_lock_for(Duration::from_secs(60)).expect("free");
    proxy.fault(Fault::Cut);
    assert!(is_lost(guard.check()));
    assert!(wait_for_loss(&guard).is_definite());
    server.nothing_left(&name);
}

#[test]
fn a_holder_that_was_stopped_asks_before_it_gives_up() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.brief(&name("paused"));
    let mut holder = crate::support::actor::Actor::start(&url);
    assert!(holder.ask("lock").starts_with("held"));
    holder.signal(Signal::STOP);
    // The deadline is five seconds after the last renewal. The server keeps the lock: its kernel
    // hears that of the holder.
    std::thread::sleep(Duration::from_secs(6));
    let lock = open(&url).expect("a lock");
    assert!(lock.try_lock().expect_err("held").is_conflict());
    holder.signal(Signal::CONT);
    assert_eq!(holder.ask("check"), "Ok(())");
    assert_eq!(holder.ask("valid"), "true");
    assert_eq!(holder.ask("lost"), "None");
    assert_eq!(holder.ask("release"), "released");
}

#[test]
fn broken_answers_neither_hang_nor_panic_nor_give_the_lock() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("broken");
    let proxy = Proxy::start(server.port());
    let far = server.brief_at(proxy.port(), &name);
    let near = server.url(&name);
    broken::broken_answers_neither_hang_nor_panic_nor_give_the_lock(&near, &proxy, &far);
}
