//! Faults that the checker must find. Those inside the protocols of the engines are found by tests
//! of the crate `holdlock-engines`; `docs/torture.md` has the list.

use serde_json::Value;

use holdlock_test_support::servers::Server as _;

use crate::{SHORTEST, Torture, alone, etcd, place, postgres, redis};

/// A fault, the modes in which it strikes, and what it must be found as.
#[track_caller]
fn must_be_found(url: &str, fault: &str, modes: &str, kinds: &[&str]) {
    must_be_found_in(url, CALM, fault, modes, kinds);
}

/// A run with this seed begins without kills and stops, which hold up the others for a lease.
const CALM: &str = "1";
/// A run with this one begins with them, and ends holds.
const STORM: &str = "2";

#[track_caller]
fn must_be_found_in(url: &str, seed: &str, fault: &str, modes: &str, kinds: &[&str]) {
    let words = [
        "--for", "6m", "--seed", seed, "--modes", modes, "--fault", fault,
    ];
    let (code, report) = Torture::of(place(url), &words).report();
    assert_eq!(code, Some(1), "{report:#}");
    let found = report["found"]["kind"].as_str().expect("a finding");
    assert!(kinds.contains(&found), "{report:#}");
    assert_ne!(report["history"], Value::Null);
}

#[test]
fn a_section_without_the_lock_is_found() {
    let _one = alone();
    let Some(server) = redis::shared() else {
        return;
    };
    let url = server.with(SHORTEST, "any");
    must_be_found(&url, "skip", "exclusive", &["overlap"]);
    must_be_found(&url, "skip", "run", &["overlap", "token"]);
    must_be_found(&url, "slot", "slots", &["overlap"]);
    must_be_found(&url, "share", "shared", &["overlap", "token"]);
    must_be_found(&url, "unmarked", "rewrite", &["lost-update"]);
}

#[test]
fn a_release_before_the_end_of_the_section_is_found() {
    let _one = alone();
    if let Some(server) = postgres::shared() {
        must_be_found(
            &server.with(SHORTEST, "any"),
            "early",
            "exclusive",
            &["overlap"],
        );
    }
}

/// By those that enter after a stop or a death past the lease, or because the run ends a hold, of
/// which the holder must learn.
#[test]
fn a_guard_that_is_kept_after_its_loss_is_found() {
    let _one = alone();
    let kinds = ["overlap", "fence", "unnoticed"];
    if let Some(cluster) = etcd::shared() {
        let url = cluster.with(SHORTEST, "any");
        must_be_found_in(&url, STORM, "deaf", "exclusive,register", &kinds);
    }
}

#[test]
fn a_token_that_does_not_rise_is_found() {
    let _one = alone();
    if let Some(server) = postgres::shared() {
        must_be_found(
            &server.with(SHORTEST, "any"),
            "token",
            "exclusive",
            &["token"],
        );
    }
}

/// By a holder that was stopped past its lease, or whose hold the run has ended.
#[test]
fn a_resource_that_does_not_check_tokens_is_found() {
    let _one = alone();
    if let Some(cluster) = etcd::shared() {
        let url = cluster.with(SHORTEST, "any");
        must_be_found_in(&url, STORM, "gate", "register", &["fence"]);
    }
}

#[test]
fn a_limit_that_is_not_kept_is_found() {
    let _one = alone();
    if let Some(server) = postgres::shared() {
        let url = server.with(SHORTEST, "any");
        must_be_found(&url, "late", "exclusive", &["overdue"]);
        must_be_found(&url, "hasty", "exclusive", &["early"]);
    }
}

#[test]
fn a_waiter_that_is_never_woken_and_a_lock_that_nobody_has_are_found() {
    let _one = alone();
    if let Some(server) = redis::shared() {
        let url = server.with(SHORTEST, "any");
        must_be_found(&url, "asleep", "exclusive", &["lost-wakeup"]);
        must_be_found(&url, "keep", "exclusive", &["kept"]);
    }
}
