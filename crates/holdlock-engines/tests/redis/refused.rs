//! Servers that are no safe place for a lock, or do not answer now.

use std::time::Duration;

use holdlock_engines::{Error, open};
use holdlock_test_support::servers::{Port, Server as _};
use holdlock_test_support::{eventually, wait_for, watchdog};

use crate::fake::{self, Reply};
use crate::server::Server;
use crate::{name, server};

#[test]
fn a_replica_is_refused_and_the_primary_is_found() {
    let _dog = watchdog::watch(60);
    // A primary of its own: one that gets its first replica gives no locks for a while.
    let Some(primary) = server::own(&[]).map(Server::awake) else {
        return;
    };
    let of_primary = format!("127.0.0.1 {}", primary.port());
    let Some(replica) = server::own(&["--replicaof", &of_primary, "--replica-read-only", "no"])
    else {
        return;
    };
    let url = replica.brief(&name("replica"));
    let error = open(&url).expect("a lock").try_lock().expect_err("refused");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(error.to_string().contains("name the primary"), "{error}");
    let both = replica.url_by(&[replica.port(), primary.port()], "ttl=6", &name("replica"));
    let guard = open(&both).expect("a lock").lock().expect("free");
    let direct = open(&primary.brief(&name("replica"))).expect("a lock");
    assert!(direct.try_lock().expect_err("held").is_conflict());
    guard.release().expect("ours");
}

#[test]
fn a_primary_that_becomes_a_replica_gives_no_locks() {
    let _dog = watchdog::watch(60);
    let (Some(first), Some(second)) = (
        server::own(&["--replica-read-only", "no"]).map(Server::awake),
        server::own(&[]),
    ) else {
        return;
    };
    let lock = open(&first.url(&name("demoted"))).expect("a lock");
    let guard = lock.lock().expect("free");
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.lock());
    crate::support::order::wait_for_waiters(&lock, 1);
    first.cli(&["REPLICAOF", "127.0.0.1", &second.port().to_string()]);
    let error = waiter.join().expect("no panic").expect_err("a replica");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    drop(guard);
}

#[test]
fn a_sentinel_is_refused() {
    let _dog = watchdog::watch(60);
    let Some(_) = server::shared() else {
        return;
    };
    let Some(sentinel) = server::sentinel() else {
        return;
    };
    let error = open(&sentinel.url(&name("sentinel"))).expect("a lock");
    let error = error.try_lock().expect_err("refused");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(error.to_string().contains("Sentinel"), "{error}");
}

#[test]
fn a_node_of_a_cluster_sends_us_to_the_right_one() {
    let _dog = watchdog::watch(120);
    let settings = ["--cluster-enabled", "yes"];
    let (Some(first), Some(second)) = (server::own(&settings), server::own(&settings)) else {
        return;
    };
    let lock = open(&first.brief(&name("cluster"))).expect("a lock");
    let error = lock.try_lock().expect_err("no slot is served");
    assert!(error.to_string().contains("CLUSTERDOWN"), "{error}");
    first.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]);
    second.cli(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]);
    first.meet(&second);
    for node in [&first, &second] {
        wait_for("the cluster is complete", || {
            let info = node.cli(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok").then_some(())
        });
    }
    // One name for each node.
    for is_first in [true, false] {
        let name = (0..).map(|number| format!("n{number}"));
        let slot = |name: &str| first.cli(&["CLUSTER", "KEYSLOT", &first.key(name, "lock")]);
        let slot = |name: &str| slot(name).parse::<u32>().expect("a number");
        let mut name = name.filter(|name| (slot(name) < 8192) == is_first);
        let name = name.next().expect("one");
        let lock = open(&first.brief(&name)).expect("a lock");
        let guard = lock.lock().expect("free");
        let other = open(&second.brief(&name)).expect("a lock");
        assert!(other.try_lock().expect_err("held").is_conflict());
        let waiter = std::thread::spawn(move || other.lock());
        crate::support::order::wait_for_waiters(&lock, 1);
        guard.release().expect("ours");
        let guard = waiter.join().expect("no panic").expect("free");
        guard.check().expect("held");
        guard.release().expect("ours");
    }
}

/// A node that does not know by which address it is reached sends the port only.
#[test]
fn a_node_that_sends_us_to_another_port_means_its_own_host() {
    let _dog = watchdog::watch(60);
    let cluster = || Reply::Is(fake::hello("cluster", "master"));
    let right = fake::start(move |call| match call.what() {
        "HELLO" => cluster(),
        _ => Reply::Usual,
    });
    let port = right.rsplit(':').next().expect("a port").to_owned();
    let wrong = fake::start(move |call| match call.what() {
        "HELLO" => cluster(),
        "step" => Reply::Is(format!("-MOVED 3999 :{port}\r\n")),
        _ => Reply::Usual,
    });
    let lock = open(&format!("redis://{wrong}#n")).expect("a lock");
    lock.try_lock().expect("free").release().expect("ours");
}

#[test]
fn a_server_that_is_busy_with_a_script_does_not_end_a_lock() {
    let _dog = watchdog::watch(60);
    let settings = ["--busy-reply-threshold", "100"];
    let Some(server) = server::own(&settings).map(Server::awake) else {
        return;
    };
    let url = server.with("ttl=15", &name("busy"));
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    std::thread::scope(|scope| {
        // Ends with an error when it is killed.
        scope.spawn(|| server.cli(&["EVAL", "while true do end", "0"]));
        eventually("the server is busy", || {
            server.cli(&["PING"]).contains("BUSY")
        });
        let error = lock.try_lock().expect_err("busy");
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("BUSY"), "{error}");
        let soon = Duration::from_secs(1);
        assert!(guard.check_within(soon).is_err() && guard.is_valid());
        let waiting = lock.clone();
        let waiter = scope.spawn(move || waiting.try_lock_for(Duration::from_millis(500)));
        assert!(waiter.join().expect("no panic").is_err());
        server.cli(&["SCRIPT", "KILL"]);
    });
    eventually("it is held", || guard.check().is_ok());
    assert!(guard.lost().loss().is_none());
    guard.release().expect("ours");
}

#[test]
fn a_user_without_rights_hears_which_are_missing() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(Server::awake) else {
        return;
    };
    server.cli(&["ACL", "SETUSER", "ann", "on", ">secret"]);
    let url = server.url(&name("acl")).replace("://", "://ann:secret@");
    let lock = open(&url).expect("a lock");
    let error = lock.try_lock().expect_err("no right");
    assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
    // What the message tells to do is enough.
    let said = error.to_string();
    let (_, rule) = said.split_once("grant it: ").expect("a remedy");
    let rule: Vec<&str> = rule.split(' ').collect();
    assert_eq!(server.cli(&rule), "OK");
    server.cli(&["ACL", "LOG", "RESET"]);
    let guard = lock.lock().expect("free");
    guard.check().expect("held");
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.lock());
    crate::support::order::wait_for_waiters(&lock, 1);
    guard.release().expect("ours");
    let guard = waiter.join().expect("no panic").expect("free");
    guard.release().expect("ours");
    assert_eq!(server.cli(&["ACL", "LOG"]), "");
}

#[test]
fn nobody_at_the_address_is_said_with_the_address() {
    let _dog = watchdog::watch(60);
    let reserved = Port::new();
    let port = reserved.number();
    let lock = open(&format!("redis://127.0.0.1:{port}#n")).expect("a lock");
    let error = lock.try_lock().expect_err("nobody");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains(&format!("127.0.0.1:{port}: ")), "{said}");
    assert!(said.contains("refused"), "{said}");
}
