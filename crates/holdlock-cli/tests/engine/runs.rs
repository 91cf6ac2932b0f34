//! Runs that the engine remembers: --at-most-every and --if-abandoned.

use std::time::{Duration, Instant};

use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{eventually, watchdog};

use crate::{STAY, engines, output, run, server, start};

#[test]
fn a_run_is_skipped_if_the_last_one_is_recent() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    let url = server.url("often");
    let hourly =
        |words: &[&str]| run(&[&["--at-most-every", "1h", url.as_str(), "--"], words].concat());
    let (code, _, errors) = hourly(&["echo", "ran"]);
    assert_eq!(code, Some(78), "{errors}");
    let place = format!("postgres://127.0.0.1:{}/postgres", server.port());
    assert!(
        errors.contains(&format!("`holdlock engine init {place}`")),
        "{errors}"
    );
    let database = url.split_once('#').expect("a name").0;
    for _ in 0..2 {
        let (code, said, errors) = output(&["engine", "init", database]);
        assert_eq!(code, Some(0), "{errors}");
        assert!(
            said.starts_with(&place) && said.contains("holdlock"),
            "{said}"
        );
    }
    // A run that fails does not count.
    assert_eq!(hourly(&["sh", "-c", "exit 3"]).0, Some(3));
    assert_eq!(hourly(&["echo", "ran"]).1, "ran\n");
    let (code, said, errors) = hourly(&["echo", "ran"]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(
        errors.contains("skipped: the last run that succeeded began"),
        "{errors}"
    );
    // A long time ago.
    server.sql("UPDATE holdlock.runs SET last_run = last_run - interval '1 hour'");
    assert_eq!(hourly(&["echo", "ran"]).1, "ran\n");
    // With `always`, a failure counts, and from its start on.
    let url = server.url("always");
    let always = |words: &[&str]| {
        run(&[&["--at-most-every", "1h,always", url.as_str(), "--"], words].concat())
    };
    assert_eq!(always(&["sh", "-c", "exit 3"]).0, Some(3));
    assert_eq!(always(&["echo", "ran"]).1, "");
    // A lock that is held is a conflict as ever, and the one who waited looks again.
    server.sql("DELETE FROM holdlock.runs");
    let url = server.url("waited");
    let holder = start(&[&["--at-most-every", "1h", url.as_str()], &STAY[..]].concat());
    let words = ["--at-most-every", "1h", &url, "--", "echo", "ran"];
    let waiter = std::thread::spawn({
        let words = words.map(str::to_owned);
        move || run(&words.each_ref().map(String::as_str))
    });
    eventually("it waits", || {
        let shown = output(&["who", &url]).1;
        shown.contains("waits 1")
    });
    holder.end();
    assert_eq!(waiter.join().expect("ends").1, "");
}

#[test]
fn the_time_for_which_a_lock_is_held_begins_with_the_acquisition() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    let server = &server;
    let url = server.url("slow");
    assert_eq!(output(&["engine", "init", &url]).0, Some(0));
    let log = tempfile::NamedTempFile::new().expect("a file");
    let log = log.path().to_str().expect("text");
    let count = |what: &str| {
        server.sql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE {what}"
        ))
    };
    let holder = start(&[&[url.as_str()], &STAY[..]].concat());
    std::thread::scope(|scope| {
        let options = ["--if-abandoned", "run", "--log", log, &url];
        let next = scope.spawn(move || run(&[&options[..], &["--", "true"]].concat()));
        eventually("it waits", || output(&["who", &url]).1.contains("waits 1"));
        // The server takes its time for what it is asked under the lock.
        let slow = "BEGIN; LOCK TABLE holdlock.runs; SELECT pg_sleep(30); COMMIT";
        scope.spawn(move || server.try_sql(slow));
        let is_slow = "wait_event = 'PgSleep'";
        eventually("the table is locked", || count(is_slow) == "1");
        holder.end();
        eventually("it asks", || count("wait_event = 'relation'") == "1");
        let asked = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        let least = asked.elapsed().as_secs_f64();
        server.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {is_slow}"
        ));
        let (code, _, errors) = next.join().expect("ends");
        assert_eq!(code, Some(0), "{errors}");
        let log = std::fs::read_to_string(log).expect("written");
        let log: serde_json::Value = serde_json::from_str(&log).expect("a line");
        assert!(
            log["held_s"].as_f64().is_some_and(|held| held >= least),
            "{least}: {log}"
        );
    });
}

#[test]
fn the_next_run_is_told_that_the_last_holder_died() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own("") else {
        return;
    };
    let url = server.url("died");
    assert_eq!(output(&["engine", "init", &url]).0, Some(0));
    let with = |action: &str, words: &[&str]| {
        run(&[&["--if-abandoned", action, url.as_str(), "--"], words].concat())
    };
    let show = ["sh", "-c", "echo [$HOLDLOCK_ABANDONED]"];
    assert_eq!(with("fail", &show).1, "[]\n");
    let mut holder = start(&[&["--if-abandoned", "run", url.as_str()], &STAY[..]].concat());
    holder.child.kill().expect("killed");
    let (code, said, errors) = with("fail", &show);
    assert_eq!((code, said.as_str()), (Some(76), ""), "{errors}");
    let pid = holder.pid();
    assert!(
        errors.contains(&format!("pid {pid}")) && errors.contains("died"),
        "{errors}"
    );
    let (code, _, errors) = with("exit 5", &show);
    assert_eq!(code, Some(76), "{errors}");
    assert!(errors.contains("exit code 5"), "{errors}");
    // holdlock passes TERM on, and the cleaning up exits with 0.
    let (code, _, errors) = with(
        "trap 'exit 0' TERM; kill -TERM $PPID; while :; do sleep 0.02; done",
        &show,
    );
    assert_eq!(code, Some(76), "{errors}");
    assert!(errors.contains("a signal ended cleaning up"), "{errors}");
    let (code, said, errors) = with("echo cleaned", &show);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "cleaned\n[1]\n"),
        "{errors}"
    );
    assert_eq!(with("fail", &show).1, "[]\n");
}

#[test]
fn etcd_and_redis_remember_runs_without_a_table() {
    let _dog = watchdog::watch(60);
    for server in engines()
        .into_iter()
        .filter(|server| server.engine() != "postgres")
    {
        let url = server.url("often");
        let (code, said, errors) = output(&["engine", "init", &url]);
        assert_eq!(code, Some(0), "{errors}");
        assert!(said.contains("nothing"), "{said}");
        let hourly =
            |words: &[&str]| run(&[&["--at-most-every", "1h", url.as_str(), "--"], words].concat());
        // A run that fails does not count.
        assert_eq!(hourly(&["sh", "-c", "exit 3"]).0, Some(3));
        assert_eq!(hourly(&["echo", "ran"]).1, "ran\n");
        let (code, said, errors) = hourly(&["echo", "ran"]);
        assert_eq!((code, said.as_str()), (Some(0), ""), "{errors}");
        assert!(errors.contains("skipped: the last run"), "{errors}");
    }
}
