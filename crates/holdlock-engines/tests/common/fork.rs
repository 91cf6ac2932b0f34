//! A child of fork does not hold the lock, and does not keep it for a parent that has ended.

use holdlock_engines::{Error, open};
use holdlock_test_support::servers::Server as _;
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
    let guard = lock.lock().expect("free");
    let child = {
        let mut guard = Some(guard);
        let pid = in_child(|| {
            let guard = guard.take().expect("a copy");
            let nothing = !guard.is_valid() && guard.check().is_err();
            let lost = guard.lost().loss().is_some();
            drop(guard);
            // It can use the lock with connections of its own.
            nothing && lost && matches!(lock.try_lock(), Err(Error::WouldBlock(_)))
        });
        (pid, guard.take().expect("the parent's"))
    };
    let (pid, guard) = child;
    assert!(ended_well(pid));
    guard.check().expect("held");
    guard.release().expect("ours");
    server.nothing_left(&name);
}

#[test]
fn a_child_does_not_keep_the_lock_of_a_parent_that_is_killed() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.brief(&name("orphan"));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut writer = Some(writer);
    let parent = in_child(|| {
        let guard = open(&url).expect("a lock").lock().expect("free");
        let grandchild = in_child(|| {
            // Lives until the test ends.
            drop(writer.take());
            let mut byte = [0];
            let _ = std::io::Read::read(&mut &reader, &mut byte);
            true
        });
        std::mem::forget(guard);
        grandchild > 0
    });
    // The parent has ended without releasing, and the grandchild lives.
    assert!(ended_well(parent));
    let lock = open(&url).expect("a lock");
    let guard = lock.try_lock_for(std::time::Duration::from_secs(60));
    guard.expect("free").release().expect("ours");
    drop(writer);
}
