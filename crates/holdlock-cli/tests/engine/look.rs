//! Looking at locks of an engine: who, list, wait, doctor; ending their holders.

use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::{Port, Server};
use holdlock_test_support::{eventually, wait_for, watchdog};
use serde_json::Value;

use crate::{Running, STAY, engines, output, server, shown, start};

fn document(words: &[&str]) -> Value {
    let (_, said, errors) = output(words);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}{errors}"))
}

fn hold(url: &str) -> Running {
    start(&[&["--note", "why", url], &STAY[..]].concat())
}

/// The token that others see, a moment after the lock was given.
fn token(url: &str) -> u64 {
    wait_for("the token", || {
        let document = document(&["who", "--json", url]);
        document["files"][0]["record"]["token"].as_u64()
    })
}

#[test]
fn who_shows_holders_and_waiters_and_says_whether_the_lock_is_held() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let url = server.url("who");
        let (engine, shown) = (server.engine(), shown(&url));
        let (code, said, _) = output(&["who", &url]);
        assert_eq!((code, said), (Some(1), format!("{shown}: free\n")));
        assert_eq!(
            output(&["who", "-q", &url]),
            (Some(1), String::new(), String::new())
        );

        let holder = hold(&url);
        let token = token(&url);
        let brief = server.brief("who");
        let words = ["run", "-w", "100", &brief, "--", "true"];
        let mut waiter = crate::holdlock(&words).spawn().expect("starts");
        let said = wait_for("the waiter", || {
            let (code, said, _) = output(&["who", &url]);
            assert_eq!(code, Some(0));
            said.contains("waits 1").then_some(said)
        });
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(
            lines[0],
            format!("{shown}: held, exclusive {engine}; 1 waits")
        );
        let columns: Vec<&str> = lines[1].split_whitespace().collect();
        // Only leases have an end.
        let columns = columns.join(" ").replace(" LEASE", "");
        assert_eq!(columns, "PID USER HOST MODE SINCE TOKEN COMMAND");
        let pid = holder.pid().to_string();
        assert!(
            lines[2].contains("holds") && lines[2].contains(&pid),
            "{said}"
        );
        assert!(
            lines[2].contains(&token.to_string()) && lines[2].contains("sh -c"),
            "{said}"
        );
        assert!(lines[3].contains(&waiter.id().to_string()), "{said}");
        assert!(said.contains(&format!("pid {pid} holds it: why")), "{said}");

        let document = document(&["who", "--json", &url]);
        assert_eq!(document["engine"], engine);
        assert_eq!(
            (&document["path"], &document["held"]),
            (&shown.into(), &true.into())
        );
        let file = &document["files"][0];
        let held = &file["locks"][0]["holders"][0];
        assert_eq!(held["process"]["pid"], holder.pid());
        assert_eq!(
            (&held["token"], &held["note"]),
            (&token.into(), &"why".into())
        );
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a host");
        assert_eq!(held["process"]["host"], host.trim());
        assert_eq!(file["waiters"][0]["process"]["pid"], waiter.id());
        assert_eq!(file["waiters"][0]["turn"], 1);
        waiter.kill().expect("killed");
        waiter.wait().expect("ended");
        holder.end();
        assert_eq!(output(&["who", "--wait=60", "-q", &url]).0, Some(0));
    }
}

#[test]
fn who_ends_the_holder_with_the_token_that_is_given_and_no_other() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let url = server.with("ttl=9", "broken");
        let holder = hold(&url);
        let token = token(&url);
        let (code, _, errors) = output(&["who", "--break", "1", &url]);
        assert_eq!(code, Some(1), "{errors}");
        assert!(
            errors.contains("nothing was ended") && errors.contains(&token.to_string()),
            "{errors}"
        );
        let (code, said, errors) = output(&["who", "--json", "--break", &token.to_string(), &url]);
        assert_eq!(code, Some(0), "{errors}");
        let document: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(document["broken"]["process"]["pid"], holder.pid());
        assert!(
            errors.contains(&format!("ended the hold of pid {}", holder.pid())),
            "{errors}"
        );
        let (code, _, said) = holder.ended();
        assert_eq!(code, Some(74), "{said}");
        // A later holder has another token.
        let later = hold(&url);
        assert_eq!(
            output(&["who", "-q", "--break", &token.to_string(), &url]).0,
            Some(1)
        );
        assert_eq!(later.end().0, Some(0));
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_str().expect("text");
        assert_eq!(output(&["who", "--break", "1", path]).0, Some(64));
    }
}

