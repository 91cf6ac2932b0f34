//! What a server tells and does beside keeping a lock.

use std::time::Duration;

use holdlock_engines::{Error, Finding, Level, Run, open, open_server};
use holdlock_test_support::proxy::Proxy;
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::watchdog;
use holdlock_test_support::{eventually, wait_for};

use crate::support::place::{level, listed, place};
use crate::{name, server};

#[test]
fn a_lock_by_a_key_is_listed() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("list-key");
    let url = server.url(&name).replace('?', "?key=987654321&");
    let _held = open(&url).expect("a lock").lock().expect("free");
    let found = listed(&url, &name).expect("listed");
    assert_eq!(found.members.holders.len(), 1);
}

#[test]
fn only_a_user_who_may_end_a_session_can_break_it() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    // It sees all records, but may end no session.
    server.sql("CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats");
    let url = server.url(&name("may-not"));
    let guard = open(&url).expect("a lock").lock().expect("free");
    let watcher = open(&url.replace("boss@", "watcher@")).expect("a lock");
    let token = guard.token().expect("a token");
    eventually("the token is shown", || {
        watcher.members().expect("answers").holders[0].token == Some(token)
    });
    let error = watcher.break_holder(token).expect_err("refused");
    assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
    assert!(error.to_string().contains("pg_signal_backend"), "{error}");
    guard.check().expect("held");
}

#[test]
fn runs_are_remembered_in_a_table_and_only_those_of_the_last_holder() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    let name = name("runs");
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let error = lock.last_run().expect_err("no table");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("holdlock engine init postgres://127"),
        "{error}"
    );
    let place = open_server(place(&url)).expect("a place");
    let threads = [(); 3].map(|()| {
        let place = place.clone();
        std::thread::spawn(move || place.init())
    });
    for thread in threads {
        thread.join().expect("no panic").expect("made");
    }
    assert!(place.init().expect("answers").contains("already"));

    let nothing = lock.last_run().expect("answers");
    assert_eq!((nothing.last_run, nothing.at_work), (None, None));
    let first = lock.clone().command("the first").lock().expect("free");
    let before = first.record_run(Run::begins()).expect("recorded");
    assert_eq!((before.last_run, before.at_work), (None, None));
    // Its session ends, and it does not know yet.
    lock.break_holder(wait_for("the token", || {
        lock.members().expect("answers").holders[0].token
    }))
    .expect("answers");

    let second = lock.lock().expect("free");
    let hour = Duration::from_secs(3600);
    let begins = Run::begins().counted(2 * hour, 24 * hour);
    let before = second.record_run(begins).expect("recorded");
    let died = before.at_work.expect("the first");
    assert_eq!(died.command.as_deref(), Some("the first"));
    assert_eq!(
        (died.pid, died.token),
        (Some(std::process::id()), first.token())
    );
    let late = first.record_run(Run::ends().counted(Duration::ZERO, hour));
    assert!(matches!(late, Err(Error::Lost { .. })), "{late:?}");
    second.record_run(Run::ends()).expect("recorded");

    let known = lock.last_run().expect("answers");
    let ago = known.last_run.expect("a run");
    assert!(
        ago >= 2 * hour && ago < 2 * hour + Duration::from_secs(60),
        "{ago:?}"
    );
    assert_eq!(known.at_work, None);
    second.release().expect("ours");
    // Another name, and another user, who uses the same table.
    server.sql("CREATE ROLE ann LOGIN");
    let other = open(&server.url("other's").replace("boss@", "ann@")).expect("a lock");
    assert_eq!(other.last_run().expect("answers").last_run, None);
    let guard = other.lock().expect("free");
    guard
        .record_run(Run::ends().counted(hour, hour))
        .expect("recorded");
    assert!(other.last_run().expect("answers").last_run.is_some());
}

#[test]
fn runs_are_recorded_in_a_table_that_comes_from_another_server() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    let url = server.url(&name("moved"));
    open_server(place(&url))
        .expect("a place")
        .init()
        .expect("made");
    let lock = open(&url).expect("a lock");
    let hour = Duration::from_secs(3600);
    let first = lock.lock().expect("free");
    let run = Run::ends().counted(hour, hour);
    first.record_run(run).expect("recorded");
    first.release().expect("ours");
    // As the dump of a server that has seen more transactions.
    server.sql("UPDATE holdlock.runs SET token = 1000000000000");
    let second = lock.lock().expect("free");
    let before = second.record_run(run).expect("recorded");
    assert!(before.last_run.is_some_and(|ago| ago >= hour));
    // The tokens are those of this server again.
    let token = second.token().expect("a token");
    assert_eq!(
        server.sql("SELECT token FROM holdlock.runs"),
        token.to_string()
    );
    server.sql(&format!("UPDATE holdlock.runs SET token = {}", token + 1));
    let late = second.record_run(run);
    assert!(matches!(late, Err(Error::Lost { .. })), "{late:?}");
}

#[test]
fn a_user_who_may_not_make_the_table_is_told_what_to_do() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    server.sql("CREATE ROLE ann LOGIN");
    let url = server.url("init").replace("boss@", "ann@");
    let error = open_server(&url)
        .expect("a place")
        .init()
        .expect_err("refused");
    assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("GRANT CREATE ON DATABASE postgres TO ann"),
        "{error}"
    );
}

#[test]
fn what_is_doubtful_about_a_server_is_found() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("doctor");
    let findings = open_server(place(&url)).expect("a place").diagnose();
    let findings = findings.expect("answers");
    for (id, expected) in [
        ("version", Level::Ok),
        ("pooler", Level::Ok),
        ("dead-clients", Level::Ok),
        ("failover", Level::Ok),
        // The tests' servers have fsync = off.
        ("persistence", Level::Warning),
        ("tls", Level::Ok),
        ("network", Level::Ok),
        ("clock", Level::Ok),
    ] {
        assert_eq!(level(&findings, id), expected, "{id}: {findings:?}");
    }
    let doubtful = |finding: &&Finding| finding.level >= Level::Warning;
    assert!(
        findings
            .iter()
            .filter(doubtful)
            .all(|finding| finding.remedy.is_some())
    );

    let proxy = Proxy::start(server.port());
    let url = server.url_at(proxy.port(), "doctor");
    let findings = open_server(&url)
        .expect("a place")
        .diagnose()
        .expect("answers");
    assert_eq!(level(&findings, "network"), Level::Warning, "{findings:?}");
}
