//! `holdlock torture` over engines: finds nothing where the engine keeps its locks, also if it is
//! restarted, and finds each fault that is put into the workers.

#![cfg(feature = "engines")]
#![allow(missing_docs, reason = "tests")]

mod faults;
mod restarts;
mod runs;

use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdlock_test_support::servers::{etcd, postgres, redis};
use holdlock_test_support::watchdog::{self, Watchdog};
use serde_json::Value;

/// The time limit of the locks. After a kill the others wait for as long.
const SHORTEST: &str = "ttl=3";

/// One at a time: each run keeps the machine busy.
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> (MutexGuard<'static, ()>, Watchdog) {
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    (one, watchdog::watch(400))
}

/// `holdlock torture` with these words, whose history goes to a directory of its own.
struct Torture {
    command: Command,
    directory: tempfile::TempDir,
}

impl Torture {
    fn of(place: &str, words: &[&str]) -> Torture {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdlock"));
        command.args(["torture", "--json"]).args(words).arg(place);
        command
            .stdin(Stdio::null())
            .env_remove("HOLDLOCK_ENGINE")
            .env("TMPDIR", directory.path())
            .env("LC_ALL", "C");
        Torture { command, directory }
    }

    fn output(&mut self) -> (Option<i32>, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.command.output().expect("starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (status.code(), text(&stdout), text(&stderr))
    }

    /// The exit code and the report. Nothing else is left but the history of a finding.
    fn report(mut self) -> (Option<i32>, Value) {
        let (code, out, said) = self.output();
        let report: Value = serde_json::from_str(&out)
            .unwrap_or_else(|error| panic!("{error}: {code:?} {out} {said}"));
        println!("{report:#}");
        let left = std::fs::read_dir(self.directory.path()).expect("readable");
        let histories = usize::from(!report["history"].is_null());
        assert_eq!(left.count(), histories, "{report:#}");
        (code, report)
    }
}

/// Runs of this place find nothing, and have sections in each mode. A mode of a slow machine may
/// get no lock in one run.
#[track_caller]
fn must_hold(place: &str, words: &[&str]) -> Vec<Value> {
    let mut reports = Vec::new();
    for _ in 0..5 {
        reports.push(must_find_nothing(Torture::of(place, words)));
        let modes = reports[0]["modes"].as_array().expect("modes").len();
        let has_sections = |mode: usize| {
            let sections = |report: &Value| report["modes"][mode]["sections"].as_u64();
            reports.iter().any(|report| sections(report) > Some(0))
        };
        if (0..modes).all(has_sections) {
            return reports;
        }
    }
    panic!("a mode had no section: {reports:#?}");
}

/// The report of a run that must find nothing.
#[track_caller]
fn must_find_nothing(torture: Torture) -> Value {
    let (code, report) = torture.report();
    assert_eq!(
        (code, &report["found"]),
        (Some(0), &Value::Null),
        "{report:#}"
    );
    report
}

/// The URL of a server of the tests without the name of a lock.
fn place(url: &str) -> &str {
    url.split_once('#').map_or(url, |(place, _)| place)
}
