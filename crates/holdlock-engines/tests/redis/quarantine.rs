//! A server that may have forgotten its locks gives none before old holders must have noticed.

use std::time::{Duration, Instant};

use holdlock::Request;
use holdlock_engines::{EngineGuard, Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, wait_for, watchdog};

use crate::server::Server;
use crate::support::limits::given_up;
use crate::support::lost::{is_definite, wait_for_loss};
use crate::support::order::wait_for_waiters;
use crate::{name, server};

/// The time limit of the locks that are forgotten. A slow machine asks before it has passed.
const TTL: &str = "ttl=10";

/// Asserts that nobody gets the lock before the deadline of `guard`, which was acquired before the
/// server has forgotten it.
fn nobody_acquires_too_early(url: &str, guard: EngineGuard, valid_until: Instant) {
    let lock = open(url).expect("a lock");
    let error = lock.try_lock().expect_err("too early");
    assert!(
        matches!(&error, Error::WouldBlock(conflict) if conflict.restarted.is_some()),
        "{error:?}"
    );
    let (_, error) = given_up(&lock, Request::exclusive);
    assert!(
        matches!(&error, Error::TimedOut(conflict) if conflict.restarted.is_some()),
        "{error:?}"
    );
    let next = lock.lock().expect("later");
    assert!(Instant::now() >= valid_until, "too early");
    assert!(next.token() > guard.token());
    assert!(is_definite(guard.release()));
    next.release().expect("ours");
    // And then it is as before.
    lock.try_lock().expect("free").release().expect("ours");
}

/// Until when a holder may believe in its lock that has just renewed it.
fn valid_until(guard: &EngineGuard) -> Instant {
    guard.check().expect("held");
    Instant::now() + guard.deadline().remaining()
}

#[test]
fn after_a_restart_that_forgets_everything() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(Server::awake) else {
        return;
    };
    let url = server.with(TTL, &name("forgets"));
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.lock());
    wait_for_waiters(&lock, 1);
    let until = valid_until(&guard);
    server.kill();
    server.run();
    // Unsure as long as the server is away.
    eventually("it is lost", || is_definite(guard.check()));
    assert!(guard.lost().loss().is_some());
    // The waiter has asked the new server, and waits there.
    let error = lock.try_lock().expect_err("too early");
    assert!(error.to_string().contains("forgotten its locks"), "{error}");
    let next = waiter.join().expect("no panic").expect("later");
    assert!(Instant::now() >= until, "too early");
    assert!(next.token() > guard.token());
    next.release().expect("ours");
}

#[test]
fn after_a_restart_from_an_older_file() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(Server::awake) else {
        return;
    };
    let url = server.with(TTL, &name("older"));
    let lock = open(&url).expect("a lock");
    lock.lock().expect("free").release().expect("ours");
    server.cli(&["SAVE"]);
    let guard = lock.lock().expect("free");
    let until = valid_until(&guard);
    server.kill();
    server.run();
    // The file has the lock's keys, and not the holder.
    assert_eq!(
        server.cli(&["EXISTS", &server.key(&name("older"), "lock")]),
        "1"
    );
    nobody_acquires_too_early(&url, guard, until);
}

#[test]
fn a_log_that_is_always_synced_keeps_the_lock_over_a_restart() {
    let _dog = watchdog::watch(60);
    let settings = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(server) = server::own(&settings).map(Server::awake) else {
        return;
    };
    let name = name("synced");
    let lock = open(&server.brief(&name)).expect("a lock");
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    server.kill();
    server.run();
    eventually("the lock is confirmed", || guard.check().is_ok());
    assert!(guard.lost().loss().is_none());
    assert!(lock.try_lock().expect_err("held").is_conflict());
    guard.release().expect("ours");
    drop(lock.lock().expect("free"));
}

/// A primary and a replica that has all of it so far.
fn pair() -> Option<(Server, Server)> {
    let primary = server::own(&[])?;
    let port = primary.port().to_string();
    let replica = server::own(&["--replicaof", &format!("127.0.0.1 {port}")])?;
    wait_for("the replica follows", || {
        let info = replica.cli(&["INFO", "replication"]);
        info.contains("master_link_status:up").then_some(())
    });
    // Its history has another name since it has a replica.
    let primary = primary.awake();
    wait_for_replica(&primary);
    Some((primary, replica))
}

