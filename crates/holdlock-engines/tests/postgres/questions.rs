//! Questions to the engine, and releases, that do not wait for it.

use std::time::{Duration, Instant};

use holdlock_engines::{Error, open};
use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use super::name;
use super::server;
use super::support::futures::block_on;

#[test]
fn questions_need_no_runtime_and_a_guard_can_be_released_without_waiting() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("questions");
    let proxy = Proxy::start(server.port());
    let lock = open(&server.url_at(proxy.port(), &name)).expect("a lock");
    let guard = lock.lock().expect("free");
    let members = block_on(lock.members_async()).expect("answers");
    assert_eq!(members.holders.len(), 1);
    let checked = guard.check_async();
    block_on(checked).expect("held");
    let checked = guard.check_async();
    // From now on the server is silent: waiting for it would take two seconds.
    proxy.fault(Fault::Silence);
    let began = Instant::now();
    guard.release_in_background();
    assert!(began.elapsed() < Duration::from_millis(1500));
    drop(checked);
    proxy.fault(Fault::None);
    server.nothing_left(&name);
    let guard = open(&server.url(&name)).expect("a lock").lock();
    let guard = guard.expect("free");
    server.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdlock:{name}'"
    ));
    let lost = block_on(guard.check_async());
    assert!(matches!(lost, Err(Error::Lost { .. })), "{lost:?}");
}
