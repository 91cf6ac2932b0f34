//! A child of fork does not hold the lock, and does not keep it for a parent that has ended.

use holdlock_engines::{Error, open};
use holdlock_test_support::watchdog;

use crate::support::fork::{ended_well, in_child};
use crate::{name, server};

#[test]
fn a_child_holds_nothing_and_releases_nothing() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("fork");
    let lock = open(&server.url(&name)).expect("a lock");
    let mut guard = Some(lock.lock().expect("free"));
    let pid = in_child(|| {
        let guard = guard.take().expect("a copy");
        let nothing = !guard.is_valid() && guard.check().is_err();
        let lost = guard.lost().loss().is_some();
        drop(guard);
        // It can use the lock with connections of its own.
        nothing && lost && matches!(lock.try_lock(), Err(Error::WouldBlock(_)))
    });
    assert!(ended_well(pid));
    let guard = guard.expect("the parent's");
    guard.check().expect("held");
    guard.release().expect("ours");
    server.nothing_left(&name);
}