#[test]
fn a_signal_goes_only_to_a_process_of_this_host() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("signalled");
    let holder = start(&[&url, "--", "sh", "-c", "echo runs; exec sleep 100"]);
    let (code, _, errors) = output(&["who", "--signal", "TERM", "--yes", "--wait=60", &url]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        errors.contains(&format!("TERM sent to pid {}", holder.pid())),
        "{errors}"
    );
    assert_eq!(holder.ended().0, Some(143));

    // A holder with the number of a process of ours, which runs on another host.
    let url = server.url("far").replace('?', "?key=777000777&");
    let mut ours = std::process::Command::new("sleep")
        .arg("100")
        .spawn()
        .expect("starts");
    let record = format!(
        "{{\"v\":1,\"host\":\"far\",\"pid\":{},\"id\":\"1-2-3\"}}",
        ours.id()
    );
    let statement =
        format!("/* holdlock {record} */ SELECT pg_advisory_lock(777000777), pg_sleep(100)");
    std::thread::scope(|scope| {
        let session = scope.spawn(|| server.try_sql(&statement));
        eventually("it is held", || output(&["who", "-q", &url]).0 == Some(0));
        let (code, _, errors) = output(&["who", "--signal", "TERM", "--yes", &url]);
        assert_eq!(code, Some(0), "{errors}");
        assert!(
            errors.contains("on far is not known to run on this host"),
            "{errors}"
        );
        assert!(errors.contains("nothing sent"), "{errors}");
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE objid = 777000777");
        session.join().expect("ended");
    });
    assert!(ours.try_wait().expect("a child").is_none());
    ours.kill().expect("killed");
    ours.wait().expect("ended");
}

#[test]
fn list_shows_the_locks_of_a_database() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let (one, two) = (server.url("list-one"), server.url("list-two"));
        let place = one.split_once('#').expect("a name").0;
        let (first, second) = (hold(&one), hold(&two));
        let (code, said, errors) = output(&["list", place]);
        assert_eq!(code, Some(0), "{errors}");
        let line = |name: &str| said.lines().find(|line| line.contains(&format!("#{name}")));
        let found = line("list-one").expect("listed");
        assert!(
            found.contains(&first.pid().to_string()) && found.contains("held"),
            "{said}"
        );
        assert!(
            line("list-two")
                .expect("listed")
                .contains(&second.pid().to_string()),
            "{said}"
        );
        assert!(
            !said.contains("boss") || !said.contains("boss@127.0.0.1:"),
            "{said}"
        );

        let (_, said, _) = output(&["list", "-n", "-o", "pid,kind,path,note", &one]);
        let cells: Vec<&str> = said.split_whitespace().collect();
        let (pid, path) = (first.pid().to_string(), shown(&one));
        assert_eq!(cells, [&pid, server.engine(), &path, "why"]);
        let (_, said, _) = output(&[
            "list",
            "-n",
            "-o",
            "pid",
            "-p",
            &second.pid().to_string(),
            place,
        ]);
        assert_eq!(said.trim(), second.pid().to_string());
        let document = document(&["list", "--json", place]);
        let files = document["files"].as_array().expect("an array");
        let found = files
            .iter()
            .find(|file| file["path"] == path.as_str())
            .expect("listed");
        assert_eq!(found["engine"], server.engine());
        assert_eq!(
            found["locks"][0]["holders"][0]["process"]["pid"],
            first.pid()
        );
        for words in [
            &["list", "--kind", "flock", place][..],
            &["list", place, "x"],
        ] {
            assert_eq!(output(words).0, Some(64), "{words:?}");
        }
    }
}

#[test]
fn wait_ends_when_the_lock_is_free() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let url = server.url("waited-for");
        let holder = hold(&url);
        let (code, _, errors) = output(&["wait", "-w", "0", &url]);
        assert_eq!(code, Some(75));
        assert!(
            errors.contains(&format!(", by pid {} (", holder.pid())),
            "{errors}"
        );
        let words = ["wait", "--json", &url].map(str::to_owned);
        let waiting = std::thread::spawn(move || output(&words.each_ref().map(String::as_str)));
        holder.end();
        let (code, said, errors) = waiting.join().expect("ends");
        assert_eq!(code, Some(0), "{errors}");
        let document: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(
            (&document["free"], &document["locks"][0]["engine"]),
            (&true.into(), &server.engine().into())
        );
        assert_eq!(output(&["wait", &url, "./file"]).0, Some(64));
    }
}

