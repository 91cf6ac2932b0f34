//! A call whose answer is lost is sent again, and tells what the first one did.

use std::time::Duration;

use holdlock_engines::{Run, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;

use crate::support::lost_answer::LostAnswer;
use crate::{name, server};

#[test]
fn a_run_whose_answer_is_lost_is_recorded_once() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let meant = match server.engine() {
        "redis" => "\r\nrecord\r\n",
        _ => "/v3/kv/txn",
    };
    let relay = LostAnswer::start(server.port(), meant);
    let lock = open(&server.url_by(&[relay.port()], "ttl=60", &name("record"))).expect("a lock");
    let day = Duration::from_secs(24 * 3600);
    let first = lock.lock().expect("free");
    let ended = Run::ends().counted(day / 4, day);
    first.record_run(ended).expect("recorded");
    first.release().expect("ours");

    let second = lock.lock().expect("free");
    relay.lose_one();
    let begins = Run::begins().counted(Duration::ZERO, day);
    let before = second.record_run(begins).expect("recorded");
    assert!(relay.has_lost());
    assert_eq!(before.at_work, None, "it is the holder itself");
    assert!(
        before.last_run.is_some_and(|ago| ago >= day / 4),
        "{before:?}"
    );
    // Another entry of the same holder is no repetition.
    let before = second.record_run(begins).expect("recorded");
    let itself = before.at_work.as_ref().expect("itself");
    assert_eq!(itself.token, second.token());
    assert!(
        before.last_run.is_some_and(|ago| ago < day / 8),
        "{before:?}"
    );
    second.release().expect("ours");
}

#[test]
fn a_holder_is_ended_although_the_answer_is_lost() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let meant = match server.engine() {
        "redis" => "\r\nbreak\r\n",
        _ => "/v3/kv/txn",
    };
    let relay = LostAnswer::start(server.port(), meant);
    let name = name("break");
    let guard = open(&server.with("ttl=60", &name)).expect("a lock").lock();
    let guard = guard.expect("free");
    let token = guard.token().expect("a token");
    let lock = open(&server.url_by(&[relay.port()], "ttl=60", &name)).expect("a lock");
    relay.lose_one();
    let ended = lock.break_holder(token).expect("answers");
    assert!(relay.has_lost());
    assert_eq!(ended.expect("the holder").token, Some(token));
    guard.check().expect_err("ended");
    assert_eq!(lock.break_holder(token).expect("answers"), None);
}
