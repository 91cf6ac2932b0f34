//! The table as one JSON document; `holdlock report --help` lists the fields.

use serde_json::{Value, json};

use super::Log;
use super::entry::{Entry, OUTCOMES};
use super::summary::{Lock, Spread};
use crate::show;

/// The whole document, with a newline at its end.
pub(super) fn document(log: &Log, locks: &[Lock<'_>]) -> String {
    let foreign = log.foreign.iter();
    let foreign = foreign.map(|(line, reason)| json!({"line": line, "reason": reason}));
    let document = json!({
        "version": 1,
        "lines": log.entries.len(),
        "left_out": foreign.collect::<Value>(),
        "locks": locks.iter().map(lock).collect::<Value>(),
    });
    show::json::document(&document)
}

fn lock(lock: &Lock<'_>) -> Value {
    let outcomes = OUTCOMES.iter().map(|outcome| {
        let such = lock
            .entries
            .iter()
            .filter(|entry| entry.outcome == *outcome);
        ((*outcome).to_owned(), Value::from(such.count()))
    });
    json!({
        "lock": lock.path,
        "runs": lock.runs(),
        "conflicts": lock.conflicts(),
        "outcomes": Value::Object(outcomes.collect()),
        "waited_s": spread(lock.waited),
        "held_s": lock.held.map(spread),
        "longest": lock.longest().map(longest),
    })
}

fn spread(spread: Spread) -> Value {
    json!({
        "median": seconds(spread.median),
        "p95": seconds(spread.p95),
        "longest": seconds(spread.longest),
    })
}

fn longest(entry: &Entry) -> Value {
    json!({
        "command": entry.command,
        "pid": entry.pid,
        "held_s": entry.held.map(seconds),
    })
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}