/// Waits until the replica has all that the primary has.
fn wait_for_replica(primary: &Server) {
    // At first the replica is sent nothing, until it has acknowledged what it has; WAIT would count
    // it all the same.
    wait_for("the replica has acknowledged all", || {
        let info = primary.cli(&["INFO", "replication"]);
        let (_, offset) = info.split_once("master_repl_offset:")?;
        let offset = offset.lines().next()?.trim();
        info.contains(&format!(",offset={offset},")).then_some(())
    });
}

/// Waits until the server has run for longer than the ttl of these tests.
fn wait_for_age(server: &Server) {
    wait_for("the server is twelve seconds old", || {
        let info = server.cli(&["INFO", "server"]);
        let (_, age) = info.split_once("uptime_in_seconds:")?;
        let age: u32 = age.lines().next()?.trim().parse().ok()?;
        (age >= 12).then_some(())
    });
}

fn url_of_both(primary: &Server, replica: &Server, name: &str) -> String {
    primary.url_by(&[primary.port(), replica.port()], TTL, name)
}

/// Lets the replica miss what comes from now on.
fn cut_off(replica: &Server) {
    // Nothing listens there, as long as the tests run.
    replica.cli(&["REPLICAOF", "127.0.0.1", "1"]);
}

#[test]
fn after_a_replica_has_become_the_primary() {
    let _dog = watchdog::watch(60);
    let Some((primary, replica)) = pair() else {
        return;
    };
    let url = url_of_both(&primary, &replica, &name("promoted"));
    cut_off(&replica);
    let guard = open(&url).expect("a lock").lock().expect("free");
    let until = valid_until(&guard);
    primary.kill();
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    nobody_acquires_too_early(&url, guard, until);
}

#[test]
fn a_waiter_outlasts_the_time_in_which_no_server_is_the_primary() {
    let _dog = watchdog::watch(60);
    let Some((primary, replica)) = pair() else {
        return;
    };
    let lock = open(&url_of_both(&primary, &replica, &name("election"))).expect("a lock");
    let guard = lock.lock().expect("free");
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.lock());
    wait_for_waiters(&lock, 1);
    primary.kill();
    let error = lock.try_lock().expect_err("no primary");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("only a replica"), "{error}");
    std::thread::sleep(Duration::from_secs(3));
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    drop(guard);
    let next = waiter.join().expect("no panic").expect("later");
    next.release().expect("ours");
}

/// The URL has one name, which leads to the old primary for a moment longer.
#[test]
fn a_waiter_outlasts_the_time_in_which_the_only_server_is_a_replica() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(Server::awake) else {
        return;
    };
    let name = name("demotion");
    // It renews the lock every 20 s.
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    let lock = open(&server.brief(&name)).expect("a lock");
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.lock());
    wait_for_waiters(&lock, 1);
    cut_off(&server);
    let error = lock.lock().expect_err("a new request has no time to lose");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    server.cli(&["CONFIG", "RESETSTAT"]);
    eventually("the waiter asks again and again", || {
        waiter.is_finished() || times(&server, "cmdstat_hello:calls=") > 3
    });
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    drop(guard);
    let next = waiter.join().expect("no panic").expect("later");
    next.release().expect("ours");
}

/// A new primary has no replicas for a moment, and writes nothing without them.
#[test]
fn a_waiter_outlasts_the_time_in_which_the_primary_has_no_replicas() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(Server::awake) else {
        return;
    };
    let name = name("replicas");
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    let lock = open(&server.brief(&name)).expect("a lock");
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.lock());
    wait_for_waiters(&lock, 1);
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let error = lock.lock().expect_err("no replicas");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("its replicas"), "{error}");
    server.cli(&["CONFIG", "RESETSTAT"]);
    eventually("the waiter asks again and again", || {
        waiter.is_finished() || times(&server, "errorstat_NOREPLICAS:count=") > 3
    });
    server.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    guard.release().expect("ours");
    let next = waiter.join().expect("no panic").expect("later");
    next.release().expect("ours");
}