#[test]
fn doctor_says_whether_the_server_is_safe() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("doctor");
    let (code, said, errors) = output(&["doctor", &url]);
    assert_eq!(code, Some(0), "{said}{errors}");
    assert!(
        said.contains("ok       version") && said.contains("-> set fsync = on"),
        "{said}"
    );
    assert!(said.contains("Locks work here, with 1 warning"), "{said}");
    let findings = document(&["doctor", "--json", &url]);
    assert_eq!(
        (&findings["safe"], &findings["engine"]),
        (&true.into(), &"postgres".into())
    );

    let proxy = Proxy::start(server.port());
    proxy.fault(Fault::Pooler);
    let (code, said, _) = output(&["doctor", &server.url_at(proxy.port(), "doctor")]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("unsafe") && said.contains("pooler=session"),
        "{said}"
    );
    let closed = Port::new();
    let nowhere = server.url_at(closed.number(), "doctor");
    let (code, said, _) = output(&["doctor", "--json", &nowhere]);
    assert_eq!(code, Some(69), "{said}");
    let findings: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(findings["safe"], false);
    assert_eq!(
        output(&["doctor", &url.replace("boss@", "nobody-here@")]).0,
        Some(77)
    );
}

#[test]
fn doctor_knows_each_engine() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let url = server.url("doctor-of-each");
        let (code, said, errors) = output(&["doctor", &url]);
        assert_eq!(code, Some(0), "{said}{errors}");
        assert!(said.contains("ok       tls"), "{said}");
        assert!(said.contains("ok       lock"), "{said}");
        let findings = document(&["doctor", "--json", &url]);
        assert_eq!(findings["engine"], server.engine());
        assert_eq!(findings["safe"], true, "{findings}");
        let closed = Port::new();
        let nowhere = server.url_at(closed.number(), "doctor");
        let (code, said, _) = output(&["doctor", "--json", &nowhere]);
        assert_eq!(code, Some(69), "{said}");
        let findings: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(findings["safe"], false);
    }
}

#[test]
fn an_engine_that_cannot_be_asked_has_an_exit_code_of_its_own() {
    let _dog = watchdog::watch(60);
    for server in engines() {
        let closed = Port::new();
        let nowhere = server.url_at(closed.number(), "codes");
        for words in [
            &["who", &nowhere][..],
            &["wait", &nowhere],
            &["list", &nowhere],
            &["engine", "init", &nowhere],
        ] {
            // The others need nothing made, and are not asked.
            if words[0] == "engine" && server.engine() != "postgres" {
                continue;
            }
            let (code, said, errors) = output(words);
            assert_eq!((code, said.as_str()), (Some(69), ""), "{words:?}: {errors}");
        }
    }
}

#[test]
fn top_shows_the_locks_of_a_database() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("top");
    let place = url.split_once('#').expect("a name").0;
    let holder = hold(&url);
    let token = token(&url);
    let words = ["run", "-w", "100", &url, "--", "true"];
    let mut waiter = crate::holdlock(&words).spawn().expect("starts");
    let top = |press: &str| {
        let size = "160x30";
        let words = ["top", "--once", "--size", size, "--press", press, place];
        let (code, said, errors) = output(&words);
        assert_eq!(code, Some(0), "{errors}");
        said
    };
    let pid = holder.pid().to_string();
    // Only this lock, and its queue.
    let queue = wait_for("the waiter", || {
        let said = top("/#top\r\r");
        said.contains(&waiter.id().to_string()).then_some(said)
    });
    assert!(queue.contains(&pid) && queue.contains("pg ex"), "{queue}");
    assert!(queue.contains(&format!("token {token}: why")), "{queue}");
    let list = top("/#top\r");
    assert!(list.contains("/postgres#top"), "{list}");
    assert!(!list.contains("deadlocks"), "{list}");
    waiter.kill().expect("killed");
    waiter.wait().expect("ended");
    holder.end();
    assert_eq!(output(&["top", "--once", "./x"]).0, Some(64));
    let closed = Port::new();
    let nowhere = server.url_at(closed.number(), "top");
    assert_eq!(output(&["top", "--once", &nowhere]).0, Some(69));
}
