//! A connection that ends is replaced at once, and what was said over it is said again.

use std::time::Duration;

use holdlock_engines::open;
use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};

use crate::fake::{self, Reply};
use crate::{name, server};

#[test]
fn a_connection_that_ends_is_replaced_at_once() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(server::Server::awake) else {
        return;
    };
    // The next renewal is some minutes away.
    let lock = open(&server.with("ttl=600", &name("at-once"))).expect("a lock");
    let guard = lock.lock().expect("free");
    guard.check().expect("held");
    let clients = || {
        let list = server.cli(&["CLIENT", "LIST"]);
        // A client that has subscribed to its channel.
        let ours = list.lines().filter(|line| line.contains(" sub=1 "));
        ours.map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let first = clients();
    assert_eq!(first.len(), 1, "{first:?}");
    let number = first[0].trim_start_matches("id=");
    server.cli(&["CLIENT", "KILL", "ID", number]);
    eventually("there is another connection", || {
        let now = clients();
        now.len() == 1 && now != first
    });
    guard.release().expect("ours");
}

#[test]
fn a_call_whose_answer_is_lost_is_repeated() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let proxy = Proxy::start(server.port());
    let url = server.url_by(&[proxy.port()], "ttl=600", &name("again"));
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    guard.check().expect("held");
    proxy.fault(Fault::CutOnce);
    guard.check().expect("the answer to the second try");
    guard.release().expect("ours");
}

/// The machine of the old primary is dead: nothing answers there.
#[test]
fn a_silent_host_does_not_hide_the_primary_behind_it() {
    let _dog = watchdog::watch(60);
    let silent = fake::start(|_| Reply::Nothing);
    let primary = fake::start(|call| match (call.what(), call.connection) {
        ("renew", 0) => Reply::Last(String::new()),
        _ => Reply::Usual,
    });
    let url = format!("redis://{silent},{primary}?ttl=60&connect_timeout=60#n");
    let lock = open(&url).expect("a lock");
    let guard = lock.try_lock_for(Duration::from_secs(30)).expect("free");
    // A renewal has twenty seconds, and needs another connection.
    guard.check().expect("held");
    assert!(guard.lost().loss().is_none());
    guard.release().expect("ours");
}

/// The machine of a node of a cluster dies, and its replica has the lock.
#[test]
fn a_silent_node_of_a_cluster_does_not_hide_the_others() {
    let _dog = watchdog::watch(60);
    let cluster = || Reply::Is(fake::hello("cluster", "master"));
    let node = fake::start(move |call| match (call.what(), call.connection) {
        (_, 1..) => Reply::Nothing,
        ("HELLO", _) => cluster(),
        ("renew", _) => Reply::Last(String::new()),
        _ => Reply::Usual,
    });
    let other = fake::start(move |call| match call.what() {
        "HELLO" => cluster(),
        "step" => Reply::Is(format!("-MOVED 3999 {node}\r\n")),
        _ => Reply::Usual,
    });
    // A renewal has three seconds, and a connection five.
    let lock = open(&format!("redis://{other}?ttl=9#n")).expect("a lock");
    let guard = lock.lock().expect("free");
    eventually("it is renewed", || guard.check().is_ok());
    assert!(guard.lost().loss().is_none());
    guard.release().expect("ours");
}
