//! What is particular about etcd beside keeping a lock.

use std::time::Duration;

use holdlock_engines::{Error, Level, Run, open, open_server};
use holdlock_test_support::servers::{Port, Server as _};
use holdlock_test_support::{wait_for, watchdog};

use crate::support::place::{level, place};
use crate::{name, server};

#[test]
fn runs_are_remembered_and_only_those_of_the_last_holder() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let url = cluster.url(&name("runs"));
    let lock = open(&url).expect("a lock");
    let said = open_server(place(&url)).expect("a place").init();
    assert!(said.expect("nothing to do").contains("needs nothing"));
    let nothing = lock.last_run().expect("answers");
    assert_eq!((nothing.last_run, nothing.at_work), (None, None));

    let first = lock.clone().command("the first").lock().expect("free");
    first.record_run(Run::begins()).expect("recorded");
    let token = first.token().expect("a token");
    lock.break_holder(token).expect("answers").expect("ended");

    let second = lock.lock().expect("free");
    let hour = Duration::from_secs(3600);
    let begins = Run::begins().counted(2 * hour, 24 * hour);
    let before = second.record_run(begins).expect("recorded");
    let died = before.at_work.expect("the first");
    assert_eq!(died.command.as_deref(), Some("the first"));
    assert_eq!(died.token, first.token());
    let late = first.record_run(Run::ends().counted(Duration::ZERO, hour));
    assert!(matches!(late, Err(Error::Lost { .. })), "{late:?}");
    let before = second.record_run(Run::ends()).expect("recorded");
    assert_eq!(before.at_work.expect("itself").token, second.token());

    let known = lock.last_run().expect("answers");
    let ago = known.last_run.expect("a run");
    let range = 2 * hour..2 * hour + Duration::from_secs(60);
    assert!(range.contains(&ago), "{ago:?}");
    assert_eq!(known.at_work, None);
    second.release().expect("ours");
    let other = open(&cluster.url(&name("other"))).expect("a lock");
    assert_eq!(other.last_run().expect("answers").last_run, None);
}

#[test]
fn runs_are_recorded_under_keys_that_come_from_another_cluster() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::shared() else {
        return;
    };
    let name = name("moved");
    let lock = open(&cluster.url(&name)).expect("a lock");
    let hour = Duration::from_secs(3600);
    let run = Run::ends().counted(hour, hour);
    let first = lock.lock().expect("free");
    first.record_run(run).expect("recorded");
    first.release().expect("ours");
    // As copied from a cluster that has seen more changes.
    let keys = cluster.ctl(&["get", "--prefix", "--keys-only", "tests/"]);
    let mut keys = keys.lines().filter(|key| key.contains(&name));
    let key = keys.next().expect("the runs");
    let value = cluster.ctl(&["get", "--print-value-only", key]);
    let token = first_number(&value);
    let (ours, theirs) = (format!("\"{token}\""), "\"1000000000000\"");
    cluster.ctl(&["put", key, &value.replacen(&ours, theirs, 1)]);

    let second = lock.lock().expect("free");
    let before = second.record_run(run).expect("recorded");
    assert!(before.last_run.is_some_and(|ago| ago >= hour));
    // The tokens are those of this cluster again.
    let value = cluster.ctl(&["get", "--print-value-only", key]);
    let token = second.token().expect("a token").to_string();
    assert_eq!(first_number(&value), token);
}

/// The token behind `"token":"`.
fn first_number(value: &str) -> String {
    let (_, rest) = value.split_once("\"token\":\"").expect("a token");
    rest.chars().take_while(char::is_ascii_digit).collect()
}

#[test]
fn what_is_doubtful_about_a_cluster_is_found() {
    let _dog = watchdog::watch(60);
    let Some(cluster) = server::own(3, &[]) else {
        return;
    };
    // Three members of a slow machine may choose another leader at any time.
    let diagnose = |url: &str| {
        let cluster = open_server(url).expect("a place");
        wait_for("the findings", || cluster.diagnose().ok())
    };
    let findings = diagnose(place(&cluster.url("doctor")));
    for id in ["failover", "endpoints", "users", "tls"] {
        assert_eq!(level(&findings, id), Level::Ok, "{id}: {findings:?}");
    }
    assert!(findings.iter().all(|finding| finding.id != "endpoint"));
    // Debian's etcd may have the defect, or not.
    level(&findings, "version");
    level(&findings, "latency");
    let closed = Port::new();
    let ports = [cluster.port(), closed.number()];
    let findings = diagnose(place(&cluster.url_by(&ports, "ttl=60", "doctor")));
    assert_eq!(level(&findings, "endpoint"), Level::Warning, "{findings:?}");
    assert_eq!(level(&findings, "endpoints"), Level::Note, "{findings:?}");
    let doubtful = |finding: &&holdlock_engines::Finding| finding.level >= Level::Note;
    for finding in findings.iter().filter(doubtful) {
        assert!(finding.remedy.is_some(), "{finding:?}");
    }
}
