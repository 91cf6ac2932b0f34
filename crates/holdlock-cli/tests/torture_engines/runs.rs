//! Runs that find nothing.

use holdlock_test_support::Scratch;
use holdlock_test_support::servers::{Port, Server as _};

use crate::{SHORTEST, Torture, alone, etcd, must_hold, place, postgres, redis};

/// The modes come two at a time, for a second each; all of them have a turn.
const TIME: &[&str] = &["--for", "6s", "--seed", "2"];

fn all_modes_hold(url: &str, kind: &str) {
    for report in must_hold(place(url), TIME) {
        assert_eq!(report["engine"], kind);
        assert_eq!(report["modes"].as_array().expect("modes").len(), 6);
        let number = |field: &str| report[field].as_u64().expect("a number");
        assert!(number("kills") + number("stops") > 0, "{report:#}");
    }
}

#[test]
fn nothing_is_found_over_postgres() {
    let _one = alone();
    if let Some(server) = postgres::shared() {
        all_modes_hold(&server.with(SHORTEST, "any"), "postgres");
    }
}

#[test]
fn nothing_is_found_over_etcd() {
    let _one = alone();
    if let Some(cluster) = etcd::shared() {
        all_modes_hold(&cluster.with(SHORTEST, "any"), "etcd");
    }
}

#[test]
fn nothing_is_found_over_redis() {
    let _one = alone();
    if let Some(server) = redis::shared() {
        all_modes_hold(&server.with(SHORTEST, "any"), "redis");
    }
}

/// The control: the same rounds over files, whose locks cannot be lost.
#[test]
fn nothing_is_found_by_the_same_rounds_over_files() {
    let _one = alone();
    let memory = Scratch::in_memory();
    let directory = memory.directory().to_str().expect("text");
    let words = ["--for", "3s", "--modes", "rewrite,register,run"];
    for report in must_hold(directory, &words) {
        for mode in report["modes"].as_array().expect("modes") {
            assert_eq!((&mode["lost"], &mode["fenced"]), (&0.into(), &0.into()));
        }
    }
}

#[test]
fn what_cannot_be_tried_is_a_clear_error() {
    let closed = Port::new();
    let nowhere = format!("redis://127.0.0.1:{}/0", closed.number());
    for (words, url, code, why) in [
        (
            &["--modes", "ofd"][..],
            "etcd://h",
            64,
            "no mode `ofd` over an engine",
        ),
        (&[], "etcd://h?slots=2", 64, "leave `slots` and `key` out"),
        (&[], "mysql://h", 64, "no engine has this scheme"),
        (&[], &nowhere, 69, "cannot reach the engine"),
    ] {
        let mut torture = Torture::of(url, words);
        let (exit, out, said) = torture.output();
        assert_eq!(exit, Some(code), "{said}");
        assert!(said.contains(why) && out.is_empty(), "{said}");
        let left = std::fs::read_dir(torture.directory.path()).expect("readable");
        assert_eq!(left.count(), 0);
    }
}
