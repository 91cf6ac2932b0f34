//! While a server waits for its replicas, it reads nothing from that connection.

use std::time::Duration;

use holdlock_engines::open;
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::{name, server};

#[test]
fn a_request_that_ends_while_the_server_waits_for_replicas_leaves_nothing() {
    let _dog = watchdog::watch(120);
    let Some(server) = server::own(&[]) else {
        return;
    };
    let server = server.awake();
    let name = name("replicas");
    // There are none, and the server waits five seconds for one.
    let lock = open(&server.with("ttl=60&replicas=1", &name)).expect("a lock");
    lock.try_lock_for(Duration::from_secs(2))
        .expect_err("no replica");
    let other = open(&server.with("ttl=60", &name)).expect("a lock");
    let guard = other.try_lock_for(Duration::from_secs(20));
    guard.expect("free").release().expect("ours");
    server.nothing_left(&name);
}
