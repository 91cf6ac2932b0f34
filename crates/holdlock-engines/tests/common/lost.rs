//! A lock that is lost: the guard knows it before another process can have the lock.

use std::time::Duration;

use holdlock_engines::{Error, open};
use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::support::lost::wait_for_loss;
use crate::{name, server};

#[test]
fn a_cut_network_is_noticed_by_the_clock_alone() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("cut");
    let proxy = Proxy::start(server.port());
    let lock = open(&server.brief_at(proxy.port(), &name)).expect("a lock");
    let other = open(&server.url(&name)).expect("a lock");
    let guard = lock.lock().expect("free");
    guard.check().expect("held");
    proxy.fault(Fault::Silence);
    let deadline = guard.deadline();
    let loss = wait_for_loss(&guard);
    assert!(!loss.is_definite(), "{loss}");
    assert!(!guard.is_valid() && guard.deadline().has_passed());
    // One renewal that was under way may still have been confirmed.
    let late = guard.deadline().since_boot() - deadline.since_boot();
    assert!(late < Duration::from_secs(2), "{late:?}");
    // The engine keeps the lock for another second, unless this thread was late.
    let since = deadline.since_boot();
    let next = other.try_lock();
    let now = holdlock_engines::BootTime::now().since_boot();
    assert!(next.is_err() || now > since + Duration::from_millis(900));
    drop(next);
    let error = guard.release().expect_err("no answer");
    assert!(
        matches!(&error, Error::Lost { loss, .. } if !loss.is_definite()),
        "{error:?}"
    );
    proxy.fault(Fault::None);
    let next = other.try_lock_for(Duration::from_secs(60));
    next.expect("the engine has freed it")
        .release()
        .expect("ours");
}
