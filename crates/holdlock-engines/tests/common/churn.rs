//! Many processes and threads at one lock, some of which are killed: no two are inside together.

use holdlock_engines::open;
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::support::churn;
use crate::{name, server};

#[test]
fn no_two_are_inside_together_although_some_are_killed() {
    let _dog = watchdog::watch(90);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("churn");
    // The others wait for so long after the death of a victim that holds the lock.
    let of_victims = server.with("ttl=3", &name);
    churn::no_two_are_inside_together(&server.url(&name), &of_victims);
    // What those have left who were killed goes with the next holder.
    let lock = open(&server.url(&name)).expect("a lock");
    lock.lock().expect("free").release().expect("ours");
    server.nothing_left(&name);
}
