//! A waiter sleeps; what it needs to know, it hears.

use std::time::Duration;

use holdlock_engines::open;
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::relay::Relay;
use crate::support::order::wait_for_waiters;
use crate::{name, server};

#[test]
fn a_waiter_asks_nothing_until_the_one_before_it_leaves() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    // No renewal is due.
    let name = name("asleep");
    let far = "ttl=600";
    let lock = open(&cluster.with(far, &name)).expect("a lock");
    let holder = lock.lock().expect("free");
    let relay = Relay::start(cluster.port());
    let waiting = open(&cluster.url_by(&[relay.port()], far, &name)).expect("a lock");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| waiting.lock());
        wait_for_waiters(&lock, 1);
        // Others come and go behind it: time for the watch, and then for many looks.
        let pass = || {
            let error = lock.try_lock_for(Duration::from_millis(500));
            assert!(error.expect_err("held").is_conflict());
        };
        pass();
        let before = relay.bytes();
        pass();
        pass();
        assert_eq!(relay.bytes(), before);
        holder.release().expect("ours");
        let guard = waiter.join().expect("no panic").expect("its turn");
        guard.release().expect("ours");
    });
    cluster.nothing_left(&name);
}