/// How often the server has done this.
fn times(server: &Server, what: &str) -> u32 {
    let info = server.cli(&["INFO", "all"]);
    let (_, number) = info.split_once(what).unwrap_or_default();
    let number = number.split(|c: char| !c.is_ascii_digit()).next();
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[test]
fn a_new_primary_that_never_had_a_lock_waits_as_well() {
    let _dog = watchdog::watch(60);
    let Some((primary, replica)) = pair() else {
        return;
    };
    let url = url_of_both(&primary, &replica, &name("never"));
    // For how long it has run says nothing.
    wait_for_age(&replica);
    // It does not even know that there are locks.
    cut_off(&replica);
    let guard = open(&url).expect("a lock").lock().expect("free");
    let until = valid_until(&guard);
    primary.kill();
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    replica.cli(&["FLUSHALL"]);
    nobody_acquires_too_early(&url, guard, until);
}

#[test]
fn after_a_primary_was_the_replica_of_another_one_for_a_while() {
    let _dog = watchdog::watch(60);
    let Some((primary, replica)) = pair() else {
        return;
    };
    let url = primary.with(TTL, &name("demoted"));
    let lock = open(&url).expect("a lock");
    lock.lock().expect("free").release().expect("ours");
    wait_for_replica(&primary);
    cut_off(&replica);
    let guard = lock.lock().expect("free");
    let until = valid_until(&guard);
    // It becomes what the other one is, which has missed the lock. It is the same process all the
    // time.
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    primary.cli(&["REPLICAOF", "127.0.0.1", &replica.port().to_string()]);
    wait_for("it follows", || {
        let info = primary.cli(&["INFO", "replication"]);
        info.contains("master_link_status:up").then_some(())
    });
    primary.cli(&["REPLICAOF", "NO", "ONE"]);
    nobody_acquires_too_early(&url, guard, until);
}

#[test]
fn a_lock_that_the_replica_has_is_kept_when_the_replica_becomes_the_primary() {
    let _dog = watchdog::watch(60);
    let Some((primary, replica)) = pair() else {
        return;
    };
    let ports = [primary.port(), replica.port()];
    let url = primary.url_by(&ports, "replicas=1&ttl=30", &name("handed"));
    let lock = open(&url).expect("a lock");
    // The replica of a slow machine may be late.
    let guard = wait_for("the lock", || lock.lock().ok());
    primary.kill();
    replica.cli(&["REPLICAOF", "NO", "ONE"]);
    // Nothing confirms it there, since the replica is gone; but the server knows it.
    let error = guard.check().expect_err("no replica");
    assert!(error.to_string().contains("0 of 1 replicas"), "{error}");
    let url = url.replace("replicas=1&", "");
    let holder = open(&url)
        .expect("a lock")
        .members()
        .expect("answers")
        .holders
        .pop();
    assert_eq!(holder.expect("one").token, guard.token());
    guard.release().expect("ours");
}

#[test]
fn without_its_replicas_a_lock_is_neither_given_nor_kept() {
    let _dog = watchdog::watch(90);
    let Some((primary, replica)) = pair() else {
        return;
    };
    let url = primary.with("ttl=30&replicas=1", &name("alone"));
    let lock = open(&url).expect("a lock");
    // The replica of a slow machine may be late.
    let guard = wait_for("the lock", || lock.lock().ok());
    eventually("it is confirmed", || guard.check().is_ok());
    cut_off(&replica);
    let is_named = |why: String| why.contains("0 of 1 replicas");
    eventually("it is refused", || guard.refusal().is_some_and(is_named));
    let loss = wait_for_loss(&guard);
    assert!(!loss.is_definite(), "{loss}");
    // The server has kept it, and has two seconds to say so.
    assert!(!is_definite(guard.release()));
    let error = lock.lock().expect_err("no replica");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("lower replicas="), "{error}");
    primary.nothing_left(&name("alone"));
}

/// In a cluster each lock has a note of its own. It has to outlive the lock, and not to stay for
/// ever.
#[test]
fn the_note_about_a_node_of_a_cluster_outlives_its_lock_and_goes_then() {
    let _dog = watchdog::watch(60);
    let Some(node) = server::own(&["--cluster-enabled", "yes"]) else {
        return;
    };
    node.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    eventually("the cluster is complete", || {
        node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    });
    let name = name("note");
    let left = |part: &str| {
        let left = node.cli(&["PTTL", &node.key(&name, part)]);
        left.parse::<i64>().expect("a number")
    };
    let lock = open(&node.with("ttl=15", &name)).expect("a lock");
    lock.try_lock().expect_err("too early");
    assert!(left("server") > 0, "{}", left("server"));
    let guard = lock.lock().expect("free");
    guard.check().expect("held");
    assert!(left("until") > 0, "{}", left("until"));
    assert!(left("server") > left("until") + 60_000);
    guard.release().expect("ours");
    // A note of an earlier version has no end.
    node.cli(&["PERSIST", &node.key(&name, "server")]);
    lock.try_lock().expect("free").release().expect("ours");
    assert!(left("server") > 0, "{}", left("server"));
}
