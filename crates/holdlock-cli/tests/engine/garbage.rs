//! Something in the engine that holdlock has not written: the message names it, and the remedy.

use holdlock_test_support::servers::Server as _;
use holdlock_test_support::servers::redis;
use holdlock_test_support::{eventually, watchdog};

use crate::{output, run, server};

/// Runs a command, which must be refused because the engine is not fit; returns the message.
fn refused(words: &[&str]) -> String {
    let (code, said, errors) = output(words);
    assert_eq!((code, said.as_str()), (Some(78), ""), "{errors}");
    errors
}

/// A run that needs the memory of the engine, and is not skipped.
fn often(url: &str) -> [&str; 6] {
    ["run", "--at-most-every", "1ms", url, "--", "true"]
}

#[test]
fn a_run_that_began_at_no_time_is_named() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    let url = server.url("timeless");
    assert_eq!(output(&["engine", "init", &url]).0, Some(0));
    assert_eq!(output(&often(&url)).0, Some(0));
    for time in ["infinity", "-infinity"] {
        server.sql(&format!("UPDATE holdlock.runs SET last_run = '{time}'"));
        let errors = refused(&often(&url));
        let found = errors.contains(&format!("last_run = {time}"));
        assert!(found && errors.contains("UPDATE holdlock.runs"), "{errors}");
        // The remedy is one.
        let remedy = errors.find("UPDATE holdlock.runs").map(|at| &errors[at..]);
        server.sql(remedy.expect("a statement").trim());
        assert_eq!(output(&often(&url)).0, Some(0));
    }
    // Rows that somebody has emptied are those of a lock that has not run.
    server.sql(
        "ALTER TABLE holdlock.runs ALTER token DROP NOT NULL; \
         UPDATE holdlock.runs SET last_run = NULL, at_work = 'garbage', token = NULL",
    );
    let (code, _, errors) = output(&often(&url));
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn a_table_of_another_shape_is_named() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    let url = server.url("shape");
    for (change, part) in [
        ("DROP COLUMN at_work", "at_work"),
        ("ALTER last_run TYPE text", "text"),
        ("DROP CONSTRAINT runs_pkey", "constraint"),
    ] {
        server.sql("DROP TABLE IF EXISTS holdlock.runs");
        assert_eq!(output(&["engine", "init", &url]).0, Some(0));
        server.sql(&format!("ALTER TABLE holdlock.runs {change}"));
        for errors in [refused(&["engine", "init", &url]), refused(&often(&url))] {
            let names = errors.contains("holdlock.runs") && errors.contains(part);
            let remedy = errors.contains("DROP TABLE") && errors.contains("holdlock engine init");
            assert!(names && remedy, "{change}: {errors}");
        }
    }
}

#[test]
fn a_number_in_redis_that_is_none_is_named() {
    let _dog = watchdog::watch(60);
    let Some(server) = redis::own(&[]) else {
        return;
    };
    let url = server.brief("numbers");
    assert_eq!(output(&often(&url)).0, Some(0));
    let (lock, run) = (server.key("numbers", "lock"), server.key("numbers", "run"));
    let keys = [
        (lock.as_str(), "token"),
        (&lock, "ticket"),
        (&lock, "slots"),
        (&run, "token"),
        (&run, "last"),
        ("holdlock:server", "since"),
    ];
    for (key, field) in keys {
        for garbage in [
            "x",
            "",
            "inf",
            "nan",
            "1e3",
            "0x10",
            "1.5",
            "99999999999999999999",
        ] {
            server.cli(&["HSET", key, field, garbage]);
            let errors = refused(&often(&url));
            let names = errors.contains(&format!("HDEL '{key}' {field}"));
            assert!(names && !errors.contains("script"), "{field}: {errors}");
        }
        server.cli(&["HDEL", key, field]);
        let (code, _, errors) = output(&often(&url));
        assert_eq!(code, Some(0), "{field}: {errors}");
    }
    server.cli(&["SET", &lock, "text"]);
    let errors = refused(&often(&url));
    assert!(
        errors.contains("DEL") && !errors.contains("script"),
        "{errors}"
    );
    server.cli(&["DEL", &lock]);
    assert_eq!(output(&often(&url)).0, Some(0));
}

#[test]
fn a_holder_is_not_disturbed_by_a_number_that_is_none() {
    let _dog = watchdog::watch(60);
    let Some(server) = redis::shared() else {
        return;
    };
    let url = server.url("undisturbed");
    let script = "echo runs; read line; exit 0";
    let holder = crate::start(&[&url, "--", "sh", "-c", script]);
    let waiter = std::thread::spawn({
        let url = url.clone();
        move || run(&[&url, "--", "true"])
    });
    eventually("it waits", || output(&["who", &url]).1.contains("waits 1"));
    server.cli(&["HSET", &server.key("undisturbed", "lock"), "slots", "x"]);
    let (code, said, errors) = output(&["who", &url]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(said.contains(&holder.pid().to_string()), "{said}");
    let (code, _, errors) = holder.end();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let (code, _, errors) = waiter.join().expect("ends");
    assert_eq!(code, Some(78), "{errors}");
}

#[test]
fn a_key_of_another_type_is_named_by_all_that_look() {
    let _dog = watchdog::watch(60);
    let Some(server) = redis::own(&[]).map(redis::Server::awake) else {
        return;
    };
    let url = server.with("ttl=3", "typed");
    let place = url.split_once('#').expect("a name").0;
    let looks = || {
        for words in [
            ["run", &url, "--", "true"].as_slice(),
            &["who", &url],
            &["list", place],
        ] {
            let errors = refused(words);
            assert!(errors.contains("another type"), "{words:?}: {errors}");
        }
    };
    server.cli(&["SET", "holdlock:server", "x"]);
    looks();
    server.cli(&["DEL", "holdlock:server"]);
    let lock = server.key("typed", "lock");
    server.cli(&["SET", &lock, "x"]);
    // The list has the locks that somebody holds or waits for.
    let until = server.key("typed", "until");
    server.cli(&["ZADD", &until, "9999999999999", "x1"]);
    looks();
}
