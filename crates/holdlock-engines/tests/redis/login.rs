//! Passwords and certificates: right ones, wrong ones, and that none is shown.

use std::net::TcpListener;

use holdlock_engines::{EngineGuard, Error, open};
use holdlock_test_support::servers::{Port, Server as _, certificate};
use holdlock_test_support::{skipped, watchdog};

use crate::fake::{self, Reply};
use crate::server::Server;
use crate::support::actor::Actor;
use crate::{name, server};

#[test]
fn passwords_come_from_the_url_or_the_environment_and_are_never_shown() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::own(&[]).map(Server::awake) else {
        return;
    };
    server.cli(&["CONFIG", "SET", "requirepass", "open sesame"]);
    let url = server.url(&name("login"));
    let error = open(&url).expect("a lock").try_lock();
    let error = error.expect_err("no password");
    assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("HOLDLOCK_PASSWORD_FILE"), "{said}");

    let lock = open(&url.replace("://", "://:hidden@")).expect("a lock");
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

    let right = url.replace("://", "://default:open%20sesame@");
    let guard = open(&right).expect("a lock").lock().expect("let in");
    assert!(!guard.name().contains("sesame") && !format!("{guard:?}").contains("sesame"));
    guard.release().expect("ours");

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "open sesame\n").expect("written");
    let path = file.path().display().to_string();
    for variable in [
        ("HOLDLOCK_PASSWORD_FILE", path.as_str()),
        ("REDISCLI_AUTH", "open sesame"),
    ] {
        let mut actor = Actor::with(&url, &[variable]);
        assert!(actor.ask("lock").starts_with("held"));
        assert_eq!(actor.ask("release"), "released");
    }
    assert!(!server.log().contains("sesame"));
}

#[test]
fn tls_checks_the_certificate_and_the_name() {
    let _dog = watchdog::watch(60);
    if !server::has_tls() {
        return;
    }
    let files = tempfile::tempdir().expect("a directory");
    let of = |name: &str| files.path().join(name).display().to_string();
    let names = ["server", "client", "other"];
    if !names
        .iter()
        .all(|name| certificate(files.path(), name).is_some())
    {
        return skipped("openssl is not installed");
    }
    let reserved = Port::new();
    let port = reserved.number().to_string();
    let Some(server) = server::own(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &of("server.crt"),
        "--tls-key-file",
        &of("server.key"),
        "--tls-ca-cert-file",
        &of("client.crt"),
    ]) else {
        return;
    };
    let server = server.awake();
    let at = |host: &str, options: &str| -> Result<EngineGuard, Error> {
        let name = name("tls");
        let url = format!("rediss://{host}:{port}?ttl=60{options}#{name}");
        open(&url).expect("a lock").try_lock()
    };
    let client = format!("&cert={}&key_file={}", of("client.crt"), of("client.key"));
    let ours = format!("&ca={}", of("server.crt"));
    let guard = at("localhost", &format!("{ours}{client}")).expect("trusted");
    let plain = open(&server.url(&name("tls"))).expect("a lock");
    assert!(plain.try_lock().expect_err("held").is_conflict());
    guard.release().expect("ours");
    for (host, options) in [
        ("127.0.0.1", format!("{ours}{client}")),
        ("localhost", format!("&ca={}{client}", of("other.crt"))),
        ("localhost", client.clone()),
    ] {
        let error = at(host, &options).expect_err("not trusted");
        assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    // The server wants a certificate as well.
    let error = at("localhost", &ours).expect_err("no certificate");
    assert!(
        matches!(error, Error::Credentials { .. } | Error::Unreachable { .. }),
        "{error:?}"
    );
}

#[test]
fn a_unix_socket_needs_no_authorities() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let socket = server.directory().join("socket").display().to_string();
    let place = socket.replace('/', "%2F");
    let url = format!("rediss://{place}/0#{}", name("plain"));
    // As on a machine that has none.
    let none = [
        ("SSL_CERT_FILE", "/dev/null"),
        ("SSL_CERT_DIR", "/dev/null"),
    ];
    let mut actor = Actor::with(&url, &none);
    assert!(actor.ask("lock").starts_with("held"));
    assert_eq!(actor.ask("release"), "released");
}

#[test]
fn a_plain_server_does_not_pass_for_tls() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = format!("rediss://localhost:{}?connect_timeout=1#n", server.port());
    let error = open(&url).expect("a lock").try_lock().expect_err("no TLS");
    assert!(
        matches!(
            error,
            Error::Credentials { .. } | Error::Unreachable { .. } | Error::Unsuitable { .. }
        ),
        "{error:?}"
    );
}

#[test]
fn a_database_that_is_missing_is_named() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let url = server.url("n").replace("/0?", "/4711?");
    let error = open(&url).expect("a lock").try_lock().expect_err("missing");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(error.to_string().contains("4711"), "{error}");
}

/// A server without the command tells with which words it was called.
#[test]
fn a_server_without_hello_is_refused_and_the_password_is_not_shown() {
    let _dog = watchdog::watch(60);
    let address = fake::start(|call| match call.words[0].as_str() {
        "HELLO" => Reply::Is(format!(
            "-ERR unknown command 'HELLO', with args beginning with: '{}' \r\n",
            call.words[1..].join("' '")
        )),
        _ => Reply::Usual,
    });
    for database in ["", "/3"] {
        let lock = open(&format!("redis://ann:hidden@{address}{database}#n")).expect("a lock");
        let error = lock.try_lock().expect_err("refused");
        assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains("hidden"), "{said}");
        assert!(said.contains("HELLO") && said.contains("Redis 6"), "{said}");
    }
}

/// A proxy for TLS whose server has died accepts a connection, and ends it.
#[test]
fn a_connection_that_ends_in_the_tls_handshake_is_no_refused_login() {
    let _dog = watchdog::watch(60);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let lock = open(&format!("rediss://127.0.0.1:{port}#n")).expect("a lock");
    let error = lock.try_lock().expect_err("no server");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("TLS"), "{error}");
}
