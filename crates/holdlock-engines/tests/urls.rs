//! The URLs that a user may write. No server is needed: opening a lock does not connect.

#![allow(missing_docs, reason = "tests")]

use holdlock_engines::{Error, open, open_server};
use holdlock_test_support::garbled;

const SECRET: &str = "s3cr3t";

#[test]
fn broken_urls_are_refused_and_no_message_shows_the_password() {
    let samples: [&[u8]; 6] = [
        b"postgres://ann:s3cr3t@db1:5432,db2/app?ttl=30&slots=3&sslmode=require#nightly",
        b"postgresql://ann@[::1]:5432/app?key=7,8&pooler=session&options=-c%20x#n%2Fm",
        b"etcd://ann:s3cr3t@h1:2379,h2:2379/prefix?ttl=15&slots=2#deploy",
        b"etcds://h1?ttl=20#deploy",
        b"redis://ann:s3cr3t@h1:6379/3?replicas=1&ttl=15&slots=2#deploy",
        b"rediss://:s3cr3t@h1/0#deploy",
    ];
    let mut opened = 0;
    garbled(&samples, |url| {
        let url = String::from_utf8_lossy(url);
        let shown = match open(&url) {
            Ok(lock) => {
                opened += 1;
                format!("{lock:?} {}", lock.name())
            }
            Err(error) => format!("{error:?} {error}"),
        };
        let server = open_server(&url).map(|server| format!("{server:?}"));
        if has_password(&url) {
            assert!(!shown.contains(SECRET), "{shown}");
            assert!(!server.is_ok_and(|shown| shown.contains(SECRET)));
        }
    });
    assert!(opened > 500, "only {opened} were opened");
}

#[test]
fn a_file_of_a_url_that_cannot_be_read_is_named_at_once() {
    for url in [
        "postgres://h/d?sslmode=verify-full&ca=/none.pem#n",
        "postgres://h/d?cert=/none.pem&key_file=/none.pem#n",
        "etcds://h/?ca=/none.pem#n",
        "rediss://h/?ca=/none.pem#n",
    ] {
        let error = open(url).expect_err(url);
        assert!(matches!(error, Error::Url { .. }), "{url}: {error:?}");
        assert!(error.to_string().contains("/none.pem"), "{url}: {error}");
    }
    // Nothing is encrypted.
    for url in [
        "postgres://h/d?sslmode=disable&ca=/none.pem#n",
        "postgres://%2Frun/d?sslmode=verify-full&ca=/none.pem#n",
    ] {
        open(url).expect(url);
    }
}

/// Whether the secret still is the password, and stands nowhere else.
fn has_password(url: &str) -> bool {
    let password = url.split_once("://").and_then(|(_, rest)| {
        let authority = rest.split(['#', '?', '/']).next()?;
        let (login, _) = authority.rsplit_once('@')?;
        Some(login.split_once(':')?.1)
    });
    password.is_some_and(|password| password.contains(SECRET)) && url.matches(SECRET).count() == 1
}
