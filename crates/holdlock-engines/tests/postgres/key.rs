//! Locks by the number of an advisory lock.

use holdlock_engines::open;
use holdlock_test_support::eventually;
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::{name, server};

#[test]
fn a_key_excludes_programs_that_use_the_same_advisory_lock() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("key");
    for (key, arguments) in [("-4711", "-4711"), ("47,-11", "47, -11")] {
        let url = server.url(&name).replace("?", &format!("?key={key}&"));
        let lock = open(&url).expect("a lock");
        let guard = lock.lock().expect("free");
        // Given back at once: a session may live a little longer than the program that had it.
        let theirs = format!("SELECT pg_try_advisory_xact_lock({arguments})");
        assert_eq!(server.sql(&theirs), "f");
        let waiting = lock.clone();
        let waiter = std::thread::spawn(move || waiting.lock_shared());
        eventually("it waits", || {
            lock.members().expect("answers").waiters.len() == 1
        });
        guard.release().expect("ours");
        let shared = waiter.join().expect("no panic").expect("acquired");
        assert_eq!(server.sql(&theirs.replace("lock(", "lock_shared(")), "t");
        shared.release().expect("ours");
        assert_eq!(server.sql(&theirs), "t");
    }
}
