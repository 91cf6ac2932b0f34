//! What a server tells and does beside keeping a lock.

use std::time::{Duration, Instant};

use holdlock_engines::{Error, Level, Run, open, open_server};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};

use crate::server::Server;
use crate::support::actor::Actor;
use crate::support::order::wait_for_waiters;
use crate::support::place::{level, listed, place};
use crate::{name, server};

#[test]
fn each_lock_of_the_database_is_listed_with_its_members() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let (plain, slots) = (name("list ü}:{"), name("list-slots"));
    let url = server.url(&plain);
    let slots_url = server.url(&slots).replace('?', "?slots=2&");
    // So that the server is asked more than once.
    server.cli(&["DEBUG", "POPULATE", "3000", "other"]);
    let lock = open(&url).expect("a lock");
    let held = lock.lock().expect("free");
    let mut waiter = Actor::start(&url);
    waiter.tell("lock");
    wait_for_waiters(&lock, 1);
    let _one = open(&slots_url).expect("a lock").lock().expect("free");
    let _two = open(&slots_url).expect("a lock").lock().expect("free");
    let found = listed(&url, &plain).expect("listed").members;
    assert_eq!(found.holders[0].pid, Some(std::process::id()));
    assert_eq!(found.waiters[0].pid, Some(waiter.pid()));
    let found = listed(&url, &slots).expect("listed").members;
    assert_eq!((found.holders.len(), found.waiters.len()), (2, 0));
    held.release().expect("ours");
    assert!(waiter.answer().starts_with("held"));
    assert_eq!(waiter.ask("release"), "released");
    assert_eq!(listed(&url, &plain), None);
}

#[test]
fn a_holder_is_ended_by_its_token_and_a_later_one_is_not() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    // The holder renews the lock every twenty seconds.
    let url = server.url(&name("break"));
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    let token = guard.token().expect("a token");
    assert_eq!(lock.break_holder(token + 1).expect("answers"), None);
    assert_eq!(lock.break_holder(token - 1).expect("answers"), None);
    guard.check().expect("held");

    let ended = lock.break_holder(token).expect("answers");
    let ended = ended.expect("a holder");
    assert_eq!(ended.pid, Some(std::process::id()));
    assert_eq!(ended.token, Some(token));
    // It hears of it at once.
    let loss = guard.lost().wait(Duration::from_secs(15)).expect("lost");
    assert!(loss.is_definite(), "{loss}");
    assert_eq!(lock.break_holder(token).expect("answers"), None);
}

#[test]
fn after_a_holder_was_ended_the_next_one_waits_for_the_end_of_its_lease() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("broken");
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let mut first = Actor::start(&server.brief(&name));
    let token: u64 = first.ask("lock")["held ".len()..].parse().expect("a token");
    let mut second = Actor::start(&url);
    second.tell("lock");
    wait_for_waiters(&lock, 1);
    let began = Instant::now();
    let ended = lock
        .break_holder(token)
        .expect("answers")
        .expect("a holder");
    assert!(lock.try_lock().expect_err("too early").is_conflict());
    eventually("it is lost", || first.ask("check").contains("Lost"));
    let next: u64 = second.answer()["held ".len()..].parse().expect("a token");
    assert!(began.elapsed() >= ended.rest.expect("a lease"), "too early");
    assert!(next > token);
    assert_eq!(lock.break_holder(token).expect("answers"), None);
    assert_eq!(second.ask("check"), "Ok(())");
}

#[test]
fn runs_are_remembered_and_only_those_of_the_last_holder() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("runs");
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let made = open_server(place(&url)).expect("a place").init();
    assert!(made.expect("answers").contains("nothing"));
    let nothing = lock.last_run().expect("answers");
    assert_eq!((nothing.last_run, nothing.at_work), (None, None));

    let first = open(&server.brief(&name)).expect("a lock");
    let first = first.command("the first").lock().expect("free");
    let before = first.record_run(Run::begins()).expect("recorded");
    assert_eq!((before.last_run, before.at_work), (None, None));
    // Its lease ends, and it does not know yet.
    let token = first.token().expect("a token");
    lock.break_holder(token).expect("answers");

    let second = lock.lock().expect("later");
    let hour = Duration::from_secs(3600);
    let begins = Run::begins().counted(2 * hour, 24 * hour);
    let before = second.record_run(begins).expect("recorded");
    let died = before.at_work.expect("the first");
    assert_eq!(died.command.as_deref(), Some("the first"));
    assert_eq!(died.token, first.token());
    let late = first.record_run(Run::ends().counted(Duration::ZERO, hour));
    assert!(matches!(late, Err(Error::Lost { .. })), "{late:?}");
    second.record_run(Run::ends()).expect("recorded");

    let known = lock.last_run().expect("answers");
    let ago = known.last_run.expect("a run");
    assert!(ago >= 2 * hour && ago < 3 * hour, "{ago:?}");
    assert_eq!(known.at_work, None);
    second.release().expect("ours");
}

#[test]
fn a_clock_that_was_set_back_makes_no_run_recent() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("set-back");
    let lock = open(&server.url(&name)).expect("a lock");
    let guard = lock.lock().expect("free");
    let minute = Duration::from_secs(60);
    let counted = Run::ends().counted(Duration::ZERO, minute);
    guard.record_run(counted).expect("recorded");
    assert!(lock.last_run().expect("answers").last_run.is_some());
    // As if the clock had been a day ahead at the time of the run.
    let run = server.key(&name, "run");
    let last: u64 = server.cli(&["HGET", &run, "last"]).parse().expect("ms");
    let ahead = (last + 86_400_000).to_string();
    server.cli(&["HSET", &run, "last", &ahead]);
    assert_eq!(lock.last_run().expect("answers").last_run, None);
    guard.release().expect("ours");
}

