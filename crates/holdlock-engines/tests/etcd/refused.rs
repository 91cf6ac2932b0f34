//! Users, certificates, and servers that are no place for a lock.

use std::io::{Read, Write};
use std::net::TcpListener;

use holdlock_engines::{Error, open};
use holdlock_test_support::servers::{Server as _, certificate};
use holdlock_test_support::{eventually, skipped, watchdog};

use crate::{name, server};

#[test]
fn users_log_in_by_password_which_is_never_shown() {
    let _dog = watchdog::watch(90);
    // A token is forgotten after a second without use.
    let Some(cluster) = server::own(1, &["--auth-token-ttl", "1"]) else {
        return;
    };
    make_users(&cluster);
    cluster.ctl(&["auth", "enable"]);
    let url = cluster.url(&name("login"));
    let login =
        |login: &str| open(&url.replace("etcd://", &format!("etcd://{login}"))).expect("a lock");
    for (user, part) in [
        ("", "the URL names none"),
        ("ann@", "HOLDLOCK_PASSWORD_FILE"),
        ("ann:hidden@", "invalid user ID or password"),
        ("bob:bobs@", "readwrite"),
    ] {
        let lock = login(user);
        let error = lock.try_lock().expect_err(user);
        assert!(
            matches!(error, Error::Credentials { .. }),
            "{user}: {error:?}"
        );
        assert!(error.to_string().contains(part), "{user}: {error}");
        let shown = format!("{error:?} {lock:?} {}", lock.warnings().join(""));
        assert!(!shown.contains("hidden"), "{shown}");
    }
    let lock = login("ann:open%20sesame@");
    assert!(lock.warnings()[0].contains("password"));
    let guard = lock.lock().expect("the right password");
    guard.check().expect("held");
    // The renewals use the token. A lock that nobody uses for a while lets it expire.
    let idle = login("ann:open%20sesame@");
    idle.members().expect("answers");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(idle.members().expect("a new token").holders.len(), 1);
    guard.check().expect("held");
    guard.release().expect("ours");
}

/// Ann may use the locks, and bob may not.
fn make_users(cluster: &server::Cluster) {
    for arguments in [
        "user add root:top",
        "user add ann:open sesame",
        "user add bob:bobs",
        "role add locks",
        "role grant-permission --prefix locks readwrite tests/",
        "user grant-role ann locks",
        "user grant-role root root",
    ] {
        let arguments: Vec<&str> = arguments.splitn(3, ' ').collect();
        let split = arguments[1] != "add";
        let rest: Vec<&str> = match split {
            true => arguments[2..]
                .iter()
                .flat_map(|rest| rest.split(' '))
                .collect(),
            false => arguments[2..].to_vec(),
        };
        cluster.ctl(&[&arguments[..2], &rest].concat());
    }
}

#[test]
fn a_lock_is_kept_while_the_cluster_begins_to_ask_for_logins() {
    let _dog = watchdog::watch(90);
    let Some(cluster) = server::own(1, &[]) else {
        return;
    };
    make_users(&cluster);
    let url = cluster.url(&name("begins"));
    let url = url.replace("etcd://", "etcd://ann:open%20sesame@");
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("no login is needed");
    cluster.ctl(&["auth", "enable"]);
    guard.check().expect("held");
    assert!(lock.try_lock().expect_err("held").is_conflict());
    guard.release().expect("ours");
    lock.lock().expect("let in").release().expect("ours");
}

#[test]
fn tls_checks_the_certificate_and_the_name() {
    let _dog = watchdog::watch(60);
    let directory = tempfile::tempdir().expect("a directory");
    let Some((certificate, key)) = certificate(directory.path(), "etcd") else {
        return skipped("openssl is not installed");
    };
    let paths = [&certificate, &key].map(|path| path.to_str().expect("UTF-8"));
    let Some(cluster) = server::own(1, &["--cert-file", paths[0], "--key-file", paths[1]]) else {
        return;
    };
    let at = |scheme: &str, host: &str, options: &str| {
        let url = cluster.with(&format!("ttl=60{options}"), &name("tls"));
        let url = url.replace("etcd://127.0.0.1", &format!("{scheme}://{host}"));
        open(&url).expect("a lock").try_lock()
    };
    let trusted = format!("&ca={}", paths[0]);
    at("etcds", "localhost", &trusted)
        .expect("trusted")
        .release()
        .expect("ours");
    for (host, options) in [("127.0.0.1", &*trusted), ("localhost", "")] {
        let error = at("etcds", host, options).expect_err("not trusted");
        assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    let error = at("etcd", "localhost", "").expect_err("TLS is needed");
    assert!(error.to_string().contains("etcds://"), "{error}");
}

#[test]
fn a_gateway_that_is_switched_off_is_named_with_its_option() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::own(1, &["--enable-grpc-gateway=false"]) else {
        return;
    };
    let lock = open(&cluster.url(&name("off"))).expect("a lock");
    let error = lock.lock().expect_err("no gateway");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(
        error.to_string().contains("--enable-grpc-gateway"),
        "{error}"
    );
}

#[test]
fn another_server_is_not_mistaken_for_etcd() {
    let _dog = watchdog::watch(60);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a client");
            let _ = client.read(&mut [0; 1000]);
            let body = "<html>welcome</html>";
            let length = body.len();
            let _ = write!(
                client,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            );
        }
    });
    let url = format!("etcd://127.0.0.1:{port}/#n");
    let error = open(&url).expect("a lock").lock().expect_err("not etcd");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(error.to_string().contains("not etcd"), "{error}");
}

#[test]
fn a_compacted_history_ends_no_wait_and_no_lock() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::own(1, &[]) else {
        return;
    };
    let name = name("compacted");
    let lock = open(&cluster.url(&name)).expect("a lock");
    let guard = lock.lock().expect("free");
    let waiting = lock.clone();
    let waiter = std::thread::spawn(move || waiting.lock());
    eventually("it waits", || {
        lock.members().expect("answers").waiters.len() == 1
    });
    for number in 0..10 {
        cluster.ctl(&["put", "other", &number.to_string()]);
        let status = cluster.ctl(&["get", "other", "-w", "json"]);
        let (_, revision) = status.split_once("\"revision\":").expect("a number");
        let revision = revision
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .expect("digits");
        cluster.ctl(&["compaction", revision]);
        guard.check().expect("held");
    }
    assert!(guard.lost().loss().is_none());
    guard.release().expect("ours");
    waiter
        .join()
        .expect("no panic")
        .expect("acquired")
        .release()
        .expect("ours");
}
