//! What a server tells and does beside keeping a lock.

use std::time::Duration;

use holdlock::Request;
use holdlock_engines::{Error, Finding, Level, Listed, Run, open, open_server};
use holdlock_test_support::watchdog;
use holdlock_test_support::{eventually, wait_for};

use crate::support::actor::Actor;
use crate::support::proxy::Proxy;
use crate::{name, server};

/// The URL of the database.
fn place(url: &str) -> &str {
    url.split_once('#').expect("a name").0
}

fn listed(url: &str, name: &str) -> Option<Listed> {
    let all = open_server(place(url)).expect("a place").list();
    let mut all = all.expect("answers").into_iter();
    all.find(|one| one.name.as_deref() == Some(name))
}

#[test]
fn each_lock_of_the_database_is_listed_with_its_members() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let (plain, keyed, slots) = (name("list ü"), name("list-key"), name("list-slots"));
    let long = "long-".repeat(20) + &name("list");
    let plain_url = server.url(&plain);
    let keyed_url = server.url(&keyed).replace('?', "?key=987654321&");
    let slots_url = server.url(&slots).replace('?', "?slots=2&");
    let held = open(&plain_url).expect("a lock").lock().expect("free");
    let mut waiter = Actor::start(&plain_url);
    waiter.tell("lock");
    let _keyed = open(&keyed_url).expect("a lock").lock().expect("free");
    let _one = open(&slots_url).expect("a lock").lock().expect("free");
    let _two = open(&slots_url).expect("a lock").lock().expect("free");
    let _long = open(&server.url(&long))
        .expect("a lock")
        .lock()
        .expect("free");

    let found = wait_for("the waiter in the list", || {
        listed(&plain_url, &plain).filter(|found| found.members.waiters.len() == 1)
    });
    assert_eq!(found.members.holders.len(), 1);
    assert_eq!(found.members.holders[0].pid, Some(std::process::id()));
    assert_eq!(found.members.waiters[0].pid, Some(waiter.pid()));
    let counts = [&keyed, &slots, &long].map(|name| {
        let found = listed(&plain_url, name).expect("listed");
        (found.members.holders.len(), found.members.waiters.len())
    });
    assert_eq!(counts, [(1, 0), (2, 0), (1, 0)]);
    held.release().expect("ours");
    assert!(waiter.answer().starts_with("held"));
    assert_eq!(waiter.ask("release"), "released");
    eventually("the list forgets it", || {
        listed(&plain_url, &plain).is_none()
    });
}

#[test]
fn a_process_of_this_host_is_known_to_be_one() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url(&name("here"));
    let mut other = Actor::start(&url);
    assert!(other.ask("lock").starts_with("held"));
    let members = open(&url).expect("a lock").members().expect("answers");
    let holder = members.holders.first().expect("one").clone();
    assert_eq!(holder.pid_here(), Some(other.pid()));
    // The record of a process that has ended, as one of another host would be.
    other.kill();
    assert_eq!(holder.pid_here(), None);
}

#[test]
fn a_holder_is_ended_by_its_token_and_a_later_one_is_not() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url(&name("break"));
    let lock = open(&url).expect("a lock");
    let mut first = Actor::start(&url);
    let token: u64 = first.ask("lock")["held ".len()..].parse().expect("a token");
    let mut second = Actor::start(&url);
    second.tell("lock");
    // The record shows the token a moment after the lock was given.
    eventually("the token is shown and one waits", || {
        let members = lock.members().expect("answers");
        members.waiters.len() == 1 && members.holders[0].token == Some(token)
    });
    assert_eq!(lock.break_holder(token + 1).expect("answers"), None);
    assert_eq!(first.ask("check"), "Ok(())");

    let ended = lock
        .break_holder(token)
        .expect("answers")
        .expect("a holder");
    assert_eq!((ended.pid, ended.token), (Some(first.pid()), Some(token)));
    let next: u64 = second.answer()["held ".len()..].parse().expect("a token");
    assert!(next > token);
    assert!(first.ask("check").contains("Lost"));

    eventually("the next token is shown", || {
        lock.members().expect("answers").holders[0].token == Some(next)
    });
    assert_eq!(lock.break_holder(token).expect("answers"), None);
    assert_eq!(second.ask("check"), "Ok(())");
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

fn level(findings: &[Finding], id: &str) -> Level {
    let found = findings.iter().find(|finding| finding.id == id);
    found
        .unwrap_or_else(|| panic!("no {id} in {findings:?}"))
        .level
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

#[test]
fn a_note_is_seen_by_those_who_wait() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let lock = open(&server.url(&name("note"))).expect("a lock");
    let _guard = lock
        .acquire(Request::exclusive().note("import\nof May"))
        .expect("free");
    let error = lock.try_lock().expect_err("held").to_string();
    assert!(error.contains("import\\nof May"), "{error}");
}
