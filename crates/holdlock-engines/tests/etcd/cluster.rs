//! Three members, some of which do not answer.

use std::net::TcpListener;
use std::ops::ControlFlow;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use holdlock::Request;
use holdlock_engines::{Error, open};
use holdlock_test_support::servers::{Port, Server as _};
use holdlock_test_support::{eventually, wait_for, watchdog};
use rustix::process::Signal;

use crate::support::actor::Actor;
use crate::support::order::wait_for_waiters;
use crate::{name, server};

#[test]
fn a_lock_and_its_queue_outlive_the_death_of_the_leader() {
    let _dog = watchdog::watch(120);
    let Some(cluster) = server::own(3, &[]) else {
        return;
    };
    let url = cluster.url(&name("leader"));
    let lock = open(&url).expect("a lock");
    // Three members of a slow machine may choose another leader at any time.
    let guard = wait_for("the lock", || lock.lock().ok());
    let mut waiter = Actor::start(&url);
    waiter.tell("lock");
    wait_for_waiters(&lock, 1);
    for signal in [Signal::KILL, Signal::STOP] {
        let leader = cluster.leader();
        match signal {
            Signal::KILL => cluster.kill(leader),
            _ => cluster.signal(leader, signal),
        }
        eventually("a check is answered", || match guard.check() {
            Ok(()) => true,
            Err(Error::Lost { loss, .. }) if !loss.is_definite() => {
                println!("after {signal:?}: {loss}");
                false
            }
            Err(error) => panic!("{signal:?}: {error}"),
        });
        let members = wait_for("the members", || lock.members().ok());
        assert_eq!((members.holders.len(), members.waiters.len()), (1, 1));
        match signal {
            Signal::KILL => cluster.start_member(leader),
            _ => cluster.signal(leader, Signal::CONT),
        }
        cluster.ready();
    }
    let token = guard.token();
    guard.release().expect("ours");
    let next: u64 = waiter.answer()["held ".len()..].parse().expect("a token");
    assert!(Some(next) > token);
    assert_eq!(waiter.ask("release"), "released");
}

#[test]
fn without_a_majority_there_is_no_lock_and_no_wait_without_end() {
    let _dog = watchdog::watch(120);
    let Some(cluster) = server::own(3, &[]) else {
        return;
    };
    let url = cluster.with("ttl=6&connect_timeout=1", &name("minority"));
    let lock = open(&url).expect("a lock");
    // A slow machine may need longer than the limit to connect.
    let guard = wait_for("the lock", || lock.lock().ok());
    for member in [0, 1] {
        cluster.kill(member);
    }
    let loss = guard.lost().wait(Duration::from_secs(60)).expect("lost");
    assert!(!loss.is_definite(), "{loss}");
    let error = lock.try_lock().expect_err("no majority");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    // The member says so by itself.
    eventually("the reason is told", || {
        let error = lock.try_lock().expect_err("no majority");
        error.to_string().contains("no leader")
    });
    for member in [0, 1] {
        cluster.start_member(member);
    }
    cluster.ready();
    // A new leader gives each lease its whole time again.
    eventually("it is sure again, or lost", || match guard.check() {
        Ok(()) => true,
        Err(Error::Lost { loss, .. }) => loss.is_definite(),
        Err(_) => false,
    });
}

#[test]
fn a_restart_of_the_server_ends_neither_the_lock_nor_a_wait() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::own(1, &[]) else {
        return;
    };
    let url = cluster.url(&name("restart"));
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    let (waiting, (tell, told)) = (lock.clone(), channel());
    let waiter = std::thread::spawn(move || {
        let request = Request::exclusive().on_wait(|_| {
            let _ = tell.send(());
            ControlFlow::Continue(())
        });
        waiting.acquire(request)
    });
    // It knows that it has its place, and not only the server.
    told.recv().expect("it waits");
    cluster.kill(0);
    assert!(guard.is_valid());
    cluster.start_member(0);
    cluster.ready();
    guard.check().expect("kept");
    guard.release().expect("ours");
    let next = waiter.join().expect("no panic").expect("its turn");
    next.release().expect("ours");
}

#[test]
fn dead_endpoints_are_passed_over() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    // Nobody answers at the first, and nobody listens at the second.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("an address").port();
    let closed = Port::new();
    let ports = [silent, closed.number(), cluster.port()];
    let url = cluster.url_by(&ports, "ttl=60&connect_timeout=60", &name("dead"));
    let lock = open(&url).expect("a lock");
    let began = Instant::now();
    let guard = lock.lock().expect("free");
    // The limit for an endpoint is a minute.
    assert!(began.elapsed() < Duration::from_secs(30));
    guard.check().expect("held");
    guard.release().expect("ours");
}

#[test]
fn when_no_endpoint_answers_the_error_comes_in_time_and_names_each() {
    let _dog = watchdog::watch(60);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("an address").port();
    let port = Port::new();
    let closed = port.number();
    let url = format!("etcd://127.0.0.1:{silent},127.0.0.1:{closed}/?connect_timeout=1#n");
    let lock = open(&url).expect("a lock");
    let began = Instant::now();
    let error = lock.lock().expect_err("nobody there");
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let said = error.to_string();
    assert!(
        said.contains(&format!("127.0.0.1:{silent}: no answer within 1 s")),
        "{said}"
    );
    assert!(
        said.contains(&format!("127.0.0.1:{closed}: Connection refused")),
        "{said}"
    );
}
