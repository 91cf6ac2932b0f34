//! Passwords and certificates: right ones, wrong ones, and that none is shown.

use std::os::unix::fs::PermissionsExt;

use holdlock_engines::{Error, open};
use holdlock_test_support::servers::Server as _;
use holdlock_test_support::skipped;
use holdlock_test_support::watchdog;

use crate::server;

#[test]
fn passwords_come_from_a_file_or_the_url_and_are_never_shown() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    server.sql("CREATE ROLE secretive LOGIN PASSWORD 'open sesame'");
    let url = server
        .url(&crate::name("login"))
        .replace("boss@", "secretive@");
    let error = open(&url)
        .expect("a lock")
        .try_lock()
        .expect_err("no password");
    assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
    assert!(error.to_string().contains(".pgpass"), "{error}");

    let wrong = url.replace("secretive@", "secretive:hidden@");
    let lock = open(&wrong).expect("a lock");
    let error = lock.try_lock().expect_err("the wrong password");
    assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
    for shown in [
        format!("{error:?} {error}"),
        format!("{lock:?}"),
        lock.warnings().join(""),
    ] {
        assert!(!shown.contains("hidden"), "{shown}");
    }
    assert!(lock.warnings()[0].contains("password"));

    let right = url.replace("secretive@", "secretive:open%20sesame@");
    let guard = open(&right)
        .expect("a lock")
        .lock()
        .expect("the right password");
    let shown =
        server.sql("SELECT string_agg(query || application_name, '') FROM pg_stat_activity");
    assert!(!shown.contains("sesame"), "{shown}");
    guard.release().expect("ours");

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(
        file.path(),
        format!("*:{}:*:secretive:open sesame\n", server.port()),
    )
    .expect("written");
    let passfile = url.replace('?', &format!("?passfile={}&", file.path().display()));
    let lock = open(&passfile).expect("a lock");
    assert!(lock.warnings().is_empty());
    lock.lock()
        .expect("the right password")
        .release()
        .expect("ours");
    std::fs::set_permissions(file.path(), PermissionsExt::from_mode(0o644)).expect("changed");
    let lock = open(&passfile).expect("a lock");
    assert!(lock.warnings()[0].contains("chmod 0600"));
    assert!(matches!(lock.try_lock(), Err(Error::Credentials { .. })));
}

#[test]
fn a_database_that_is_missing_is_named() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("n").replace("/postgres?", "/nowhere?");
    let error = open(&url).expect("a lock").try_lock().expect_err("missing");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(
        error.to_string().contains("\"nowhere\" does not exist"),
        "{error}"
    );
}

#[test]
fn tls_checks_the_certificate_and_the_name() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let ca = server.data().join("server.crt");
    if !ca.is_file() {
        return skipped("openssl is not installed");
    }
    let at = |host: &str, tls: &str| {
        let url = server.url(&crate::name("tls")).replace("127.0.0.1", host);
        let url = url.replace("sslmode=disable", tls);
        open(&url).expect("a lock").try_lock()
    };
    let trusted = format!("sslmode=verify-full&ca={}", ca.display());
    at("localhost", &trusted)
        .expect("trusted")
        .release()
        .expect("ours");
    let used = "SELECT count(*) FROM pg_stat_ssl WHERE ssl";
    let guard = at("127.0.0.1", "sslmode=prefer").expect("unchecked");
    assert_ne!(server.sql(used), "0");
    guard.release().expect("ours");
    let chain = trusted.replace("verify-full", "verify-ca");
    at("127.0.0.1", &chain)
        .expect("the name does not matter")
        .release()
        .expect("ours");
    for (host, tls) in [
        ("127.0.0.1", &*trusted),
        ("localhost", "sslmode=verify-full"),
    ] {
        let error = at(host, tls).expect_err("not trusted");
        assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}

#[test]
fn a_host_that_no_certificate_can_name_needs_none_without_tls() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url(&crate::name("plain"));
    assert!(url.contains("sslmode=disable"));
    // As the link-local address fe80::1%eth0.
    let lock = open(&url.replace("127.0.0.1", "127.1")).expect("a lock");
    let guard = lock.lock().expect("free");
    guard.release().expect("ours");
}

#[test]
fn a_host_that_no_certificate_can_name_needs_none_where_the_name_is_not_checked() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let ca = server.data().join("server.crt");
    if !ca.is_file() {
        return skipped("openssl is not installed");
    }
    let at = |tls: &str| {
        let url = server
            .url(&crate::name("unnamed"))
            .replace("127.0.0.1", "127.1");
        open(&url.replace("sslmode=disable", tls))
            .expect("a lock")
            .lock()
    };
    let chain = format!("sslmode=verify-ca&ca={}", ca.display());
    let used = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                WHERE ssl AND application_name LIKE '%unnamed%'";
    for tls in ["sslmode=prefer", "sslmode=require", &chain] {
        let guard = at(tls).expect("free");
        assert_eq!(server.sql(used), "1", "{tls}");
        guard.release().expect("ours");
        server.nothing_left(&crate::name("unnamed"));
    }
    let named = chain.replace("verify-ca", "verify-full");
    let error = at(&named).expect_err("no name");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(error.to_string().contains("is no name"), "{error}");
}

#[test]
fn messages_have_the_directory_of_the_socket_as_a_url_has_it() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let (data, port) = (server.data(), server.port());
    let directory = data.parent().expect("a directory").display().to_string();
    let (name, place) = (crate::name("socket"), directory.replace('/', "%2F"));
    let url = format!("postgres://boss@{place}:{port}/postgres#{name}");
    let lock = open(&url).expect("a lock");
    let guard = lock.lock().expect("free");
    let error = lock.try_lock().expect_err("held").to_string();
    let shown = url.replace("boss@", "");
    assert!(error.starts_with(&format!("{shown}: already")), "{error}");
    guard.release().expect("ours");

    let away = open(&url.replace(&format!(":{port}/"), ":1/")).expect("a lock");
    let error = away.try_lock().expect_err("no server").to_string();
    assert!(error.contains(&format!("{directory}:1: ")), "{error}");
}
