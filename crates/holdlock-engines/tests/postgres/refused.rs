//! Servers that look like PostgreSQL and are no safe place for a lock.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use holdlock_engines::{Error, open};
use holdlock_test_support::has;
use holdlock_test_support::proxy::{Fault, Proxy};
use holdlock_test_support::servers::{Port, Server as _};
use holdlock_test_support::wait_for;
use holdlock_test_support::watchdog;

use crate::{name, server};

#[test]
fn a_pooler_is_refused_unless_the_user_says_that_it_keeps_sessions() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    let proxy = Proxy::start(server.port());
    proxy.fault(Fault::Pooler);
    let url = server.url_at(proxy.port(), &name("pooler"));
    let error = open(&url).expect("a lock").try_lock().expect_err("refused");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(error.to_string().contains("pooler=session"), "{error}");
    let lock = open(&url.replace('?', "?pooler=session&")).expect("a lock");
    lock.try_lock().expect("free").release().expect("ours");
}

#[test]
fn a_setting_that_the_server_refuses_is_no_silence() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    for (setting, word) in [
        ("nosuch%3D1", "nosuch"),
        ("work_mem%3Dmuch", "work_mem"),
        ("port%3D1", "port"),
    ] {
        let options = format!("options=-c%20{setting}");
        let lock = open(&server.with(&options, &name("setting"))).expect("a lock");
        let error = lock.try_lock().expect_err("refused");
        assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains(word) && said.contains("options="), "{said}");
    }
    server.sql("CREATE ROLE unprivileged LOGIN");
    let options = "options=-c%20session_replication_role%3Dreplica";
    let url = server.with(options, &name("setting"));
    let lock = open(&url.replace("boss@", "unprivileged@")).expect("a lock");
    let error = lock.try_lock().expect_err("refused");
    assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
}

#[test]
fn pgbouncer_is_refused() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    if !has("pgbouncer") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let reserved = Port::new();
    let port = reserved.number();
    let config = directory.path().join("pgbouncer.ini");
    let users = directory.path().join("users");
    std::fs::write(&users, "\"boss\" \"\"\n").expect("written");
    let text = format!(
        "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
         pool_mode = transaction\nignore_startup_parameters = extra_float_digits\n",
        server.port(),
        users.display()
    );
    std::fs::write(&config, text).expect("written");
    let mut pgbouncer = Command::new("pgbouncer");
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        for path in [directory.path(), &config, &users] {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).expect("given away");
        }
        pgbouncer.uid(65534).gid(65534);
    }
    let quiet = pgbouncer
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut pgbouncer = quiet.spawn().expect("starts");
    let lock = open(&server.url_at(port, &name("pgbouncer"))).expect("a lock");
    let error = wait_for("pgbouncer answers", || match lock.try_lock() {
        Err(Error::Unreachable { .. }) => None,
        Err(error) => Some(error),
        Ok(_) => panic!("a lock of a session that others get"),
    });
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(error.to_string().contains("pooler"), "{error}");
    pgbouncer.kill().expect("killed");
    pgbouncer.wait().expect("ended");
}

#[test]
fn a_standby_is_refused_and_another_host_is_tried() {
    let _dog = watchdog::watch(90);
    let Some(primary) = server::shared() else {
        return;
    };
    let Some(standby) = server::standby() else {
        return;
    };
    let name = name("standby");
    let lock = open(&standby.url(&name)).expect("a lock");
    let error = lock
        .try_lock_for(Duration::from_secs(60))
        .expect_err("refused");
    assert!(matches!(error, Error::Unsuitable { .. }), "{error:?}");
    assert!(error.to_string().contains("standby"), "{error}");
    let both = primary.url_by(&[standby.port(), primary.port()], "ttl=10", &name);
    let guard = open(&both)
        .expect("a lock")
        .lock()
        .expect("the primary has it");
    assert!(guard.token().is_some());
    guard.release().expect("ours");
}

/// As during a failover: the standby becomes the primary in a moment.
#[test]
fn a_standby_beside_a_primary_that_is_away_is_no_refusal() {
    let _dog = watchdog::watch(90);
    let Some(standby) = server::standby() else {
        return;
    };
    let dead = Port::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("an address").port();
    for ports in [
        [dead.number(), standby.port()],
        [standby.port(), dead.number()],
        [silent, standby.port()],
    ] {
        let lock = open(&standby.url_by(&ports, "ttl=10", &name("failover"))).expect("a lock");
        let error = lock.lock().expect_err("no primary");
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("only a standby answers"), "{said}");
    }
}

#[test]
fn where_nothing_listens_the_error_says_so_at_once() {
    let port = Port::new();
    let number = port.number();
    let url = format!("postgres://127.0.0.1:{number}/app?sslmode=disable#n");
    let error = open(&url)
        .expect("a lock")
        .lock()
        .expect_err("nothing there");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("refused"), "{error}");
}

/// A proxy for TLS whose server has died accepts a connection, and ends it.
#[test]
fn a_connection_that_ends_in_the_tls_handshake_is_no_refused_login() {
    let _dog = watchdog::watch(60);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The request for TLS, and yes.
            let asked = stream.read_exact(&mut [0; 8]);
            let _ = asked.and_then(|()| stream.write_all(b"S"));
        }
    });
    let url = format!("postgres://ann@127.0.0.1:{port}/app?sslmode=require#n");
    let error = open(&url).expect("a lock").try_lock();
    let error = error.expect_err("no server");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}
