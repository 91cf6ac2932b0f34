//! While a server waits for its replicas, it reads nothing from that connection.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use holdlock_engines::open;
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};

use crate::fake::{self, Reply};
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

/// An old primary that was cut off answers a renewal, and ends the connection behind the answer
/// when it becomes a replica. The new primary has heard nothing of that renewal.
#[test]
fn replicas_of_another_server_confirm_no_renewal() {
    let _dog = watchdog::watch(60);
    let healed = Arc::new(AtomicBool::new(false));
    let is_healed = healed.clone();
    let address = fake::start(move |call| match (call.what(), call.connection) {
        ("renew", 0) if is_healed.load(SeqCst) => Reply::Last(":1\r\n".to_owned()),
        ("renew", 1..) => Reply::Is(":0\r\n".to_owned()),
        _ => Reply::Usual,
    });
    let lock = open(&format!("redis://{address}?ttl=60&replicas=1#n")).expect("a lock");
    let guard = lock.lock().expect("free");
    guard.check().expect("held");
    healed.store(true, SeqCst);
    guard.check().expect_err("no longer held");
}

/// The connection ends before the replicas have confirmed the acquisition: the step is repeated.
#[test]
fn an_acquisition_is_confirmed_by_the_server_that_has_it() {
    let _dog = watchdog::watch(60);
    let address = fake::start(|call| match (call.what(), call.connection) {
        ("step", 0) => Reply::Last(fake::held(7)),
        ("step", _) => Reply::Is(fake::held(9)),
        _ => Reply::Usual,
    });
    let lock = open(&format!("redis://{address}?ttl=60&replicas=1#n")).expect("a lock");
    let guard = lock.lock().expect("free");
    assert_eq!(guard.token(), Some(9));
}

/// What a server says to those that wait for its replicas when it becomes a replica itself.
const DEMOTED: &str = "-UNBLOCKED force unblock from blocking operation, instance state changed \
                       (master -> replica?)\r\n";

/// The old primary is demoted while the request waits for its replicas, and until the new one is
/// promoted there are only replicas.
fn failover() -> String {
    fake::start(|call| match (call.what(), call.connection) {
        ("WAIT", 0) => Reply::Last(DEMOTED.to_owned()),
        ("HELLO", 1..4) => Reply::Is(fake::hello("standalone", "slave")),
        ("step", 4..) => Reply::Is(fake::held(9)),
        _ => Reply::Usual,
    })
}

#[test]
fn a_request_outlasts_a_failover_while_it_waits_for_replicas() {
    let _dog = watchdog::watch(60);
    let lock = open(&format!("redis://{}?ttl=60&replicas=1#n", failover())).expect("a lock");
    let guard = lock.try_lock_for(Duration::from_secs(30)).expect("free");
    assert_eq!(guard.token(), Some(9));
    // One that does not wait ends at once.
    let lock = open(&format!("redis://{}?ttl=60&replicas=1#n", failover())).expect("a lock");
    lock.try_lock().expect_err("only replicas");
}

#[test]
fn a_waiter_outlasts_replicas_that_are_away_for_a_while() {
    let _dog = watchdog::watch(60);
    let (steps, waits) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let address = fake::start(move |call| match call.what() {
        "step" if steps.fetch_add(1, SeqCst) == 0 => {
            Reply::Is("*3\r\n+wait\r\n:0\r\n:50\r\n".to_owned())
        }
        "members" => Reply::Is("*0\r\n".to_owned()),
        "WAIT" if waits.fetch_add(1, SeqCst) < 3 => Reply::Is(":0\r\n".to_owned()),
        _ => Reply::Usual,
    });
    let lock = open(&format!("redis://{address}?ttl=60&replicas=1#n")).expect("a lock");
    let guard = lock.try_lock_for(Duration::from_secs(30));
    guard.expect("free").release().expect("ours");
}

const NO_REPLICAS: &str = "-NOREPLICAS Not enough good replicas to write.\r\n";
const READ_ONLY: &str = "-READONLY You can't write against a read only replica.\r\n";

#[test]
fn a_server_without_enough_replicas_says_why_it_does_not_renew() {
    let _dog = watchdog::watch(60);
    let address = fake::start(|call| match call.what() {
        "renew" => Reply::Is(NO_REPLICAS.to_owned()),
        _ => Reply::Usual,
    });
    let lock = open(&format!("redis://{address}?ttl=60#n")).expect("a lock");
    let guard = lock.lock().expect("free");
    eventually("the renewal is refused", || guard.refusal().is_some());
    let why = guard.refusal().expect("refused");
    assert!(why.contains("NOREPLICAS"), "{why}");
}

/// In a failover there are only replicas for a moment, or a primary without any.
#[test]
fn a_release_outlasts_a_failover() {
    let _dog = watchdog::watch(60);
    for refusal in [NO_REPLICAS, READ_ONLY] {
        let tries = AtomicUsize::new(0);
        let address = fake::start(move |call| match call.what() {
            "leave" if tries.fetch_add(1, SeqCst) < 4 => Reply::Is(refusal.to_owned()),
            _ => Reply::Usual,
        });
        let lock = open(&format!("redis://{address}?ttl=60#n")).expect("a lock");
        let guard = lock.lock().expect("free");
        guard.release().expect("released");
    }
}

#[test]
fn a_release_that_is_refused_to_the_end_says_why() {
    let _dog = watchdog::watch(60);
    for (refusal, word) in [(NO_REPLICAS, "NOREPLICAS"), (READ_ONLY, "is a replica")] {
        let address = fake::start(move |call| match call.what() {
            "leave" => Reply::Is(refusal.to_owned()),
            _ => Reply::Usual,
        });
        let lock = open(&format!("redis://{address}?ttl=60#n")).expect("a lock");
        let loss = lock.lock().expect("free").release();
        let loss = loss.expect_err("not released").to_string();
        assert!(loss.contains(word), "{loss}");
    }
}

#[test]
fn a_time_limit_that_passes_while_replicas_are_away_says_so() {
    let _dog = watchdog::watch(60);
    let steps = AtomicUsize::new(0);
    let address = fake::start(move |call| match call.what() {
        "step" if steps.fetch_add(1, SeqCst) == 0 => {
            Reply::Is("*3\r\n+wait\r\n:0\r\n:50\r\n".to_owned())
        }
        "members" => Reply::Is("*0\r\n".to_owned()),
        "WAIT" => Reply::Is(":0\r\n".to_owned()),
        _ => Reply::Usual,
    });
    let lock = open(&format!("redis://{address}?ttl=60&replicas=1#n")).expect("a lock");
    let error = lock.try_lock_for(Duration::from_secs(5));
    let error = error.expect_err("no replica").to_string();
    assert!(error.contains("only 0 of 1 replicas"), "{error}");
}
