//! `who --signal` where a record in the engine names another process than the holder.

use std::thread::scope;

use holdlock_test_support::servers::{Server, etcd, postgres, redis};
use holdlock_test_support::{eventually, watchdog};

use crate::bystander::Bystander;
use crate::{STAY, engines, output, start};

const SIGNAL: [&str; 4] = ["who", "--signal", "TERM", "--yes"];

/// `who --signal` sends it nothing.
fn is_spared(bystander: &mut Bystander, url: &str) {
    eventually("the record is seen", || {
        let (_, said, _) = output(&["who", url]);
        said.contains(&bystander.0.id().to_string())
    });
    let (code, _, errors) = output(&[&SIGNAL[..], &[url]].concat());
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        errors.contains("has no connection to this server: nothing is sent to it"),
        "{errors}"
    );
    assert!(bystander.0.try_wait().expect("a child").is_none(), "{url}");
}

#[test]
fn a_record_that_names_a_bystander_has_no_signal_sent_to_it() {
    let _dog = watchdog::watch(60);
    let mut bystander = Bystander::start();
    let record = bystander.record();
    if let Some(server) = postgres::shared() {
        let url = server.url("forged").replace('?', "?key=777000778&");
        let lock = "SELECT pg_advisory_lock(777000778), pg_sleep(300)";
        let statement = format!("/* holdlock {record} */ {lock}");
        scope(|scope| {
            let session = scope.spawn(|| server.try_sql(&statement));
            is_spared(&mut bystander, &url);
            server.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE objid = 777000778");
            session.join().expect("ended");
        });
    }
    if let Some(cluster) = etcd::shared() {
        let url = cluster.url("forged");
        let holder = start(&[&[url.as_str()], &STAY[..]].concat());
        let key = &cluster.keys("forged")[0];
        cluster.ctl(&["put", "--ignore-lease", key, &record]);
        is_spared(&mut bystander, &url);
        holder.end();
    }
    if let Some(server) = redis::shared() {
        bystander.is_said_to_hold(server, "forged");
        is_spared(&mut bystander, &server.url("forged"));
    }
}

#[test]
fn the_holder_gets_the_signal_by_whatever_way_it_is_connected() {
    let _dog = watchdog::watch(60);
    let mut urls: Vec<String> = engines().iter().map(|server| server.url("true")).collect();
    let encoded = |path: &std::path::Path| path.display().to_string().replace('/', "%2F");
    if let Some(server) = postgres::shared() {
        let directory = server.data();
        let directory = encoded(directory.parent().expect("a directory"));
        let port = server.port();
        urls.push(format!(
            "postgres://boss@{directory}:{port}/postgres#socket"
        ));
        urls.push(server.url("name").replace("127.0.0.1", "localhost"));
    }
    if let Some(server) = redis::shared() {
        let socket = encoded(&server.directory().join("socket"));
        urls.push(format!("redis://{socket}#socket"));
    }
    for url in urls {
        let holder = start(&[&url, "--", "sh", "-c", "echo runs; exec sleep 100"]);
        let (code, _, errors) = output(&[&SIGNAL[..], &["--wait=60", &url]].concat());
        assert_eq!(code, Some(0), "{url}: {errors}");
        let sent = format!("TERM sent to pid {}", holder.pid());
        assert!(errors.contains(&sent), "{url}: {errors}");
        assert_eq!(holder.ended().0, Some(143), "{url}");
    }
}