#[test]
fn what_is_doubtful_about_a_server_is_found() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]) else {
        return;
    };
    let examine = |url: &str| {
        let findings = open_server(place(url)).expect("a place").diagnose();
        let findings = findings.expect("answers");
        for finding in &findings {
            let is_doubtful = finding.level >= Level::Warning;
            assert!(!is_doubtful || finding.remedy.is_some(), "{finding:?}");
        }
        findings
    };
    let url = server.url("doctor");
    let findings = examine(&url);
    for (id, expected) in [
        ("kind", Level::Note),
        ("version", Level::Ok),
        ("persistence", Level::Note),
        ("eviction", Level::Ok),
        ("failover", Level::Ok),
        ("cluster", Level::Ok),
        ("restart", Level::Note),
        ("tls", Level::Ok),
        ("clock", Level::Ok),
    ] {
        assert_eq!(level(&findings, id), expected, "{id}: {findings:?}");
    }
    assert!(findings[1].found.contains(|c: char| c.is_ascii_digit()));

    for (setting, value) in [
        ("maxmemory", "100mb"),
        ("maxmemory-policy", "allkeys-lru"),
        ("appendonly", "yes"),
        ("appendfsync", "always"),
    ] {
        server.cli(&["CONFIG", "SET", setting, value]);
    }
    let of_server = format!("127.0.0.1 {}", server.port());
    let replica: Option<Server> = server::own(&["--replicaof", &of_server]);
    let _replica = replica.expect("it is installed");
    eventually("the replica is there", || {
        server
            .cli(&["INFO", "replication"])
            .contains("state=online")
    });
    let findings = examine(&url);
    for (id, expected) in [
        ("persistence", Level::Ok),
        ("eviction", Level::Unsafe),
        ("failover", Level::Warning),
    ] {
        assert_eq!(level(&findings, id), expected, "{id}: {findings:?}");
    }
    for (replicas, expected) in [("1", Level::Ok), ("2", Level::Unsafe)] {
        let findings = examine(&url.replace('?', &format!("?replicas={replicas}&")));
        assert_eq!(level(&findings, "failover"), expected, "{findings:?}");
    }
}

#[test]
fn a_server_that_loads_its_data_is_not_examined() {
    let _dog = watchdog::watch(60);
    // It loads a key in a millisecond, and serves clients after some ten of them.
    let slow = [
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let Some(server) = server::own(&slow) else {
        return;
    };
    server.cli(&["DEBUG", "POPULATE", "5000"]);
    server.cli(&["SAVE"]);
    server.kill();
    let place = open_server(place(&server.url("loading"))).expect("a place");
    std::thread::scope(|scope| {
        scope.spawn(|| server.run());
        eventually("it is refused", || match place.diagnose() {
            Err(Error::Unreachable { why, .. }) => why.contains("LOADING"),
            other => panic!("{other:?}"),
        });
    });
    eventually("it is examined", || place.diagnose().is_ok());
}

#[test]
fn a_user_who_gets_no_lock_is_found_by_trying() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("doctor");
    let examine = |url: &str| {
        let findings = open_server(url).expect("a place").diagnose();
        findings.expect("answers")
    };
    assert_eq!(level(&examine(&url), "lock"), Level::Ok);
    // All that the other findings look at is allowed.
    let user = ["ACL", "SETUSER", "unable", "on", ">secret", "~*", "&*"];
    server.cli(&[&user[..], &["+@all", "-@scripting"]].concat());
    let findings = examine(&url.replace("redis://", "redis://unable:secret@"));
    let lock = findings.iter().find(|finding| finding.id == "lock");
    let lock = lock.expect("tried");
    assert_eq!(lock.level, Level::Unsafe, "{findings:?}");
    let remedy = lock.remedy.as_deref().expect("one");
    assert!(remedy.contains("+@scripting"), "{lock:?}");
}

#[test]
fn any_bytes_that_others_have_written_are_shown_as_a_holder() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let name = name("bytes");
    let script = "local now = redis.call('TIME')[1] * 1000
        redis.call('ZADD', KEYS[1], 5, '\\255')
        redis.call('ZADD', KEYS[2], now + 50000, '\\255')
        redis.call('HSET', KEYS[3], '\\255', '\\254')";
    let [holders, until, records] =
        ["holders", "until", "records"].map(|part| server.key(&name, part));
    server.cli(&["EVAL", script, "3", &holders, &until, &records]);
    let url = server.url(&name);
    let lock = open(&url).expect("a lock");
    let error = lock.try_lock().expect_err("held");
    let conflict = error.conflict().expect("a conflict");
    assert_eq!(conflict.holders[0].token, Some(5), "{error:?}");
    assert_eq!(lock.members().expect("answers").holders.len(), 1);
    // One such key does not hide the other locks of the database either.
    let listed = open_server(place(&url)).expect("a place").list();
    let listed = listed.expect("answers");
    assert!(listed.iter().any(|one| one.name.as_deref() == Some(&*name)));
    server.cli(&["DEL", &holders, &until, &records]);
}
